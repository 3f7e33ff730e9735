"""What eager_cvae.py and mmd_cvae.py share: models, gradients, optimizer, precision."""

import eager_cvae
import mmd_cvae
from common.devices.determinism import set_up
from common.objectives.flags import Weights
from common.objectives.priors import PseudoInputs

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import each

# Parameter counts are those of the original
LAYERS = {
    eager_cvae: dict(conv1=320, conv2=18_496, flatten=0, dense=9_220),
    mmd_cvae: dict(conv1=320, conv2=18_496, flatten=0, dense=4_610),
}
OBJECTIVE = {eager_cvae: (None, None), mmd_cvae: (1.0, False)}
OTHERS = [(eager_cvae, (Weights(*weights), None)) for weights in ((4.0, 0.0), (0.0, 783.0))]
OTHERS += [(mmd_cvae, (2.0, True)), (eager_cvae, (Weights(0.5, 3.0), "vamp"))]
DECODER_LAYERS = dict(dense=4_704, reshape=0, deconv1=18_496, deconv2=18_464, deconv3=289)


@each
def test_layers_and_parameter_counts_are_the_originals(script, build):
    *models, _ = build(script)
    for model, expected in zip(models, (LAYERS[script], DECODER_LAYERS), strict=True):
        assert [(one.name, one.count_params()) for one in model.layers] == [*expected.items()]
        assert all(getattr(model, layer.name) is layer for layer in model.layers)
        assert model.count_params() == sum(expected.values())


@each
def test_models_are_the_originals_layer_by_layer(script, build, images, float64):
    encoder, decoder, _ = build(script)
    for weight in encoder.weights + decoder.weights:  # biases too
        weight.assign(tf.random.stateless_normal(weight.shape, (1, 2), dtype="float64") / 10)
    relu, nn = tf.nn.relu, tf.nn
    x = images(4)
    w = [v.value for v in encoder.weights]
    x = relu(nn.conv2d(x, w[0], 2, "VALID") + w[1])
    x = relu(nn.conv2d(x, w[2], 2, "VALID") + w[3])
    x = tf.reshape(x, (4, 2304)) @ w[4] + w[5]
    expected = [x[:, :2], x[:, 2:]] if script is eager_cvae else [x]
    for a, b in zip(tf.nest.flatten(encoder(images(4))), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)

    z = tf.random.stateless_normal((4, 2), (3, 4), dtype="float64")
    w = [v.value for v in decoder.weights]
    x = tf.reshape(relu(z @ w[0] + w[1]), (4, 7, 7, 32))
    x = relu(nn.conv2d_transpose(x, w[2], (4, 14, 14, 64), 2) + w[3])
    x = relu(nn.conv2d_transpose(x, w[4], (4, 28, 28, 32), 2) + w[5])
    x = nn.conv2d_transpose(x, w[6], (4, 28, 28, 1), 1) + w[7]
    expected = x if script is eager_cvae else 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(decoder(z), expected, rtol=1e-9)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("latent_dim", "image_shape"), [(1, (28, 28, 1)), (7, (12, 20, 3))])
def test_shapes_and_saving_and_loading(script, dtype, latent_dim, image_shape, build, tmp_path):
    latents, pictures = (3, latent_dim), (3, *image_shape)
    with set_up(0, dtype):
        encoder, decoder, _ = build(script, latent_dim, image_shape=image_shape)
        assert decoder(tf.zeros((0, latent_dim), dtype)).shape == (0, *image_shape)
        outputs = 2 if script is eager_cvae else 1
        for model, x, shapes in (
            (encoder, pictures, [latents] * outputs), (decoder, latents, [pictures]),
        ):  # fmt: skip
            model.save(tmp_path / "model.keras")
            loaded = keras.saving.load_model(tmp_path / "model.keras")
            assert (type(loaded), loaded.latent_dim) == (type(model), latent_dim)
            x = tf.random.stateless_uniform(x, (0, 0), dtype=dtype)
            results = [tf.nest.flatten(one(x)) for one in (model, loaded)]
            for a, b, shape in zip(*results, shapes, strict=True):
                assert (a.shape, a.dtype, b.dtype) == (shape, dtype, dtype)
                np.testing.assert_array_equal(a, b)


