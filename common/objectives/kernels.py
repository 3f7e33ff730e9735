"""Kernels of the MMD other than the original's, which is in common/losses.py."""

import tensorflow as tf

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def inverse_multiquadratics(x, y):
    """Return a kernel that sees how codes spread in any number of dimensions.

    The kernel is the mean over s in `SCALES` of C / (C + |x_i - y_j|^2) with C = 2 dim s. The
    expected squared distance of two draws from N(0, I) is 2 dim. Source: Tolstikhin et al. (2018),
    section 4. Their published code uses these seven scales, and the sum instead of the mean.

    Args:
        x: tensor (n, dim) of any float dtype.
        y: tensor (m, dim) of the same dtype.

    Returns:
        A tensor (n, m) with values in (0, 1].
    """
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    relative = tf.reduce_mean(squared, axis=2) / 2  # (n, m)
    return tf.add_n([s / (s + relative) for s in SCALES]) / len(SCALES)
