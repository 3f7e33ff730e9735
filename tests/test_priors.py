"""The priors N(0, I) and VampPrior: common/objectives/priors.py."""

import eager_cvae
from common.objectives.priors import Mixture, StandardNormal, VampPrior, make_prior
from common.program.errors import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats


@pytest.mark.parametrize("latent_dim", [1, 2, 7])
def test_standard_normal(latent_dim, float64):
    z = StandardNormal().sample(50_000, latent_dim, seed=3, dtype="float64").numpy()
    density = stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(StandardNormal().log_prob(z), density, rtol=1e-12)
    assert all(stats.kstest(column, "norm").pvalue > 0.001 for column in z.T)
    np.testing.assert_allclose(np.cov(z.T), np.eye(latent_dim).squeeze(), atol=0.03)


def mixture(components, latent_dim):
    rng = np.random.default_rng(0)
    return Mixture(*(tf.constant(rng.normal(size=(components, latent_dim)) * s) for s in (3, 1)))


@pytest.mark.parametrize(("components", "latent_dim"), [(1, 2), (5, 3), (500, 1)])
def test_the_density_of_a_mixture(components, latent_dim, float64):
    mean, logvar = prior = mixture(components, latent_dim)
    z = np.random.default_rng(1).normal(size=(40, latent_dim)) * 4
    densities = stats.norm.pdf(z[:, None], mean, np.exp(logvar / 2)).prod(axis=2)  # (n, K)
    np.testing.assert_allclose(prior.log_prob(z), np.log(densities.mean(axis=1)), rtol=1e-10)
    assert np.isfinite(prior.log_prob(z + 1e5)).all()  # each density there is 0 in float64


def test_draws_from_a_mixture_have_its_distribution_and_depend_on_the_seed(float64):
    mean, logvar = prior = mixture(4, 1)
    sd = np.exp(logvar[:, 0] / 2)

    def cdf(x):
        return stats.norm.cdf(x[:, None], mean[:, 0], sd).mean(axis=1)

    rng = tf.random.Generator.from_seed(3)
    draws = prior.draw(rng, tf.zeros((20_000, 1), "float64"))
    first, again, other = (prior.sample(20_000, 1, seed, "float64") for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).all()
    for z in (first, draws):
        assert stats.kstest(z[:, 0], cdf).pvalue > 0.001


def test_pseudo_inputs_are_trained_within_0_and_1_and_saved(build, tmp_path):
    encoder, _, rng = build(eager_cvae)
    prior = VampPrior(6, (28, 28, 1))
    prior.images.assign(np.random.default_rng(0).random((6, 28, 28, 1)).round())
    optimizer = keras.optimizers.Adam(0.1)
    for function in (Mixture.log_prob, lambda mixture, z: mixture.draw(rng, z)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(function(prior.distribution(encoder), tf.ones((5, 2))))
        (gradient,) = tape.gradient(loss, prior.trainable_variables)
        assert np.abs(gradient).max() > 0
        optimizer.apply([gradient], prior.trainable_variables)
        images = prior.images.numpy()
        assert (images.min(), images.max()) == (0, 1)
    prior.save(tmp_path / "prior.keras")
    loaded = keras.saving.load_model(tmp_path / "prior.keras")
    np.testing.assert_array_equal(loaded.images.numpy(), images)


def test_pseudo_inputs_are_initially_training_images():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8))
    found = (make_prior(5, images, 0).images.numpy() * 255).round()
    assert sorted(map(bytes, found.astype("u1"))) == sorted(map(bytes, images.numpy()))
    with pytest.raises(UserError, match=r"--vamp-prior 6\D+5\b"):
        make_prior(6, images, 0)
