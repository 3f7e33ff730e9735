"""common/compare/metrics.py against closed forms, quadrature and loops in float64."""

import math

from common.compare import metrics
from common.compare.metrics import (
    bernoulli_loglik,
    binary_crossentropy,
    coverage,
    gaussian_kl,
    gradient_magnitude,
    importance_weighted_bound,
    inside,
    log_weight,
    manifold,
    mean_squared_error,
    neighbour_accuracy,
    normal_kl,
    to_gaussian,
    unbiased_mmd,
)
from common.losses import normal_loglik

import numpy as np
import pytest
import tensorflow as tf


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def expected_kernel(distance, variance, dim):
    """E exp(-|d|^2 / dim^2) for d ~ N(distance, variance I), the distance along one axis."""
    width = dim**2 + 2 * variance
    return (dim**2 / width) ** (dim / 2) * math.exp(-(distance**2) / width)


def expected_mmd(distance, variance, dim):
    """MMD^2 between N(distance, variance I) and N(0, I)."""
    return (
        expected_kernel(0, 2 * variance, dim)
        + expected_kernel(0, 2, dim)
        - 2 * expected_kernel(distance, 1 + variance, dim)
    )


# Reconstruction ---------------------------------------------------------------


def test_reconstruction_of_a_perfect_and_of_a_constant_decoder():
    x = (np.random.default_rng(0).random((5, 28, 28, 1)) > 0.5).astype("float32")
    grey = np.full_like(x, 0.5)
    assert mean_squared_error(x, x) == 0
    assert binary_crossentropy(x, x) == pytest.approx(0, abs=1e-3)
    assert mean_squared_error(x, grey) == pytest.approx(0.25)
    assert binary_crossentropy(x, grey) == pytest.approx(784 * math.log(2), rel=1e-5)


def test_perfect_reconstructions_leave_the_entropy_of_grey_pixels():
    x = np.full((2, 28, 28, 1), 0.2)
    entropy = -0.2 * math.log(0.2) - 0.8 * math.log(0.8)
    assert binary_crossentropy(x, x) == pytest.approx(784 * entropy)
    for others in (0.1, 0.3):
        assert binary_crossentropy(x, np.full_like(x, others)) > 785 * entropy


