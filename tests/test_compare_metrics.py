"""common/compare/metrics.py against closed forms, quadrature and NumPy in float64."""

import math

from common.compare import metrics
from common.compare.metrics import coverage, manifold, precision, pruned
from common.losses import normal_loglik
from common.objectives.priors import StandardNormal

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal
from steps import draws


def test_cross_entropy_and_log_density_against_numpy():
    x, logits = np.random.default_rng(0).random((3, 8, 12, 3)), draws(3, 8, 12, 3)
    preds = 1 / (1 + np.exp(-logits))
    loglik = (x * np.log(preds) + (1 - x) * np.log(1 - preds)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics.bernoulli_loglik(x, tf.constant(logits)), loglik)
    np.testing.assert_allclose(metrics.binary_crossentropy(x, preds), -loglik, rtol=1e-5)
    bits = (x > 0.5).astype("float32")
    np.testing.assert_allclose(metrics.binary_crossentropy(bits, bits), 0, atol=1e-3)


def test_kl_to_the_prior_against_quadrature():
    mean, covariance = np.array([0.5, -1.0]), np.array([[0.5, 0.3], [0.3, 1.5]])
    axis = np.linspace(-12, 12, 601)
    z = np.stack(np.meshgrid(axis, axis), axis=-1)
    logq = multivariate_normal(mean, covariance).logpdf(z)
    logp = multivariate_normal([0, 0]).logpdf(z)
    kl = np.trapezoid(np.trapezoid(np.exp(logq) * (logq - logp), axis), axis)
    assert metrics.gaussian_kl(mean, covariance) == pytest.approx(kl, rel=1e-6)
    assert metrics.gaussian_kl(mean, np.diag([1.0, 0.0])) == math.inf

    mean, logvar = draws(4, 2), draws(4, 2, seed=1)
    kl = [metrics.gaussian_kl(m, np.diag(np.exp(v))) for m, v in zip(mean, logvar, strict=True)]
    np.testing.assert_allclose(metrics.normal_kl(tf.constant(mean), tf.constant(logvar)), kl)


def test_the_bound_increases_from_the_elbo_to_the_log_likelihood():
    n, a, s = 1000, np.array([1.0, -2.0, 0.5]), 0.7  # p(z) = N(0, 1), p(x|z) = N(a z, s^2 I)
    x = draws(n, 1) * a + s * draws(n, 3, seed=1)
    logpx = multivariate_normal(np.zeros(3), np.outer(a, a) + s**2 * np.eye(3)).logpdf(x)
    variance = 1 / (1 + a @ a / s**2)  # of p(z|x)
    mean = variance * x @ a[:, None] / s**2

    def bound(shift, widening, samples):
        mean_q = tf.constant(mean + shift)
        logvar = tf.fill((n, 1), tf.constant(math.log(variance) + widening, tf.float64))
        rng = tf.random.Generator.from_seed(0)

        def draw():
            z = mean_q + tf.exp(logvar / 2) * rng.normal((n, 1), dtype=tf.float64)
            logpx_z = normal_loglik(tf.constant(x), z * a, math.log(s**2))
            return metrics.log_weight(z, mean_q, logvar, logpx_z, StandardNormal())

        return metrics.importance_weighted_bound(draw, samples)

    for samples in (1, 7):  # under the exact posterior all weights are equal
        value, effective_samples = bound(0, 0, samples)
        np.testing.assert_allclose(value, logpx, rtol=1e-9)
        np.testing.assert_allclose(effective_samples, samples)
    gaps = [(logpx - bound(0.3, 0.5, samples)[0]).mean() for samples in (1, 5, 200)]
    kl = 0.5 * (math.exp(0.5) - 1 - 0.5) + 0.5 * 0.3**2 / variance  # KL(q(z|x) || p(z|x))
    assert gaps[0] == pytest.approx(kl, rel=0.1)
    assert gaps[0] > 2 * gaps[1] > 10 * gaps[2]
    assert gaps[2] == pytest.approx(0, abs=0.01)


