"""eager_cvae.py: the ELBO, its oddity, and --beta."""

import math

import eager_cvae
from common.objectives.flags import Weights, elbo_weights
from eager_cvae import compute_loss, get_args, loss_names, reparameterize

import numpy as np
import pytest
import tensorflow as tf


def test_reparameterize_draws_from_the_gaussian_and_lets_gradients_through():
    mean = tf.broadcast_to([1.0, -2.0], (20_000, 2))
    logvar = tf.broadcast_to([0.0, math.log(4)], (20_000, 2))
    with tf.GradientTape() as tape:
        tape.watch([mean, logvar])
        z = reparameterize(mean, logvar, tf.random.Generator.from_seed(0))
    assert z.dtype == tf.float32
    np.testing.assert_allclose(np.mean(z, axis=0), [1, -2], atol=0.05)
    np.testing.assert_allclose(np.cov(z, rowvar=False), [[1, 0], [0, 4]], atol=0.1)
    by_mean, by_logvar = tape.gradient(z, [mean, logvar])
    np.testing.assert_array_equal(by_mean, np.ones((20_000, 2)))
    np.testing.assert_allclose(by_logvar, (z - mean) / 2, rtol=1e-6, atol=1e-6)


def mmd(x, y):
    """The biased estimate with the kernel exp(-|x - y|^2 / dim^2), rows by rows."""

    def mean_kernel(a, b):
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / a.shape[1] ** 2).mean()

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


KL_ALONE = [Weights(beta, 0.0) for beta in (0.0, 0.01, 1.0, 4.0)]


@pytest.mark.parametrize("weights", [None, *KL_ALONE, Weights(1.0, 999.0), Weights(0.0, 5.0)])
def test_loss_and_terms_against_numpy(weights, build, images, float64):
    encoder, decoder, _ = build(eager_cvae)
    x = images(12)
    loss, terms = compute_loss(x, encoder, decoder, tf.random.Generator.from_seed(3), weights)

    mean, logvar = (np.asarray(t) for t in encoder(x))
    rng = tf.random.Generator.from_seed(3)
    eps, true_samples = (np.asarray(rng.normal((12, 2), dtype="float64")) for _ in range(2))
    z = mean + np.exp(logvar) ** 0.5 * eps
    p = 1 / (1 + np.exp(-np.asarray(decoder(z))))
    logpx_z = (x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum(axis=(1, 2, 3))
    logpz = -(z**2).sum(axis=1) / 2 - np.log(2 * np.pi)
    logqz_x = -(eps**2).sum(axis=1) / 2 - np.log(2 * np.pi) - logvar.sum(axis=1) / 2
    expected = [logpx_z.mean(), logpz.mean(), logqz_x.mean()]
    if weights is None:
        weights, expected[0] = Weights(1, 0), logpx_z.sum()  # over the batch too
    total = -(expected[0] + weights.kl * (expected[1] - expected[2]))
    if weights.mmd:
        expected += [mmd(true_samples, z)]
        total += weights.mmd * expected[3]
    expected += [total]
    assert loss_names(weights)[3:-1] == ("loss_mmd_total",) * (weights.mmd > 0)
    np.testing.assert_allclose(terms, expected, rtol=1e-10)
    assert float(loss) == pytest.approx(expected[-1], rel=1e-10)


def test_default_gradient_is_batch_size_times_that_of_beta_one_hundredth(build, images, float64):
    encoder, decoder, _ = build(eager_cvae)
    gradients = []
    for weights in (None, Weights(0.01, 0.0), Weights(1.0, 0.0)):
        rng = tf.random.Generator.from_seed(5)
        with tf.GradientTape() as tape:
            loss, _ = compute_loss(images(100), encoder, decoder, rng, weights)
        gradients.append(tape.gradient(loss, encoder.weights + decoder.weights))
    default, one_hundredth, elbo = gradients
    for a, b in zip(default, one_hundredth, strict=True):
        np.testing.assert_allclose(a, 100 * b, rtol=1e-9, atol=1e-12)
    assert not np.allclose(default[4], 100 * elbo[4], rtol=1e-3)  # it matters


def test_beta_1_has_the_kl_divergence_of_the_closed_form(float64):
    codes, draws = np.random.default_rng(0), []
    mean, logvar = 2 * codes.normal(size=(20, 2)), codes.normal(size=(20, 2))
    kl = (mean**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean() / 2
    x, rng = tf.zeros((20, 4, 4, 1), tf.float64), tf.random.Generator.from_seed(0)
    encoded = tf.constant(mean), tf.constant(logvar)
    for _ in range(40):
        _, (logpx_z, logpz, logqz_x, total) = compute_loss(
            x, lambda _: encoded, lambda _: x, rng, Weights(1.0, 0.0)
        )
        draws.append(float(logqz_x - logpz))
        assert float(total) == pytest.approx(float(logqz_x - logpz - logpx_z), rel=1e-12)
    error = np.std(draws) / np.sqrt(len(draws))
    assert np.mean(draws) == pytest.approx(kl, abs=5 * error)
    assert 5 * error < kl / 4


SAME = {  # flags of InfoVAE, and those that mean the same
    "--alpha 0 --lambda 1": "--beta 1",
    "--alpha -3 --lambda 4": "--beta 4",
    "--alpha=-0.4 --lambda 1.4": "--beta 1.4",  # which add up to less than 1 by rounding
    "--alpha=-1.2 --lambda 2.2": "--beta 2.2",  # and to more
    "--alpha 0.75 --lambda 0.25": "--beta 0.25",
    "--alpha 1 --lambda 0": "--beta 0",
}


@pytest.mark.parametrize(("info", "beta"), SAME.items())
def test_infovae_without_mmd_has_the_gradients_of_beta(info, beta, build, images, float64):
    encoder, decoder, _ = build(eager_cvae)
    gradients = []
    for flags in (info, beta):
        weights, rng = elbo_weights(get_args(flags.split())), tf.random.Generator.from_seed(5)
        with tf.GradientTape() as tape:
            loss, _ = compute_loss(images(6), encoder, decoder, rng, weights)
        gradients.append(tape.gradient(loss, encoder.weights + decoder.weights))
    for a, b in zip(*gradients, strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_alpha_1_is_an_mmd_vae_that_samples(build, images, float64):
    """The KL part has no weight: what is left are reconstruction and lambda times the MMD."""
    encoder, decoder, _ = build(eager_cvae)
    weights = elbo_weights(get_args(["--alpha", "1", "--lambda", "784"]))
    assert weights == Weights(0, 784)
    _, terms = compute_loss(images(30), encoder, decoder, tf.random.Generator.from_seed(5), weights)
    logpx_z, _, _, loss_mmd, total = map(float, terms)
    assert total == pytest.approx(-logpx_z + 784 * loss_mmd, rel=1e-12)
