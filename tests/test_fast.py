"""The fast forms against the plain ones."""

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


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_to_one_channel_is_the_layer(activation, float64):
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


def steps(script, build, digits, dtype, quick, monkeypatch):
    """Terms and weights after 23 steps, three calls, or as many plain steps by the tape alone."""
    encoder, decoder, rng = build(script)
    optimizer = script.make_optimizer(1e-3, encoder, decoder)
    state = (encoder, decoder, optimizer, rng, *((None,) if script is eager_cvae else ()))
    batches = tf.concat([shuffled_batches(1500, 100, 0, epoch) for epoch in (1, 2)], axis=0)[:23]
    totals = tf.zeros(len(script.LOSSES), tf.float64)
    if quick:
        for first in tf.range(0, 23, script.STEPS_PER_CALL):
            totals = script.train_steps(first, totals, tf.constant(digits), batches, *state)
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
        # the two differ far less than the up to 23 * 1e-3 by which training moved each weight
        np.testing.assert_allclose(weight, plain, rtol=0, atol=1e-3)
        assert np.abs(weight - plain).mean() < 1e-5
