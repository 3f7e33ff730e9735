"""What several test files use."""

import signal

from common.data import load_dataset, to_float
from common.run import set_up

import keras
import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def float32():
    """Each test begins at the scripts' default precision, whatever ran before it."""
    set_up(0, "float32")


@pytest.fixture(autouse=True)
def signals():
    """run_script ends with signals ignored, which is for processes that end with it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def float64(float32):
    """Keras at float64, for arithmetic that is compared to the last digits."""
    set_up(0, "float64")


@pytest.fixture
def build():
    """A function from a script's module to its encoder, decoder and random generator, seeded."""

    def build(script, latent_dim=2, seed=0):
        keras.utils.set_random_seed(seed)
        encoder, decoder = script.Encoder(latent_dim), script.Decoder(latent_dim)
        encoder.build((None, 28, 28, 1))
        decoder.build((None, latent_dim))
        return encoder, decoder, tf.random.Generator.from_seed(seed)

    return build


@pytest.fixture
def digits():
    """The bundled digits, uint8 (1500, 28, 28, 1)."""
    return load_dataset("digits").train_images.numpy()


@pytest.fixture
def images(digits):
    """A function from n to n images, the bundled digits, float64 in [0, 1]."""
    return lambda n: to_float(digits[:n], tf.float64)
