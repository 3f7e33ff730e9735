"""common/devices.py: what it sets up and takes back; in parts and in batches is as whole."""

import contextlib

from common import devices
from common.data.batches import shuffled_batches

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import configuration, each


def test_set_up_seeds_and_keras_is_as_asked_within_it_and_as_before_after_it():
    keras.config.set_image_data_format("channels_first")
    before = configuration()
    with contextlib.suppress(ZeroDivisionError), devices.set_up(0, "float64"):
        floatx, policy, data_format, options = configuration()
        assert (floatx, policy, data_format) == ("float64", "float64", "channels_last")
        assert options["arithmetic_optimization"] is False
        raise ZeroDivisionError
    assert configuration() == before  # the fixture, another set_up, takes the rest back
    draws = []
    for seed in (0, 0, 1):
        with devices.set_up(seed, "float32"):
            draws.append(keras.initializers.GlorotUniform()((3, 3)).numpy())
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.isclose(draws[0], draws[2]).any()


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize(("n", "sizes"), [(100, [25] * 4), (42, [11, 11, 10, 10]), (39, [39])])
def test_in_parts_goes_through_a_batch_in_parts(n, sizes, device, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * (kind == device))
    x = tf.reshape(tf.range(2.0 * n), (n, 2))
    seen = []

    def model(part):
        seen.append(part.shape[0])
        return part * 2, part[:, 0]

    double, first = tf.function(devices.in_parts(model), autograph=False)(x)
    assert seen == (sizes if device == "CPU" else [n])
    np.testing.assert_array_equal(double, x * 2)
    np.testing.assert_array_equal(first, x[:, 0])
    seen.clear()
    devices.in_parts(model)(x)  # one operation after the other: nothing to share out
    assert seen == [n]


@each
def test_in_parts_a_decoder_of_an_unknown_number_of_rows(script, build):
    _, decoder, _ = build(script)
    signature = [tf.TensorSpec((None, 2))]
    decode = tf.function(lambda z: devices.in_parts(decoder)(z), input_signature=signature)
    z = tf.random.stateless_normal((50, 2), (0, 0))
    np.testing.assert_allclose(decode(z), decoder(z), atol=1e-6)


def test_in_batches_keeps_the_order_and_the_rest():
    x, y = np.arange(2500.0).reshape(-1, 1), np.arange(2500)
    n, total = devices.in_batches(lambda a, b: (0 * b + len(a), a[:, 0] + b), x, y)
    np.testing.assert_array_equal(n, [1000] * 2000 + [500] * 500)
    np.testing.assert_array_equal(total, 2 * y)
    assert devices.in_batches(lambda a: a * 2, x[:0]).shape == (0, 1)


@each
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"])
def test_train_steps_are_plain_steps(script, dtype, build, digits, monkeypatch):
    batches, results = shuffled_batches(1500, 40, 0, 1)[:3], []
    for plain in (False, True):  # 3 steps in two calls, or by the tape alone
        with devices.set_up(0, dtype):
            encoder, decoder, rng = build(script)
            optimizer = script.make_optimizer(1e-3, encoder, decoder)
            state = (encoder, decoder, optimizer, rng)
            totals = tf.zeros(len(script.LOSSES), tf.float64)
            if plain:
                monkeypatch.setattr(script, "in_parts", lambda model: model)
                monkeypatch.setattr("common.layers.on_gpu", lambda: True)  # Keras's own layer
                for batch in batches.numpy():
                    x = tf.constant((digits[batch] / np.float64(255)).astype(dtype))
                    totals += script.train_step.python_function(x, *state)
            else:
                for ends in ((0, 2), (2, 3)):
                    args = (*map(tf.constant, ends), totals, tf.constant(digits), batches)
                    totals = devices.train_steps(script.train_step, *args, *state)
            results.append((totals, [w.numpy() for w in encoder.weights + decoder.weights]))
    (totals, weights), (plain_totals, plain_weights) = results
    double = dtype == "float64"
    np.testing.assert_allclose(totals, plain_totals, rtol=1e-10 if double else 1e-4)
    for weight, plain in zip(weights, plain_weights, strict=True):
        if double:
            np.testing.assert_allclose(weight, plain, rtol=1e-6, atol=1e-9)
        # of up to 3 * 1e-3 by which training moved each weight; where a gradient is near 0, Adam
        # makes much of its rounding
        assert np.abs(weight - plain).mean() < 1e-5
        assert np.quantile(np.abs(weight - plain), 0.99) < 1e-4
