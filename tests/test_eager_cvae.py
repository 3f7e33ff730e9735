"""eager_cvae.py: the ELBO, its oddity, and --beta."""

import math

import eager_cvae
from eager_cvae import compute_loss, reparameterize

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


@pytest.mark.parametrize("beta", [None, 0.0, 0.01, 1.0, 4.0])
def test_loss_and_terms_against_numpy(beta, build, images, float64):
    encoder, decoder, _ = build(eager_cvae)
    x = images(12)
    loss, terms = compute_loss(x, encoder, decoder, tf.random.Generator.from_seed(3), beta)

    mean, logvar = (np.asarray(t) for t in encoder(x))
    eps = np.asarray(tf.random.Generator.from_seed(3).normal((12, 2), dtype="float64"))
    z = mean + np.exp(logvar) ** 0.5 * eps
    p = 1 / (1 + np.exp(-np.asarray(decoder(z))))
    logpx_z = (x * np.log(p) + (1 - x) * np.log(1 - p)).numpy().sum(axis=(1, 2, 3))
    logpz = -(z**2).sum(axis=1) / 2 - np.log(2 * np.pi)
    logqz_x = -(eps**2).sum(axis=1) / 2 - np.log(2 * np.pi) - logvar.sum(axis=1) / 2
    expected = [logpx_z.mean(), logpz.mean(), logqz_x.mean()]
    if beta is None:
        beta, expected[0] = 1, logpx_z.sum()  # over the batch too
    expected += [-(expected[0] + beta * (expected[1] - expected[2]))]
    assert terms.dtype == tf.float64
    np.testing.assert_allclose(terms, expected, rtol=1e-10)
    assert float(loss) == pytest.approx(expected[-1], rel=1e-10)


def test_default_gradient_is_batch_size_times_that_of_beta_one_hundredth(build, images, float64):
    encoder, decoder, _ = build(eager_cvae)
    gradients = []
    for beta in (None, 0.01, 1.0):
        rng = tf.random.Generator.from_seed(5)
        with tf.GradientTape() as tape:
            loss, _ = compute_loss(images(100), encoder, decoder, rng, beta)
        gradients.append(tape.gradient(loss, encoder.weights + decoder.weights))
    default, one_hundredth, elbo = gradients
    for a, b in zip(default, one_hundredth, strict=True):
        np.testing.assert_allclose(a, 100 * b, rtol=1e-9, atol=1e-12)
    assert not np.allclose(default[4], 100 * elbo[4], rtol=1e-3)  # it matters


def test_beta_1_has_the_kl_divergence_of_the_closed_form(build, images, float64):
    encoder, decoder, rng = build(eager_cvae)
    x = images(20)
    mean, logvar = (np.asarray(t) for t in encoder(x))
    kl = (mean**2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean() / 2
    draws = []
    for _ in range(100):
        _, (logpx_z, logpz, logqz_x, total) = compute_loss(x, encoder, decoder, rng, 1.0)
        draws.append(float(logqz_x - logpz))
        assert float(total) == pytest.approx(float(logqz_x - logpz - logpx_z), rel=1e-12)
    error = np.std(draws) / np.sqrt(len(draws))
    assert np.mean(draws) == pytest.approx(kl, abs=5 * error)
    assert error < 0.02 + kl
