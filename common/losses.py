"""The building blocks of the two losses: pure functions of tensors, of any float dtype.

How they are put together into a loss is each script's own business.
"""

import math

import tensorflow as tf

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of inverse_multiquadratics


def normal_loglik(sample, mean, logvar, reduce_axis=1):
    """Log density of a diagonal Gaussian N(mean, exp(logvar)) at `sample`.

    -sum_d 1/2 (log 2 pi + logvar_d + exp(-logvar_d) (sample_d - mean_d)^2), as eager_cvae.R has it
    (there `reduce_axis = 2`, counted from 1).

    Args:
        sample: (n, d) tensor of any float dtype.
        mean, logvar: tensors of that dtype that broadcast against `sample`, or Python numbers.
        reduce_axis: the latent axis, summed over.

    Returns:
        (n,) tensor, nats per image.
    """
    mean = tf.convert_to_tensor(mean, sample.dtype)
    logvar = tf.convert_to_tensor(logvar, sample.dtype)
    loglik = 0.5 * (math.log(2 * math.pi) + logvar + tf.exp(-logvar) * (sample - mean) ** 2)
    return -tf.reduce_sum(loglik, axis=reduce_axis)


def compute_kernel(x, y):
    """Gaussian kernel between each row of `x` and each row of `y`.

    k(x_i, y_j) = exp(-mean_d((x_id - y_jd)^2) / dim), as in mmd_cvae.R. It divides by the dimension
    twice, in the mean and after it: exp(-|x_i - y_j|^2 / dim^2). The formula printed in the post,
    exp(-|x - y| / (2 sigma^2)), is a misprint.

    Of x (n, dim) and y (m, dim), of any float dtype: (n, m) tensor with values in (0, 1].
    """
    dim = x.shape[1]
    # R: k_tile blows both up to (n, m, dim) and subtracts; broadcasting does without the copies
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    return tf.exp(-tf.reduce_mean(squared, axis=2) / dim)


def inverse_multiquadratics(x, y):
    """The kernel of the WAE-MMD: wide and narrow, so that it sees the spread in any dimension.

    The mean over s in `SCALES` of C / (C + |x_i - y_j|^2) with C = 2 dim s, where 2 dim is what the
    squared distance of two draws of N(0, I) is on average (Tolstikhin et al. 2018, section 4; their
    code has the seven scales, and the sum).

    Of x (n, dim) and y (m, dim), of any float dtype: (n, m) tensor with values in (0, 1].
    """
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    relative = tf.reduce_mean(squared, axis=2) / 2
    return tf.add_n([s / (s + relative) for s in SCALES]) / len(SCALES)


def compute_mmd(x, y, kernel=compute_kernel):
    """Squared maximum mean discrepancy between two samples, the biased (V-statistic) estimate.

    mean k(x, x) + mean k(y, y) - 2 mean k(x, y), Gretton et al. (2012), equation 5. Zero for equal
    samples, never negative but for rounding. R: has a third argument, sigma_sqr, that it never
    uses.

    Of x (n, dim) and y (m, dim), of any float dtype: scalar tensor, without a unit.
    """
    x_kernel = kernel(x, x)
    y_kernel = kernel(y, y)
    xy_kernel = kernel(x, y)
    return tf.reduce_mean(x_kernel) + tf.reduce_mean(y_kernel) - 2 * tf.reduce_mean(xy_kernel)
