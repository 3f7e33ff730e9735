"""The original's models, losses and steps in eager_cvae.py and mmd_cvae.py."""

import math

import eager_cvae
import mmd_cvae
from common.devices.determinism import set_up

import keras
import numpy as np
import pytest
import tensorflow as tf
from steps import elbo_terms, mmd, passed_to_train_step
from support import each


@each
def test_layers_have_the_original_names_and_numbers_of_parameters(script, build):
    *models, _ = build(script)
    dense = 9_220 if script is eager_cvae else 4_610
    encoder = dict(conv1=320, conv2=18_496, flatten=0, dense=dense)
    decoder = dict(dense=4_704, reshape=0, deconv1=18_496, deconv2=18_464, deconv3=289)
    for model, expected in zip(models, (encoder, decoder), strict=True):
        assert [(one.name, one.count_params()) for one in model.layers] == [*expected.items()]
        assert all(getattr(model, layer.name) is layer for layer in model.layers)
        assert model.count_params() == sum(expected.values())


@each
def test_models_compute_the_original_layers(script, build, images, float64):
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
def test_models_are_saved_and_loaded(script, dtype, latent_dim, image_shape, build, tmp_path):
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


def test_reparameterize_draws_from_the_gaussian_and_passes_gradients():
    mean = tf.broadcast_to([1.0, -2.0], (20_000, 2))
    logvar = tf.broadcast_to([0.0, math.log(4)], (20_000, 2))
    with tf.GradientTape() as tape:
        tape.watch([mean, logvar])
        z = eager_cvae.reparameterize(mean, logvar, tf.random.Generator.from_seed(0))
    assert z.dtype == tf.float32
    np.testing.assert_allclose(np.mean(z, axis=0), [1, -2], atol=0.05)
    np.testing.assert_allclose(np.cov(z, rowvar=False), [[1, 0], [0, 4]], atol=0.1)
    by_mean, by_logvar = tape.gradient(z, [mean, logvar])
    np.testing.assert_array_equal(by_mean, np.ones((20_000, 2)))
    np.testing.assert_allclose(by_logvar, (z - mean) / 2, rtol=1e-6, atol=1e-6)


def test_the_elbo_sums_the_reconstruction_over_the_batch(build, images, float64):
    encoder, decoder, rng = build(eager_cvae)
    loss, terms = eager_cvae.compute_loss(images(12), encoder, decoder, rng)
    again = tf.random.Generator.from_seed(0)
    logpx_z, logpz, logqz_x, _ = elbo_terms(images(12), encoder, decoder, again)
    assert float(terms["logpx_z"]) == pytest.approx(logpx_z.sum(), rel=1e-10)
    np.testing.assert_allclose(terms["logpz"], logpz, rtol=1e-10)
    np.testing.assert_allclose(terms["logqz_x"], logqz_x, rtol=1e-10)
    assert float(loss) == pytest.approx(-(logpx_z.sum() + logpz - logqz_x).mean(), rel=1e-10)


def test_the_mmd_loss_is_the_squared_error_and_the_mmd(build, images, float64):
    encoder, decoder, rng = build(mmd_cvae)
    loss, terms = mmd_cvae.compute_loss(images(12), encoder, decoder, rng)
    mean = encoder(images(12))
    true_samples = tf.random.Generator.from_seed(0).normal((12, 2), dtype="float64")
    squared_error = np.square(images(12) - decoder(mean)).mean()
    expected = {"loss_nll": squared_error, "loss_mmd": mmd(true_samples, mean)}
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(expected, rel=1e-10)
    assert float(loss) == pytest.approx(sum(expected.values()), rel=1e-10)


@each
def test_train_step_is_adam_with_epsilon_1e_8_and_one_step_per_batch(script, images, float64):
    flags = "--learning-rate 1e-3 --dtype float64"
    loss_function, state = passed_to_train_step(script, flags)
    encoder, decoder, rng = state["encoder"], state["decoder"], state["rng"]
    variables = encoder.trainable_variables + decoder.trainable_variables
    weights = [v.numpy() for v in variables]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    assert len(variables) == 14
    beta_1, beta_2 = np.float64(np.float32([0.9, 0.999]))  # Keras computes powers of float32
    for t in range(1, 4):
        before = rng.state.numpy()
        with tf.GradientTape() as tape:
            loss, _ = script.compute_loss(images(20), encoder, decoder, rng)
        rng.state.assign(before)
        for i, g in enumerate(map(np.asarray, tape.gradient(loss, variables))):
            assert np.abs(g).max() > 0, variables[i].path
            # Kingma & Ba (2015), section 2, last paragraph: the order of TF 1's Adam
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            rate = 1e-3 * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            weights[i] = weights[i] - rate * m[i] / (np.sqrt(v[i]) + 1e-8)
        losses = script.train_step(images(20), loss_function, **state)
        assert float(losses["total"]) == pytest.approx(float(loss), rel=1e-10)
    for expected, variable in zip(weights, variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert int(state["optimizer"].iterations) == 3


@each
def test_float64_is_used_in_the_whole_step(script, float64):
    loss_function, state = passed_to_train_step(script, "--dtype float64")
    slots = [v for v in state["optimizer"].variables if "iteration" not in v.path]
    weights = state["encoder"].weights + state["decoder"].weights
    assert {v.dtype for v in weights + slots} == {"float64"}
    assert float(state["optimizer"].learning_rate) == 1e-4  # float32 cannot hold this number
    x = tf.TensorSpec((10, 28, 28, 1), tf.float64)
    step = script.train_step.__wrapped__.get_concrete_function(x, loss_function, **state)
    floats = [t for op in step.graph.get_operations() for t in op.outputs if t.dtype.is_floating]
    not_double = [output for output in floats if output.dtype != tf.float64]
    # Only Adam's two decay rates, which Keras converts to float32, as TF 1 did
    assert {output.op.type for output in not_double} == {"Const"}
    rates = {float(tf.get_static_value(output)) for output in not_double}
    assert rates == set(np.float64(np.float32([0.9, 0.999])))
