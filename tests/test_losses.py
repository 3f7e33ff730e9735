"""The formulas of common/losses.py, and the other kernel, against NumPy and closed forms."""

import math

from common.losses import compute_kernel, compute_mmd, normal_loglik
from common.objectives.losses import inverse_multiquadratics

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist
from steps import IMQ, draws, mmd

DTYPES = [tf.float16, tf.float32, tf.float64]


@pytest.mark.parametrize(("dtype", "rtol"), [*zip(DTYPES, (2e-2, 1e-5, 1e-12), strict=True)])
def test_normal_loglik_is_the_log_of_the_product_of_densities(dtype, rtol):
    sample, mean, logvar = draws(3, 7, 4)
    sd = np.exp(logvar / 2)
    density = np.exp(-(((sample - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    loglik = normal_loglik(*(tf.constant(a, dtype) for a in (sample, mean, logvar)))
    of_numbers = normal_loglik(tf.zeros((3, 5), dtype), 1.5, 0.7)
    assert loglik.dtype == of_numbers.dtype == dtype
    np.testing.assert_allclose(loglik, np.log(density.prod(axis=1)), rtol=rtol)
    expected = -2.5 * (math.log(2 * math.pi) + 0.7 + 1.5**2 / math.exp(0.7))
    np.testing.assert_allclose(of_numbers, [expected] * 3, rtol=min(rtol, 1e-3))


def test_normal_loglik_sums_over_the_given_axis():
    sample = draws(2, 3, 4)
    for axis in range(3):
        expected = -(sample**2 + math.log(2 * math.pi)).sum(axis) / 2
        loglik = normal_loglik(tf.constant(sample), 0.0, 0.0, reduce_axis=axis)
        np.testing.assert_allclose(loglik, expected, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [*zip(DTYPES, (1e-2, 1e-5, 1e-14), strict=True)])
@pytest.mark.parametrize(("n", "m", "dim"), [(5, 5, 2), (4, 9, 2), (9, 4, 7), (1, 3, 1)])
def test_compute_kernel_equals_the_formula(n, m, dim, dtype, rtol):
    x, y = draws(n, dim), draws(m, dim, seed=1)
    kernel = compute_kernel(tf.constant(x, dtype), tf.constant(y, dtype))
    assert kernel.dtype == dtype
    expected = np.exp(-cdist(x, y, "sqeuclidean") / dim**2)
    np.testing.assert_allclose(kernel, expected, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("start", [0.0, 1e6])  # |x|^2 + |y|^2 - 2 x.y would lose all digits at 1e6
def test_compute_kernel_divides_by_the_dimension_twice(start):
    x = tf.fill((1, 4), tf.constant(start, tf.float64))
    expected = math.exp(-4 / 4**2)
    assert compute_kernel(x, x + 1).numpy().item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 32])
def test_inverse_multiquadratics_equal_the_formula(dim):
    x, y = draws(6, dim), draws(8, dim, seed=1) + 1
    squared, scales = cdist(x, y, "sqeuclidean"), [2 * dim * s for s in IMQ]
    kernel = inverse_multiquadratics(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(kernel, sum(c / (c + squared) for c in scales) / 7, rtol=1e-12)


def test_only_inverse_multiquadratics_detect_a_wrong_scale_in_32_dimensions():
    x, y = (tf.constant(draws(300, 32, seed=seed)) for seed in (0, 1))
    share = []
    for kernel in (compute_kernel, inverse_multiquadratics):
        same, narrow = (float(compute_mmd(x, y * scale, kernel)) for scale in (1, 0.5))
        share.append(narrow / same)
    assert share[0] < 3 < 10 < share[1], share


@pytest.mark.parametrize("kernel", [compute_kernel, inverse_multiquadratics])
def test_compute_mmd_equals_the_v_statistic(kernel):
    x, y = draws(6, 2), draws(8, 2, seed=1) + 1
    expected = mmd(x, y, imq=kernel is inverse_multiquadratics)
    x, y = tf.constant(x), tf.constant(y)
    assert expected > 0
    for a, b in ((x, y), (y, x), (x + 5, y + 5)):
        assert float(compute_mmd(a, b, kernel)) == pytest.approx(expected, rel=1e-9)
    assert float(compute_mmd(x, x, kernel)) == pytest.approx(0, abs=1e-15)
