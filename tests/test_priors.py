"""common/priors.py: N(0, I) and the VampPrior, drawn from the seed alone."""

import eager_cvae
from common.objectives import priors
from common.program.errors import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats


@pytest.mark.parametrize("latent_dim", [1, 2, 7])
def test_the_prior_is_the_standard_normal(latent_dim, float64):
    z = priors.sample(50_000, latent_dim, seed=3, dtype="float64").numpy()
    np.testing.assert_allclose(priors.log_prob(z), stats.norm.logpdf(z).sum(axis=1), rtol=1e-12)
    assert all(stats.kstest(column, "norm").pvalue > 0.001 for column in z.T)
    np.testing.assert_allclose(np.cov(z.T), np.eye(latent_dim).squeeze(), atol=0.03)


def test_draws_depend_on_the_seed_and_their_number_alone():
    first, again, other = (priors.sample(5, 2, seed).numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()


def mixture(components, latent_dim, dtype="float64"):
    rng = np.random.default_rng(0)
    return [
        tf.constant(rng.normal(size=(components, latent_dim)) * scale, dtype) for scale in (3, 1)
    ]


@pytest.mark.parametrize(("components", "latent_dim"), [(1, 2), (5, 3), (500, 1)])
def test_the_vamp_prior_s_density_against_scipy(components, latent_dim, float64):
    mean, logvar = parts = mixture(components, latent_dim)
    z = np.random.default_rng(1).normal(size=(40, latent_dim)) * 4
    sd = np.exp(logvar / 2)
    densities = stats.norm.pdf(z[:, None], mean, sd).prod(axis=2)  # (n, K)
    np.testing.assert_allclose(
        priors.log_prob(z, parts), np.log(densities.mean(axis=1)), rtol=1e-10
    )
    if components == 1:  # the closed form
        np.testing.assert_allclose(
            priors.log_prob(z, parts), stats.norm.logpdf(z, mean, sd).sum(axis=1), rtol=1e-12
        )
    far = priors.log_prob(z + 1e5, parts)  # where every density is 0 in float64
    assert np.isfinite(far).all()


def test_the_vamp_prior_s_draws_are_of_its_density(float64):
    mean, logvar = parts = mixture(4, 1)
    sd = np.exp(logvar[:, 0] / 2)

    def cdf(x):
        return stats.norm.cdf(x[:, None], mean[:, 0], sd).mean(axis=1)

    rng = tf.random.Generator.from_seed(3)
    for z in (
        priors.sample(20_000, 1, 3, "float64", parts),
        priors.draw(rng, tf.zeros((20_000, 1), "float64"), parts),
    ):
        assert stats.kstest(z[:, 0], cdf).pvalue > 0.001
    again = priors.sample(20, 1, 3, "float64", parts)
    np.testing.assert_array_equal(again, priors.sample(20, 1, 3, "float64", parts))


def test_gradients_reach_the_pseudo_inputs_and_training_keeps_them_in_0_1(build, tmp_path):
    encoder, _, rng = build(eager_cvae)
    pseudo_inputs = priors.PseudoInputs(6, (28, 28, 1))
    pseudo_inputs.images.assign(np.random.default_rng(0).random((6, 28, 28, 1)).round())
    optimizer = keras.optimizers.Adam(0.1)
    for density in (priors.log_prob, lambda z, mixture: priors.draw(rng, z, mixture)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(density(tf.ones((5, 2)), pseudo_inputs.mixture(encoder)))
        (gradient,) = tape.gradient(loss, pseudo_inputs.trainable_variables)
        assert np.abs(gradient).max() > 0
        optimizer.apply([gradient], pseudo_inputs.trainable_variables)
        images = pseudo_inputs.images.numpy()
        assert (images.min(), images.max()) == (0, 1)
    pseudo_inputs.save(tmp_path / "prior.keras")
    loaded = keras.saving.load_model(tmp_path / "prior.keras")
    np.testing.assert_array_equal(loaded.images.numpy(), images)


def test_pseudo_inputs_begin_as_training_images_and_are_no_more_than_these():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8))
    found = (priors.begin_pseudo_inputs(5, images, 0).images.numpy() * 255).round()
    assert sorted(map(bytes, found.astype("u1"))) == sorted(map(bytes, images.numpy()))
    with pytest.raises(UserError, match="--vamp-prior 6 is more than the 5 training images"):
        priors.begin_pseudo_inputs(6, images, 0)
