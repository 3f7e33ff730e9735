"""Define the formulas of the original's two losses. All functions accept any float dtype."""

import math

import tensorflow as tf


def normal_loglik(sample, mean, logvar, reduce_axis=1):
    """Return the log density (n,) of the Gaussian N(mean, exp(logvar)) at `sample` (n, d), in nats.

    The formula is -sum_d 1/2 (log 2 pi + logvar_d + exp(-logvar_d) (sample_d - mean_d)^2), as in
    eager_cvae.R. `mean` and `logvar` are numbers, or tensors that broadcast against `sample`.
    `reduce_axis` is the axis d. R: its default is 2, because R counts axes from 1.
    """
    mean = tf.convert_to_tensor(mean, sample.dtype)
    logvar = tf.convert_to_tensor(logvar, sample.dtype)
    sample = _copy_gradient(sample)
    loglik = 0.5 * (math.log(2 * math.pi) + logvar + tf.exp(-logvar) * (sample - mean) ** 2)
    return -tf.reduce_sum(loglik, axis=reduce_axis)


@tf.custom_gradient
def _copy_gradient(x):
    """Return x. Copy its gradient so that TensorFlow always adds gradients in the same order.

    A sum of three or more tensors starts with an input whose memory TensorFlow may overwrite.
    Without the copy, the order and the rounding depend on which operation has finished first.
    """
    return tf.identity(x), lambda upstream: tf.raw_ops.Snapshot(input=upstream)


def compute_kernel(x, y):
    """Return the Gaussian kernel (n, m) of the rows of x (n, dim) and y (m, dim), as in mmd_cvae.R.

    The kernel is exp(-mean_d((x_id - y_jd)^2) / dim) = exp(-|x_i - y_j|^2 / dim^2), which divides
    by the dimension twice. The post's formula, exp(-|x - y| / (2 sigma^2)), is a misprint.
    """
    dim = x.shape[1]
    # R: k_tile copies both tensors to the shape (n, m, dim). Here, broadcasting avoids these copies
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    return tf.exp(-tf.reduce_mean(squared, axis=2) / dim)


def compute_mmd(x, y, kernel=compute_kernel):
    """Return the squared maximum mean discrepancy between the samples x (n, dim) and y (m, dim).

    The result is a scalar without a unit. It is the biased estimate (V-statistic) mean k(x, x) +
    mean k(y, y) - 2 mean k(x, y) of Gretton et al. (2012), equation 5. It is 0 for equal samples,
    and negative only through rounding. R: compute_mmd has a third argument, sigma_sqr, but ignores
    it.
    """
    x_kernel = kernel(x, x)
    y_kernel = kernel(y, y)
    xy_kernel = kernel(x, y)
    return tf.reduce_mean(x_kernel) + tf.reduce_mean(y_kernel) - 2 * tf.reduce_mean(xy_kernel)