def test_reconstruction_and_log_density_against_numpy():
    x, logits = np.random.default_rng(0).random((3, 28, 28, 1)), draws(3, 28, 28, 1)
    preds = 1 / (1 + np.exp(-logits))
    assert mean_squared_error(x, preds) == pytest.approx(np.mean((x - preds) ** 2))
    loglik = (x * np.log(preds) + (1 - x) * np.log(1 - preds)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(bernoulli_loglik(x, tf.constant(logits)), loglik)
    assert binary_crossentropy(x, preds) == pytest.approx(-loglik.mean())


# Bounds -----------------------------------------------------------------------


def test_normal_kl_against_quadrature():
    mean, logvar = tf.constant(draws(4, 2)), tf.constant(draws(4, 2, seed=1))
    points = tf.constant(np.linspace(-40, 40, 100_001)[:, None])
    kl = np.zeros(4)
    for i in range(4):
        for d in range(2):
            logq = normal_loglik(points, mean[i, d], logvar[i, d]).numpy()
            logp = normal_loglik(points, 0.0, 0.0).numpy()
            kl[i] += np.trapezoid(np.exp(logq) * (logq - logp), points[:, 0])
    np.testing.assert_allclose(normal_kl(mean, logvar), kl, rtol=1e-6)


def linear_gaussian(n):
    """p(z) = N(0, 1), p(x|z) = N(a z, s^2 I), x in three dimensions, n draws of it.

    Returns log p(x|z) as a function of z, the exact log p(x), mean and logvar of p(z|x).
    """
    a, s = np.array([1.0, -2.0, 0.5]), 0.7
    x = draws(n, 1) * a + s * draws(n, 3, seed=1)
    covariance = np.outer(a, a) + s**2 * np.eye(3)
    logpx = -0.5 * (
        np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
        + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    variance = 1 / (1 + a @ a / s**2)
    mean = tf.constant(variance * x @ a[:, None] / s**2)

    def logpx_z(z):
        return normal_loglik(tf.constant(x), z * a, math.log(s**2))

    return logpx_z, logpx, mean, tf.fill((n, 1), tf.constant(math.log(variance), tf.float64))


def bound(logpx_z, mean, logvar, samples):
    rng = tf.random.Generator.from_seed(0)

    def draw():
        z = mean + tf.exp(logvar / 2) * rng.normal(mean.shape, dtype=mean.dtype)
        return log_weight(z, mean, logvar, logpx_z(z))

    return importance_weighted_bound(draw, samples)


@pytest.mark.parametrize("samples", [1, 7])
def test_under_the_exact_posterior_the_bound_is_the_log_likelihood(samples):
    logpx_z, logpx, mean, logvar = linear_gaussian(5)
    value, effective_samples = bound(logpx_z, mean, logvar, samples)
    np.testing.assert_allclose(value, logpx, rtol=1e-9)
    np.testing.assert_allclose(effective_samples, samples)  # all weights are equal


def test_the_bound_rises_from_the_elbo_to_the_log_likelihood():
    logpx_z, logpx, mean, logvar = linear_gaussian(1000)
    wrong, wide = mean + 0.3, logvar + 0.5
    gap = 0.5 * (math.exp(0.5) - 1 - 0.5) + 0.5 * 0.3**2 / tf.exp(logvar[0, 0]).numpy()
    gaps = [(logpx - bound(logpx_z, wrong, wide, k)[0]).mean() for k in (1, 5, 200)]
    assert gaps[0] == pytest.approx(gap, rel=0.1)  # KL(q(z|x) || p(z|x))
    assert gaps[0] > 2 * gaps[1] > 10 * gaps[2]
    assert gaps[2] == pytest.approx(0, abs=0.01)


def test_the_bound_survives_weights_beyond_exp():
    value, effective_samples = importance_weighted_bound(lambda: tf.constant([-5e3, 5e3]), 3)
    np.testing.assert_allclose(value, [-5000, 5000])
    np.testing.assert_allclose(effective_samples, [3, 3])


def test_effective_samples_of_known_weights():
    weights = iter(np.log([[1.0, 1.0], [1.0, 1e-9], [2.0, 1e-9]]))
    value, effective_samples = importance_weighted_bound(lambda: next(weights), 3)
    np.testing.assert_allclose(np.exp(value), [4 / 3, 1 / 3])
    np.testing.assert_allclose(effective_samples, [16 / 6, 1])


# Aggregate posterior ----------------------------------------------------------


def test_gaussian_kl_against_quadrature():
    mean, covariance = np.array([0.5, -1.0]), np.array([[0.5, 0.3], [0.3, 1.5]])
    axis = np.linspace(-12, 12, 601)
    z = np.stack(np.meshgrid(axis, axis), axis=-1)
    logp = -0.5 * (z**2).sum(axis=-1) - math.log(2 * math.pi)
    d = z - mean
    logq = -0.5 * np.einsum("abi,ij,abj->ab", d, np.linalg.inv(covariance), d)
    logq -= 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    kl = np.trapezoid(np.trapezoid(np.exp(logq) * (logq - logp), axis), axis)
    assert gaussian_kl(mean, covariance) == pytest.approx(kl, rel=1e-6)


def test_gaussian_kl_of_the_prior_and_of_a_flat_gaussian():
    assert gaussian_kl(np.zeros(3), np.eye(3)) == pytest.approx(0)
    assert gaussian_kl(np.zeros(2), np.diag([1.0, 0.0])) == math.inf


def test_to_gaussian_has_its_mean_and_covariance():
    mean, root = np.array([1.0, -2.0, 0.5]), draws(3, 3)
    for covariance in (root @ root.T, np.diag([4.0, 1.0, 0.0])):
        found = to_gaussian(draws(100_000, 3, seed=1), mean, covariance)
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.05)
        np.testing.assert_allclose(np.cov(found, rowvar=False), covariance, atol=0.1)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_unbiased_mmd_against_a_loop(dim, monkeypatch):
    monkeypatch.setattr(metrics, "KERNEL_ELEMENTS", 5 * 13 * dim)  # blocks of 5, 5 and 3 rows
    n, x, y = 13, draws(13, dim) + 0.5, draws(13, dim, seed=1)

    def k(a, b):
        return math.exp(-sum((a - b) ** 2) / dim**2)

    h = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    estimate, error = unbiased_mmd(x, y)
    assert estimate == pytest.approx(np.mean(h), rel=1e-12)
    row_means = np.reshape(h, (n, n - 1)).mean(axis=1)
    zeta_1 = max(0, row_means.var(ddof=1) - np.var(h) / n)
    expected = 4 * (n - 2) / (n * (n - 1)) * zeta_1 + 2 / (n * (n - 1)) * np.var(h)
    assert error == pytest.approx(math.sqrt(expected))


@pytest.mark.parametrize(
    ("distance", "variance", "dim"), [(0, 1, 2), (1, 1, 2), (0, 0.25, 3), (0.1, 1.5, 1)]
)
def test_unbiased_mmd_and_its_error_against_repeated_draws(distance, variance, dim):
    shift = distance * np.eye(dim)[0]
    repeats = [
        unbiased_mmd(
            draws(80, dim, seed=2 * i) * math.sqrt(variance) + shift,
            draws(80, dim, seed=2 * i + 1),
        )
        for i in range(150)
    ]
    estimates, errors = np.transpose(repeats)
    spread = estimates.std(ddof=1)
    expected = expected_mmd(distance, variance, dim)
    assert (expected == 0) == (distance == 0 and variance == 1)
    assert abs(estimates.mean() - expected) < 3.5 * spread / math.sqrt(150)
    most = 1.2 if expected else 1.5  # the error is cautious where the distributions are equal
    assert 0.85 < math.sqrt(np.mean(errors**2)) / spread < most


def test_unbiased_mmd_of_many_draws_is_the_closed_form():
    estimate, error = unbiased_mmd(draws(1500, 2) * 0.7 + [1.2, 0], draws(1500, 2, seed=1))
    assert error < 0.02
    assert abs(estimate - expected_mmd(1.2, 0.49, 2)) < 3 * error


# Classes ----------------------------------------------------------------------


def test_neighbour_accuracy_of_separated_clusters():
    labels = np.arange(60) % 3
    points = draws(60, 2) + 20 * labels[:, None]
    assert neighbour_accuracy(points, labels, points + 0.1, labels) == 1
    assert neighbour_accuracy(points, labels, points + 0.1, (labels + 1) % 3) == 0
    moved = points[:3] + 20 * np.array([[1], [0], [0]])
    assert neighbour_accuracy(points, labels, moved, labels[:3]) == pytest.approx(2 / 3)


def test_neighbour_accuracy_is_by_vote():
    train, labels = np.array([[0.0], [0.2], [0.3]]), np.array([0, 1, 1])
    assert neighbour_accuracy(train, labels, [[0.0]], [1], k=3) == 1
    assert neighbour_accuracy(train, labels, [[0.0]], [0], k=1) == 1


# Manifolds --------------------------------------------------------------------


def test_manifold_reaches_to_the_kth_neighbour_beside_the_point_itself():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(manifold(points, k=1).radii, [1, 1, 2, 4])
    np.testing.assert_allclose(manifold(points, k=2).radii, [3, 2, 3, 6])
    around = manifold(points, k=1)
    assert inside(np.array([[-1.0], [-1.1], [2.5], [11.0], [11.1]]), around).mean() == 3 / 5


def test_precision_and_recall_of_perfect_constant_and_one_sided_decoders():
    left, right = draws(200, 5), draws(200, 5, seed=1) + 100
    real = manifold(np.concatenate([left, right]))
    assert inside(real.points, real).all()
    one = left[0] + 1e-3 * draws(50, 5, seed=2)  # one image again and again, all but the same
    for fakes, precision, recall in [
        (real.points + 1e-6, 1, 1),
        (one, 1, 1 / 400),
        (np.full((50, 5), 50.0), 0, 0),  # in nobody's ball
        (left, 1, 0.5),  # one of two kinds
        (np.concatenate([left, left + 1000]), 0.5, 0.5),
    ]:
        fake = manifold(fakes)
        assert inside(fake.points, real).mean() == precision
        assert inside(real.points, fake).mean() == recall


def test_coverage_counts_the_balls_that_hold_something():
    around = manifold(np.array([[0.0], [1.0], [3.0], [7.0]]), k=1)  # radii 1, 1, 2, 4
    for points, share in (
        ([[0.5]], 2 / 4),
        ([[11.0]], 1 / 4),  # at the edge
        ([[-1.1], [11.1]], 0),
        ([[0.5], [0.6], [3.1]], 4 / 4),  # 3.1 is in the balls of 3 and 7
    ):
        assert coverage(np.array(points), around) == share


def test_a_rare_far_draw_makes_up_recall_not_coverage():
    real = manifold(draws(300, 3))
    fake = manifold(np.concatenate([50 + draws(100, 3, seed=1), [[-60.0, -60, -60]]]))
    assert inside(real.points, fake).all()
    assert coverage(fake.points, real) == 0


# Sharpness --------------------------------------------------------------------


def test_gradient_magnitude_of_ramps():
    row = np.arange(28) / 100
    across = np.broadcast_to(row[None, None, :, None], (2, 28, 28, 1))
    down = np.swapaxes(across, 1, 2)
    # TensorFlow's last difference is 0: of 28 columns, 27 have one
    assert gradient_magnitude(np.full((2, 28, 28, 1), 0.3)) == 0
    assert gradient_magnitude(across) == pytest.approx(0.01 * 27 / 28)
    assert gradient_magnitude(down) == pytest.approx(0.01 * 27 / 28)
    both = 0.01 * (math.sqrt(2) * 27 * 27 + 2 * 27) / 28**2
    assert gradient_magnitude(across + down) == pytest.approx(both)
    assert gradient_magnitude(3 * across) == pytest.approx(3 * gradient_magnitude(across))
