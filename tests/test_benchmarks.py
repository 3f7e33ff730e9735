"""tests/benchmarks/: what needs no other framework runs, and the tables say what they should."""

from tests.benchmarks import benchmark, operations, tensorflow_vae

import keras
import numpy as np
import pytest

IMAGES = np.random.default_rng(0).integers(0, 256, (2000, 28, 28, 1), dtype=np.uint8)


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
    benchmark.print_steps("cvae", found)
    out = capsys.readouterr().out
    assert "| as shipped | 50.0 (45.0 to 55.0) | 2,000 |  |" in out
    assert "| JAX jit | 600.0 (500.0 to 800.0) | 167 | 10.00 (10.00 to 15.00) |" in out
    assert "matrix product: 100 GFLOP/s" in out
    assert "fraction of the floor: 65%" in out  # 3.27 GFLOP in 50 ms


def test_the_floating_point_operations_of_a_batch():
    encode = sum(operations.MACS[name] for name in ("conv1", "conv2"))
    decode = sum(operations.MACS[name] for name in ("deconv1", "deconv2", "deconv3"))
    dense = (2304 * 4 + 2 * 1568) / 1e6
    forward = encode + decode + dense
    backward = 2 * forward - operations.MACS["conv1"]  # no gradient to the images
    assert 2 * 100 * (forward + backward) / 1000 == pytest.approx(benchmark.GFLOP, rel=0.005)


def test_a_contestant_that_cannot_start_says_why(monkeypatch):
    def make(*_):
        raise ModuleNotFoundError("No module named 'torch'")

    class Pipe(list):
        send = list.append

    monkeypatch.setattr(benchmark, "make", make)
    pipe = Pipe()
    benchmark.contestant(pipe, "PyTorch", "cvae")
    assert pipe == ["ModuleNotFoundError: No module named 'torch'"]