def test_the_bound_of_weights_that_exp_cannot_represent():
    far = np.array([-5e3, 5e3])
    weights = iter(np.log([[1.0, 1.0], [1.0, 1e-9], [2.0, 1e-9]]) + far)
    value, effective_samples = metrics.importance_weighted_bound(lambda: next(weights), 3)
    np.testing.assert_allclose(np.exp(value - far), [4 / 3, 1 / 3])
    np.testing.assert_allclose(effective_samples, [16 / 6, 1])


def test_to_gaussian_has_its_mean_and_covariance():
    mean, root = np.array([1.0, -2.0, 0.5]), draws(3, 3)
    for covariance in (root @ root.T, np.diag([4.0, 1.0, 0.0])):
        found = metrics.to_gaussian(draws(100_000, 3, seed=1), mean, covariance)
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.05)
        np.testing.assert_allclose(np.cov(found, rowvar=False), covariance, atol=0.1)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_unbiased_mmd_against_numpy(dim, monkeypatch):
    monkeypatch.setattr(metrics, "KERNEL_ELEMENTS", 5 * 13)  # blocks of 5, 5 and 3 rows
    n, x, y = 13, draws(13, dim) + 0.5, draws(13, dim, seed=1)

    def k(a, b):
        return np.exp(-((a[:, None] - b) ** 2).sum(axis=2) / dim**2)

    h = k(x, x) + k(y, y) - k(x, y) - k(x, y).T
    h = h[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    estimate, error = metrics.unbiased_mmd(x, y)
    assert estimate == pytest.approx(h.mean(), rel=1e-12)
    zeta_1 = max(0, h.mean(axis=1).var(ddof=1) - h.var() / n)
    assert error**2 == pytest.approx((4 * (n - 2) * zeta_1 + 2 * h.var()) / (n * (n - 1)))


@pytest.mark.parametrize(
    ("distance", "variance", "dim"), [(0, 1, 2), (1, 1, 2), (0, 0.25, 3), (0.1, 1.5, 1)]
)
def test_unbiased_mmd_and_its_error_against_repeated_draws(distance, variance, dim):
    def expected_kernel(distance, variance):
        """Return E exp(-|d|^2 / dim^2) for d ~ N(m, variance I), where |m| is the distance."""
        width = dim**2 + 2 * variance
        return (dim**2 / width) ** (dim / 2) * math.exp(-(distance**2) / width)

    x, y = draws(150, 80, dim), draws(150, 80, dim, seed=1)
    x = x * math.sqrt(variance) + distance * np.eye(dim)[0]
    estimates, errors = np.transpose(list(map(metrics.unbiased_mmd, x, y)))
    spread = estimates.std(ddof=1)
    within, prior = expected_kernel(0, 2 * variance), expected_kernel(0, 2)
    expected = within + prior - 2 * expected_kernel(distance, 1 + variance)
    assert abs(estimates.mean() - expected) < 3.5 * spread / math.sqrt(150)
    most = 1.2 if expected else 1.5  # the error is cautious where the distributions are equal
    assert 0.85 < math.sqrt(np.mean(errors**2)) / spread < most


def test_manifold_reaches_to_the_kth_neighbour():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(manifold(points, k=2).radii, [3, 2, 3, 6])
    around = manifold(points, k=1)
    np.testing.assert_allclose(around.radii, [1, 1, 2, 4])
    assert precision(np.array([[-1.0], [-1.1], [2.5], [11.0], [11.1]]), around) == 3 / 5
    for others, share in (
        ([[0.5]], 2 / 4),
        ([[11.0]], 1 / 4),  # at the edge
        ([[-1.1], [11.1]], 0),
        ([[0.5], [0.6], [3.1]], 4 / 4),  # 3.1 is in the balls of 3 and 7
    ):
        assert coverage(np.array(others), around) == share


def test_pruned_removes_the_balls_of_outliers():
    points = np.concatenate([draws(99, 3), [[1000.0, 0, 0]]])
    around, middle = manifold(points), np.array([[500.0, 0, 0]])  # only in the largest ball
    assert precision(middle, around) == 1
    narrow = pruned(around)
    assert precision(middle, narrow) == 0
    kept = around.radii <= np.median(around.radii)
    assert kept.sum() == 50
    np.testing.assert_array_equal(narrow.points, points[kept])


@pytest.mark.parametrize("dim", [1, 3])
def test_frechet_distance_against_its_closed_forms(dim):
    x, root, move = draws(500, dim), draws(dim, dim, seed=2), np.arange(1, dim + 1)
    a = np.atleast_2d(np.cov(x, rowvar=False))
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(x, 3 * x) == pytest.approx(  # covariances that commute
        4 * np.trace(a) + 4 * (x.mean(axis=0) ** 2).sum()
    )
    y = x @ root + move
    cross = np.trace(sqrtm(a @ root.T @ a @ root).real)
    apart = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = apart + np.trace(a) + np.trace(root.T @ a @ root) - 2 * cross
    assert metrics.frechet_distance(x, y) == pytest.approx(expected)
    assert metrics.frechet_distance(y, x) == pytest.approx(expected)


def test_sure_classes():
    def p(*labels, of=0.9):
        return of * np.eye(10)[list(labels)] + (1 - of) / 10

    def found(*p):
        return metrics.sure_classes(np.concatenate(p), 0.9)

    assert found(p(1, 2, of=0.5)) == (1, 0)
    assert found(p(3, 3)) == (1, 1)
    assert found(np.repeat(p(1, 5, 9), 7, axis=0)) == (pytest.approx(3), 1)
    assert found(p(0, 0, 0, 1)) == (pytest.approx(4 / 3**0.75), 1)
    assert found(p(0, 1), p(2, 3, 4, 5, of=0.5)) == (pytest.approx(2 ** (1 / 3)), 1 / 3)
    # mutual information of image and class; the judge knows nothing of images unless sure
    prior = np.array([0.5, 0.25, 0.25])
    joint = np.vstack([np.diag(0.7 * prior), 0.3 * prior])
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    where = joint > 0
    information = (joint[where] * np.log(joint[where] / apart[where])).sum()
    seven, three = np.eye(3)[[0] * 14 + [1] * 7 + [2] * 7], np.tile(prior, (12, 1))
    assert found(seven, three) == (pytest.approx(np.exp(information)), 0.7)


def test_edges_give_the_slope_of_a_regression():
    def kept(images, preds):
        along, there = metrics.edges(*(tf.constant(i, "float32") for i in (images, preds)))
        assert along.shape == there.shape == (len(images),)
        return float(tf.reduce_sum(along) / tf.reduce_sum(there))

    images, other = np.random.default_rng(0).random((2, 50, 28, 28, 1))
    assert kept(images, images) == pytest.approx(1)
    assert kept(images, 0.3 * images + 0.4) == pytest.approx(0.3)
    assert kept(images, other) == pytest.approx(0, abs=0.02)
    blend = 0.7 * images + 0.3 * other
    assert kept(images, blend) == pytest.approx(0.7, abs=0.02)
    assert kept(images, np.swapaxes(images, 1, 2)) < 0.1


def test_gradient_length():
    rows, columns = np.mgrid[:5, :8, :1][:2]
    ramp = np.stack([3 * rows + 4 * columns, 0 * rows]).astype("float32")
    inner, right, below = 4 * 7 * 5, 4 * 3, 7 * 4  # gradients are 0 at the last row and column
    expected = [(inner + right + below) / 40, 0]
    np.testing.assert_allclose(metrics.gradient_length(tf.constant(ramp)), expected, rtol=1e-6)
