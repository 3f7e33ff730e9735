"""The formulas of common/losses.py, and the other kernel, against NumPy and closed forms."""

import math

from common.losses import compute_kernel, compute_mmd, normal_loglik
from common.objectives.kernels import inverse_multiquadratics

import numpy as np
import pytest
import tensorflow as tf

DTYPES = [tf.float16, tf.float32, tf.float64]


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def kernel_by_hand(x, y):
    """Return exp(-|x - y|^2 / dim^2) for each pair of rows."""
    return np.array([[math.exp(-sum((a - b) ** 2) / len(a) ** 2) for b in y] for a in x])


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
    np.testing.assert_allclose(kernel, kernel_by_hand(x, y), rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("start", [0.0, 1e6])  # |x|^2 + |y|^2 - 2 x.y would lose all digits at 1e6
def test_compute_kernel_divides_by_the_dimension_twice(start):
    x = tf.fill((1, 4), tf.constant(start, tf.float64))
    expected = math.exp(-4 / 4**2)
    assert compute_kernel(x, x + 1).numpy().item() == pytest.approx(expected, rel=1e-9)


def test_compute_kernel_builds_one_tensor_of_all_differences():
    spec = tf.TensorSpec
    graph = tf.function(compute_kernel).get_concrete_function(spec((5, 3)), spec((7, 3))).graph
    shapes = [output.shape for op in graph.get_operations() for output in op.outputs]
    assert shapes.count((5, 7, 3)) == 1


@pytest.mark.parametrize("dim", [1, 2, 32])
def test_inverse_multiquadratics_equal_the_formula(dim):
    x, y = draws(6, dim), draws(8, dim, seed=1) + 1
    expected = np.zeros((6, 8))
    for i, j in np.ndindex(6, 8):
        for c in (2 * dim * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)):
            expected[i, j] += c / (c + ((x[i] - y[j]) ** 2).sum()) / 7
    kernel = inverse_multiquadratics(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(kernel, expected, rtol=1e-12)
    found = float(compute_mmd(tf.constant(x), tf.constant(y), inverse_multiquadratics))
    kernels = [inverse_multiquadratics(*map(tf.constant, two)) for two in ((x, x), (y, y), (x, y))]
    within, other, between = (np.mean(kernel) for kernel in kernels)
    assert found == pytest.approx(within + other - 2 * between, rel=1e-9)


def test_only_inverse_multiquadratics_detect_a_wrong_scale_in_32_dimensions():
    x, y = (tf.constant(draws(300, 32, seed=seed)) for seed in (0, 1))
    share = []
    for kernel in (compute_kernel, inverse_multiquadratics):
        same, narrow = (float(compute_mmd(x, y * scale, kernel)) for scale in (1, 0.5))
        share.append(narrow / same)
    assert share[0] < 3 < 10 < share[1], share


def test_compute_mmd_equals_the_v_statistic():
    x, y = draws(6, 2), draws(8, 2, seed=1) + 1
    expected = sum(kernel_by_hand(a, a).sum() / len(a) ** 2 for a in (x, y))
    expected -= 2 * kernel_by_hand(x, y).sum() / (6 * 8)
    x, y = tf.constant(x), tf.constant(y)
    assert expected > 0
    assert float(compute_mmd(x, y)) == pytest.approx(expected, rel=1e-12)
    assert float(compute_mmd(y, x)) == pytest.approx(expected, rel=1e-12)
    assert float(compute_mmd(x + 5, y + 5)) == pytest.approx(expected, rel=1e-9)
    assert float(compute_mmd(x, x)) == pytest.approx(0, abs=1e-15)
