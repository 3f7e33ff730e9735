"""tests/benchmarks/: what needs no other framework runs, and the tables say what they should."""

import math

import mmd_cvae
from tests.benchmarks import benchmark, tensorflow_vae

import keras
import numpy as np
import pytest

IMAGES = np.random.default_rng(0).integers(0, 256, (2000, 28, 28, 1), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("make", ["make_shipped", "make_eager", "make_fit"])
def test_the_contestants_of_tensorflow_train_the_rivals_with_keras_s_layers(make, monkeypatch):
    parts = []
    make_parts = tensorflow_vae.make_parts
    monkeypatch.setattr(
        tensorflow_vae, "make_parts", lambda *args: parts.append(make_parts(*args)) or parts[0]
    )
    run = getattr(tensorflow_vae, make)("mmd", IMAGES)
    _, (encoder, decoder, *_), _ = parts[0]
    assert (type(decoder.deconv3) is keras.layers.Conv2DTranspose) == (make != "make_shipped")
    before = [weight.numpy() for weight in encoder.weights + decoder.weights]
    run(10)
    for weight, old in zip(encoder.weights + decoder.weights, before, strict=True):
        assert 0 < np.abs(weight.numpy() - old).max() < 11 * 1e-4  # ten of Adam's steps


def test_the_table_has_medians_of_ratios_within_a_turn_and_the_floor(capsys):
    product = benchmark.PRODUCT / 100  # at 100 GFLOP/s
    found = {
        "as shipped": [0.04, 0.05, 0.06],
        "JAX jit": [0.4, 1.0, 0.6],
        "product": [product] * 3,
    }
    benchmark.print_steps("cvae", found, (28, 28, 1))
    out = capsys.readouterr().out
    assert "| as shipped | 50.0 (45.0 to 55.0) | 2,000 |  |" in out
    assert "| JAX jit | 600.0 (500.0 to 800.0) | 167 | 10.00 (10.00 to 15.00) |" in out
    assert "matrix product: 100 GFLOP/s" in out
    assert "fraction of the floor: 65%" in out  # 3.27 GFLOP in 50 ms


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (28, 20, 1)])
def test_the_multiply_adds_are_those_of_the_layers(shape):
    encoder, decoder = mmd_cvae.Encoder(2), mmd_cvae.Decoder(2, shape)
    found = {}

    def count(name, layer):
        call = layer.call

        def counting(x):
            y = call(x)
            pixels = x if isinstance(layer, keras.layers.Conv2DTranspose) else y
            taps = math.prod(layer.kernel.shape)
            found[name] = math.prod(pixels.shape[1:-1]) * taps / 1e6
            return y

        layer.call = counting

    for name in ("conv1", "conv2"):
        count(name, getattr(encoder, name))
    for name in ("deconv1", "deconv2", "deconv3"):
        count(name, getattr(decoder, name))
    encoder(np.zeros((1, *shape), np.float32))
    decoder(np.zeros((1, 2), np.float32))
    macs = benchmark.macs(shape)
    assert macs == pytest.approx(
        {**found, "dense1": 2 * encoder.dense.kernel.shape[0] * 2 / 1e6,
         "dense2": math.prod(decoder.dense.kernel.shape) / 1e6}
    )  # fmt: skip


def test_the_floating_point_operations_of_a_batch():
    assert benchmark.gflop((28, 28, 1)) == pytest.approx(3.27, rel=0.005)


def test_a_contestant_that_cannot_start_says_why(monkeypatch):
    def make(*_):
        raise ModuleNotFoundError("No module named 'torch'")

    class Pipe(list):
        send = list.append

    monkeypatch.setattr(benchmark, "make", make)
    pipe = Pipe()
    benchmark.contestant(pipe, "PyTorch", "cvae", (28, 28, 1))
    assert pipe == ["ModuleNotFoundError: No module named 'torch'"]
