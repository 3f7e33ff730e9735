"""The formulas of the two original losses, as pure functions of tensors of any float dtype.

Each script combines them into its loss.
"""

import math

import tensorflow as tf


def normal_loglik(sample, mean, logvar, reduce_axis=1):
    """Return the log density of a diagonal Gaussian N(mean, exp(logvar)) at `sample`.

    The formula is -sum_d 1/2 (log 2 pi + logvar_d + exp(-logvar_d) (sample_d - mean_d)^2), as in
    eager_cvae.R. There `reduce_axis` is 2, because R counts axes from 1.

    Args:
        sample: tensor (n, d) of any float dtype.
        mean, logvar: tensors of that dtype that broadcast against `sample`, or Python numbers.
        reduce_axis: the latent axis, over which the density is summed.

    Returns:
        A tensor (n,) in nats per image.
    """
    mean = tf.convert_to_tensor(mean, sample.dtype)
    logvar = tf.convert_to_tensor(logvar, sample.dtype)
    sample = _copy_gradient(sample)  # so that gradients are always summed in the same order
    loglik = 0.5 * (math.log(2 * math.pi) + logvar + tf.exp(-logvar) * (sample - mean) ** 2)
    return -tf.reduce_sum(loglik, axis=reduce_axis)


@tf.custom_gradient
def _copy_gradient(x):
    """Return x, whose gradient is copied into memory that no other operation uses.

    TensorFlow's sum of three or more tensors starts with an input whose memory it may overwrite.
    Without the copy, that depends on which operation has finished first, and so does the rounding.
    """
    return tf.identity(x), lambda upstream: tf.raw_ops.Snapshot(input=upstream)


def compute_kernel(x, y):
    """Return the Gaussian kernel between each row of `x` and each row of `y`, as in mmd_cvae.R.

    k(x_i, y_j) = exp(-mean_d((x_id - y_jd)^2) / dim) = exp(-|x_i - y_j|^2 / dim^2). It divides by
    the dimension twice. The post's formula, exp(-|x - y| / (2 sigma^2)), is a misprint.

    Args:
        x: tensor (n, dim) of any float dtype.
        y: tensor (m, dim) of the same dtype.

    Returns:
        A tensor (n, m) with values in (0, 1].
    """
    dim = x.shape[1]
    # R: k_tile copies both to (n, m, dim) and subtracts. Broadcasting needs no copies
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    return tf.exp(-tf.reduce_mean(squared, axis=2) / dim)


def compute_mmd(x, y, kernel=compute_kernel):
    """Return the squared maximum mean discrepancy between two samples, estimated with bias.

    mean k(x, x) + mean k(y, y) - 2 mean k(x, y), the V-statistic of Gretton et al. (2012),
    equation 5. It is 0 for equal samples and negative only through rounding. R: compute_mmd has a
    third argument, sigma_sqr, which it never uses.

    Args:
        x: tensor (n, dim) of any float dtype.
        y: tensor (m, dim) of the same dtype.
        kernel: function like `compute_kernel`.

    Returns:
        A scalar tensor without a unit.
    """
    x_kernel = kernel(x, x)
    y_kernel = kernel(y, y)
    xy_kernel = kernel(x, y)
    return tf.reduce_mean(x_kernel) + tf.reduce_mean(y_kernel) - 2 * tf.reduce_mean(xy_kernel)