@each
def test_train_step_is_adam_with_epsilon_1e_8_counting_once_a_batch(script, build, images, float64):
    encoder, decoder, rng = build(script)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = script.make_optimizer(1e-3, encoder, decoder)
    weights = [v.numpy() for v in variables]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    assert len(variables) == 14
    beta_1, beta_2 = np.float64(np.float32([0.9, 0.999]))  # Keras powers them up from float32
    for t in range(1, 4):
        state = rng.state.numpy()
        with tf.GradientTape() as tape:
            loss, terms = script.compute_loss(images(20), encoder, decoder, rng)
        rng.state.assign(state)
        for i, g in enumerate(map(np.asarray, tape.gradient(loss, variables))):
            assert np.abs(g).max() > 0, variables[i].path
            # Kingma & Ba (2015), section 2, last paragraph: the order of TF 1's Adam
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            rate = 1e-3 * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            weights[i] = weights[i] - rate * m[i] / (np.sqrt(v[i]) + 1e-8)
        args = (images(20), encoder, decoder, optimizer, rng, *OBJECTIVE[script])
        np.testing.assert_allclose(script.train_step(*args), terms, rtol=1e-10)
        assert terms.shape == (len(script.LOSSES),)
        assert (script.LOSSES[-1], terms[-1]) == ("total", loss)
    for expected, variable in zip(weights, variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert int(optimizer.iterations) == 3


@each
def test_float64_holds_throughout(script, build, float64):
    encoder, decoder, rng = build(script)
    optimizer = script.make_optimizer(1e-4, encoder, decoder)
    slots = [v for v in optimizer.variables if "iteration" not in v.path]
    assert {v.dtype for v in encoder.weights + decoder.weights + slots} == {"float64"}
    assert float(optimizer.learning_rate) == 1e-4  # which float32 cannot hold
    x = tf.TensorSpec((10, 28, 28, 1), tf.float64)
    args = (encoder, decoder, optimizer, rng, *OBJECTIVE[script])
    graph = script.train_step.get_concrete_function(x, *args).graph
    floats = [t for op in graph.get_operations() for t in op.outputs if t.dtype.is_floating]
    not_double = [output for output in floats if output.dtype != tf.float64]
    # nothing but Adam's two decay rates, which Keras takes through float32, as TF 1 did
    assert {output.op.type for output in not_double} == {"Const"}
    rates = {float(tf.get_static_value(output)) for output in not_double}
    assert rates == set(np.float64(np.float32([0.9, 0.999])))


@pytest.mark.parametrize(("script", "objective"), [*OBJECTIVE.items(), *OTHERS])
def test_no_sum_depends_on_what_is_done_first(script, objective, build):
    """AddN begins with an input that nobody else needs: with three or more, all have to be such."""
    encoder, decoder, rng = build(script)
    optimizer = script.make_optimizer(1e-3, encoder, decoder)
    if objective[-1] == "vamp":
        prior = PseudoInputs(50, (28, 28, 1))
        optimizer = script.make_optimizer(1e-3, encoder, decoder, prior)
        objective = (*objective[:-1], prior)
    x = tf.TensorSpec((100, 28, 28, 1), encoder.compute_dtype)
    step = script.train_step.get_concrete_function(x, encoder, decoder, optimizer, rng, *objective)
    sums = [op for op in step.graph.get_operations() if op.type == "AddN" and len(op.inputs) > 2]
    assert sums
    for tensor in (tensor for op in sums for tensor in op.inputs):
        while tensor.op.type in ("Identity", "Reshape", "ExpandDims", "Squeeze"):
            assert len(tensor.consumers()) == 1, tensor.name
            tensor = tensor.op.inputs[0]
        assert len(tensor.consumers()) == 1, tensor.name


@each
def test_loss_totals_are_float64_whatever_the_precision(script, build, images):
    encoder, decoder, rng = build(script)
    loss, terms = script.compute_loss(tf.cast(images(4), "float32"), encoder, decoder, rng)
    assert (loss.dtype, terms.dtype) == (tf.float32, tf.float64)
