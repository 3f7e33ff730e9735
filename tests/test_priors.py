"""common/priors.py: N(0, I), drawn from the seed alone."""

from common import priors

import numpy as np
import pytest
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
