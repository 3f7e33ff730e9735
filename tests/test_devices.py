"""The fast forms against the plain ones."""

import os
import runpy

import common
import eager_cvae
import mmd_cvae
from common import fast
from common.data import shuffled_batches, to_float

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

both = pytest.mark.parametrize("script", [eager_cvae, mmd_cvae])


@pytest.mark.parametrize(("n", "sizes"), [(100, [25] * 4), (42, [11, 11, 10, 10]), (39, [39])])
def test_side_by_side_goes_through_a_batch_in_parts(n, sizes):
    x = tf.reshape(tf.range(2.0 * n), (n, 2))
    seen = []

    def model(part):
        seen.append(len(part))
        return part * 2, part[:, 0]

    double, first = fast.side_by_side(model, x)
    assert seen == sizes
    np.testing.assert_array_equal(double, x * 2)
    np.testing.assert_array_equal(first, x[:, 0])
    assert tf.function(lambda: fast.side_by_side(tf.identity, x)).get_concrete_function()


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_to_one_channel_is_the_layer(activation, device, float64, monkeypatch):
    monkeypatch.setattr(fast, "on_gpu", lambda: device == "GPU")
    rng = np.random.default_rng(0)
    layer = layers.Conv2DTranspose(1, 3, padding="same", activation=activation)
    layer.build((None, 7, 5, 4))
    layer.bias.assign([0.3])
    x, upstream = tf.constant(rng.normal(size=(3, 7, 5, 4))), rng.normal(size=(3, 7, 5, 1))
    found = []
    for function in (layer, lambda x: fast.to_one_channel(layer, x)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        variables = [x, layer.kernel.value, layer.bias.value]
        found.append([y, *tape.gradient(y, variables, output_gradients=upstream)])
    for plain, quick in zip(*found, strict=True):
        assert plain.shape == quick.shape
        np.testing.assert_allclose(quick, plain, rtol=1e-12, atol=1e-12)


def test_on_a_gpu_a_batch_stays_whole(monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    seen = []
    fast.side_by_side(lambda x: seen.append(len(x)) or x, tf.zeros((100, 2)))
    assert seen == [100]


@both
def test_a_decoder_of_no_rows_and_of_an_unknown_number(script, build):
    _, decoder, _ = build(script)
    assert decoder(tf.zeros((0, 2))).shape == (0, 28, 28, 1)
    signature = [tf.TensorSpec((None, 2))]
    decode = tf.function(lambda z: fast.side_by_side(decoder, z), input_signature=signature)
    z = tf.random.stateless_normal((50, 2), (0, 0))
    np.testing.assert_allclose(decode(z), decoder(z), atol=1e-6)


def test_in_batches_keeps_the_order_and_the_rest():
    images = np.arange(25, dtype="u1").reshape(25, 1, 1, 1)
    model = layers.Identity(dtype="float64")
    np.testing.assert_array_equal(fast.in_batches(model, images, size=10), images / 255)
    seen = []
    model.call = lambda x: seen.append(len(x)) or (x, x[:, 0, 0, 0])
    _, second = fast.in_batches(model, np.tile(images, (100, 1, 1, 1)))
    assert seen == [1000, 1000, 500]
    np.testing.assert_array_equal(second, np.tile(images.ravel() / 255, 100))


@pytest.mark.parametrize(
    ("cores", "given", "threads"),
    [(1, None, "1"), (4, None, "1"), (5, None, None), (64, None, None), (2, "3", "3")],
)
def test_one_thread_an_operation_on_few_cores_alone(cores, given, threads, monkeypatch):
    name = "TF_NUM_INTRAOP_THREADS"
    monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(name, given)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    runpy.run_path(common.__file__)
    assert os.environ.get(name) == threads


def steps(script, build, digits, dtype, quick, monkeypatch):
    """Terms and weights after 23 steps, three calls, or as many plain steps by the tape alone."""
    encoder, decoder, rng = build(script)
    optimizer = script.make_optimizer(1e-3, encoder, decoder)
    state = (encoder, decoder, optimizer, rng, *((None,) if script is eager_cvae else ()))
    batches = tf.concat([shuffled_batches(1500, 100, 0, epoch) for epoch in (1, 2)], axis=0)[:23]
    totals = tf.zeros(len(script.LOSSES), tf.float64)
    if quick:
        for ends in ((0, 10), (10, 20), (20, 23)):
            totals = script.train_steps(
                *map(tf.constant, ends), totals, tf.constant(digits), batches, *state
            )
    else:
        monkeypatch.setattr(script, "side_by_side", lambda model, x: model(x))
        monkeypatch.setattr(script, "to_one_channel", lambda layer, x: layer(x))
        for batch in batches.numpy():
            x = to_float(digits[batch], dtype)
            totals += script.train_step.python_function(x, *state)
    return totals.numpy(), [w.numpy() for w in encoder.weights + decoder.weights]


@both
def test_train_steps_are_plain_steps(script, build, digits, float64, monkeypatch):
    totals, weights = steps(script, build, digits, "float64", True, monkeypatch)
    plain_totals, plain_weights = steps(script, build, digits, "float64", False, monkeypatch)
    np.testing.assert_allclose(totals, plain_totals, rtol=1e-10)
    for weight, plain in zip(weights, plain_weights, strict=True):
        np.testing.assert_allclose(weight, plain, rtol=1e-6, atol=1e-9)


@both
def test_train_steps_are_plain_steps_within_float32_rounding(script, build, digits, monkeypatch):
    totals, weights = steps(script, build, digits, "float32", True, monkeypatch)
    plain_totals, plain_weights = steps(script, build, digits, "float32", False, monkeypatch)
    np.testing.assert_allclose(totals, plain_totals, rtol=1e-4)
    for weight, plain in zip(weights, plain_weights, strict=True):
        # of up to 23 * 1e-3 by which training moved each weight; where a gradient is near 0, Adam
        # makes much of its rounding
        assert np.abs(weight - plain).mean() < 1e-5
        assert np.quantile(np.abs(weight - plain), 0.99) < 1e-4
