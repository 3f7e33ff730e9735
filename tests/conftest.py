"""What several test files use."""

from common.data import load_dataset, to_float
from common.run import set_up

import keras
import pytest
import tensorflow as tf


@pytest.fixture
def float64():
    """Keras at float64, for arithmetic that is compared to the last digits."""
    set_up(0, "float64")
    yield
    set_up(0, "float32")


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
def images():
    """A function from n to n images, the bundled digits, float64 in [0, 1]."""
    digits = load_dataset("digits").train_images
    return lambda n: to_float(digits[:n], tf.float64)
