"""The losses that flags select: common/objectives/losses.py, compared with NumPy in float64."""

import eager_cvae
import mmd_cvae

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm
from steps import elbo_terms, mmd, passed_to_train_step
from support import LOSSES, SCRIPTS, both


def generator():
    return tf.random.Generator.from_seed(3)


def gradients(loss_function, x, models, variables=None):
    """Return the loss terms and the gradients of the loss, as arrays."""
    with tf.GradientTape() as tape:
        loss, terms = loss_function(x, *models, generator())
    variables = variables or [v for model in models for v in model.trainable_variables]
    return loss, terms, [np.asarray(g) for g in tape.gradient(loss, variables)]


@both
def test_without_flags_the_loss_is_compute_loss(model, images):
    script = SCRIPTS[model]
    loss_function, state = passed_to_train_step(script)
    models, x = (state["encoder"], state["decoder"]), tf.cast(images(12), tf.float32)
    loss, losses, found = gradients(loss_function, x, models)
    original_loss, terms, expected = gradients(script.compute_loss, x, models)
    assert (*losses,) == (*(f"{name}_total" for name in terms), "total") == LOSSES[model]
    for name, term in terms.items():
        assert float(losses[f"{name}_total"]) == float(tf.reduce_mean(term))
    assert float(losses["total"]) == float(loss) == float(original_loss)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("flags", "kl", "mmd_weight"), [
    ("--beta 0", 0, 0),
    ("--beta 1", 1, 0),
    ("--beta 4 --vamp-prior 7", 4, 0),
    ("--vamp-prior 7", None, 0),
    ("--alpha 0 --lambda 1000", 1, 999),
    ("--alpha 0 --lambda 1", 1, 0),  # in this case and the next ones, InfoVAE is a beta-VAE
    ("--alpha -3 --lambda 4", 4, 0),
    ("--alpha=-0.4 --lambda 1.4", 1.4, 0),  # rounding makes the sum less than 1
    ("--alpha=-1.2 --lambda 2.2", 2.2, 0),  # rounding makes the sum more than 1
    ("--alpha 0.75 --lambda 0.25", 0.25, 0),
    ("--alpha 1 --lambda 0", 0, 0),
    ("--alpha 1 --lambda 5", 0, 5),
    ("--alpha 0.5 --lambda 3 --kernel imq", 0.5, 2.5),
])  # fmt: skip
def test_weighted_elbo(flags, kl, mmd_weight, images, float64):
    loss_function, state = passed_to_train_step(eager_cvae, f"{flags} --dtype float64")
    encoder, decoder, rng = state["encoder"], state["decoder"], generator()
    loss, losses = loss_function(images(12), encoder, decoder, generator())

    logpx_z, logpz, logqz_x, z = elbo_terms(images(12), encoder, decoder, rng)
    if "vamp" in flags:  # 7 Gaussians with equal weights
        mean, logvar = map(np.asarray, encoder(state["prior"].images.value))
        densities = norm.logpdf(z[:, None], mean, np.exp(logvar / 2)).sum(axis=2)
        logpz = logsumexp(densities, axis=1) - np.log(7)
    if kl is None:  # as in the original
        logpx_z, kl = logpx_z.sum(), 1
    total = -(logpx_z + kl * (logpz - logqz_x)).mean()
    expected = [logpx_z.mean(), logpz.mean(), logqz_x.mean()]
    if mmd_weight:
        expected.append(mmd(rng.normal((12, 2), dtype="float64"), z, imq="imq" in flags))
        total += mmd_weight * expected[-1]
    mmd_name = ["loss_mmd_total"] * bool(mmd_weight)
    assert [*losses] == [*LOSSES["cvae"][:3], *mmd_name, "total"]
    np.testing.assert_allclose([*losses.values()], [*expected, total], rtol=1e-10)
    assert float(loss) == float(losses["total"])


@pytest.mark.parametrize(("flags", "weight"), [
    ("--lambda 784", 784), ("--lambda 3 --cross-entropy", 3), ("--kernel imq", 1), ("--lambda 0", 0)
])  # fmt: skip
def test_weighted_mmd_loss(flags, weight, images, float64):
    loss_function, state = passed_to_train_step(mmd_cvae, f"{flags} --dtype float64")
    encoder, decoder, x = state["encoder"], state["decoder"], images(12)
    loss, losses = loss_function(x, encoder, decoder, generator())

    mean = encoder(x)
    preds, x = decoder(mean).numpy(), x.numpy()
    loss_nll = np.square(x - preds).mean()
    if "cross" in flags:
        loss_nll = -(x * np.log(preds) + (1 - x) * np.log(1 - preds)).mean()
    loss_mmd = mmd(generator().normal((12, 2), dtype="float64"), mean, imq="imq" in flags)
    assert (*losses,) == LOSSES["mmd"]
    expected = [loss_nll, loss_mmd, loss_nll + weight * loss_mmd]
    np.testing.assert_allclose([*losses.values()], expected, rtol=1e-10)
    assert float(loss) == float(losses["total"])


def test_the_original_gradient_is_batch_size_times_that_of_beta_0_01(build, images, float64):
    *models, _ = build(eager_cvae)
    flags = ("--dtype float64", "--dtype float64 --beta 0.01", "--dtype float64 --beta 1")
    functions = [passed_to_train_step(eager_cvae, one)[0] for one in flags]
    default, small_beta, elbo = (gradients(one, images(100), models)[2] for one in functions)
    for a, b in zip(default, small_beta, strict=True):
        np.testing.assert_allclose(a, 100 * b, rtol=1e-9, atol=1e-12)
    assert not np.allclose(default[4], 100 * elbo[4], rtol=1e-3)


def test_the_cross_entropy_of_a_saturated_sigmoid_is_finite_and_has_gradients():
    loss_function, state = passed_to_train_step(mmd_cvae, "--cross-entropy")
    models = state["encoder"], state["decoder"]
    bias = state["decoder"].deconv3.bias
    bias.assign([200.0])
    x = tf.zeros((4, 28, 28, 1))
    _, losses, (gradient,) = gradients(loss_function, x, models, [bias])
    assert float(losses["loss_nll_total"]) == pytest.approx(200, abs=1)
    assert gradient.item() == pytest.approx(1, abs=1e-3)
