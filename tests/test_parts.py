"""Faster computation on a CPU, compared with the plain one: common/devices/parts.py."""

from common.data.batches import shuffled_batches
from common.devices import parts

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from steps import passed_to_train_step
from support import each


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_last_layer_equals_that_of_keras(channels, activation, device, float64, monkeypatch):
    monkeypatch.setattr(parts, "on_gpu", lambda: device == "GPU")
    rng = np.random.default_rng(0)
    kinds = layers.Conv2DTranspose, parts.Conv2DTransposeToImage
    plain, ours = (kind(channels, 3, padding="same", activation=activation) for kind in kinds)
    x, upstream = tf.constant(rng.normal(size=(3, 7, 5, 4))), rng.normal(size=(3, 7, 5, channels))
    found = []
    weights = [rng.normal(size=(3, 3, channels, 4)), rng.normal(size=channels)]
    for layer in (plain, ours):
        layer.build(x.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        variables = [x, layer.kernel.value, layer.bias.value]
        found.append([y, *tape.gradient(y, variables, output_gradients=upstream)])
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)
    graph = tf.function(ours).get_concrete_function(x).graph
    operations = {op.type for op in graph.get_operations()}
    assert ("Conv2DBackpropInput" in operations) == (device == "GPU")


def test_the_last_layer_has_the_name_weights_and_config_of_keras():
    ours = parts.Conv2DTransposeToImage(1, 3, padding="same", name="deconv3")
    plain = layers.Conv2DTranspose.from_config(ours.get_config())
    for layer in (ours, plain):
        layer.build((None, 28, 28, 32))
    assert [(w.path, w.shape) for w in ours.weights] == [(w.path, w.shape) for w in plain.weights]


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize(
    ("n", "image_shape", "sizes"),
    [
        (100, (28, 28, 1), [25] * 4),
        (42, (28, 28, 1), [11, 11, 10, 10]),
        (10, (28, 28, 1), [5] * 2),  # never on one thread
        (1, (28, 28, 1), [1]),
        (1000, (28, 28, 1), [28] * 28 + [27] * 8),
        (100, (32, 32, 3), [13] * 4 + [12] * 4),
        (100, (64, 64, 3), [5] * 20),
        (100, (64, 64, 3, 256), [3] * 4 + [2] * 44),
        (12, (64, 64, 3), [3] * 4),
        (60, (256, 256, 3), [2] * 12 + [1] * 36),
    ],
)
def test_rows_are_split_into_parts_on_a_cpu(n, image_shape, sizes, device, monkeypatch):
    monkeypatch.setattr(parts, "on_gpu", lambda: device == "GPU")
    x = tf.reshape(tf.range(2.0 * n), (n, 2))
    seen = []

    def model(part):
        seen.append(part.shape[0])
        return part * 2, part[:, 0]

    model.image_shape, model.filters = image_shape[:3], image_shape[3:] or (32, 64)

    double, first = tf.function(parts.in_parts(model), autograph=False)(x)
    assert seen == (sizes if device == "CPU" else [n])
    np.testing.assert_array_equal(double, x * 2)
    np.testing.assert_array_equal(first, x[:, 0])
    seen.clear()
    parts.in_parts(model)(x)  # eager operations run one after the other
    assert seen == [n]


@each
def test_an_unknown_number_of_rows_is_not_split(script, build):
    _, decoder, _ = build(script)
    signature = [tf.TensorSpec((None, 2))]
    decode = tf.function(lambda z: parts.in_parts(decoder)(z), input_signature=signature)
    z = tf.random.stateless_normal((50, 2), (0, 0))
    np.testing.assert_allclose(decode(z), decoder(z), atol=1e-6)


def test_in_batches_keeps_the_order_and_a_last_short_batch():
    x, y = np.arange(2500.0).reshape(-1, 1), np.arange(2500)
    n, total = parts.in_batches(lambda a, b: (0 * b + len(a), a[:, 0] + b), x, y)
    np.testing.assert_array_equal(n, [1000] * 2000 + [500] * 500)
    np.testing.assert_array_equal(total, 2 * y)
    assert parts.in_batches(lambda a: a * 2, x[:0]).shape == (0, 1)


def test_only_whole_batches_are_computed_in_a_graph():
    function = parts.compiled(lambda x: x + tf.cast(tf.executing_eagerly(), x.dtype), size=10)
    for rows, eager in ((10, 0), (9, 1)):
        np.testing.assert_array_equal(function(tf.zeros(rows)), [eager] * rows)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_in_parts_equals_a_plain_step(script, dtype, digits, monkeypatch):
    batches, results = shuffled_batches(1500, 40, 0, 1)[:3], []
    for plain in (False, True):
        flags = f"--learning-rate 1e-3 --dtype {dtype}"
        loss_function, state = passed_to_train_step(script, flags)
        if plain:  # the whole batch at once, with Keras's own layer
            monkeypatch.setattr(parts, "on_gpu", lambda: True)
        totals = 0
        for batch in batches.numpy():
            x = tf.constant((digits[batch] / np.float64(255)).astype(dtype))
            losses = script.train_step(x, loss_function, **state)
            totals += np.array([float(term) for term in losses.values()])
        weights = state["encoder"].weights + state["decoder"].weights
        results.append((totals, [w.numpy() for w in weights]))
    (totals, weights), (plain_totals, plain_weights) = results
    double = dtype == "float64"
    np.testing.assert_allclose(totals, plain_totals, rtol=1e-10 if double else 1e-4)
    for weight, plain in zip(weights, plain_weights, strict=True):
        if double:
            np.testing.assert_allclose(weight, plain, rtol=1e-6, atol=1e-9)
        # Each weight moved by up to 3 * 1e-3. Adam amplifies the rounding of gradients near 0
        assert np.abs(weight - plain).mean() < 1e-5
        assert np.quantile(np.abs(weight - plain), 0.99) < 1e-4
