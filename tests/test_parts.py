"""common/layers.py: the layer against Keras's own."""

from common import layers

import numpy as np
import pytest
import tensorflow as tf
from keras import layers


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("channels", [1, 3])
def test_to_image_is_the_layer_of_keras(channels, activation, device, float64, monkeypatch):
    monkeypatch.setattr(fast, "on_gpu", lambda: device == "GPU")
    quick, called = fast.conv_transpose_to_image, []
    monkeypatch.setattr(
        fast, "conv_transpose_to_image", lambda *args: called.append(1) or quick(*args)
    )
    rng = np.random.default_rng(0)
    kinds = layers.Conv2DTranspose, fast.Conv2DTransposeToImage
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
    assert bool(called) == (device == "CPU")


def test_its_name_weights_and_config_are_those_of_keras():
    ours = fast.Conv2DTransposeToImage(1, 3, padding="same", name="deconv3")
    plain = layers.Conv2DTranspose.from_config(ours.get_config())
    for layer in (ours, plain):
        layer.build((None, 28, 28, 32))
    assert [w.path for w in ours.weights] == [w.path for w in plain.weights]
    assert [w.shape for w in ours.weights] == [w.shape for w in plain.weights]
