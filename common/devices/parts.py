"""Faster computation on a CPU: the batch in parts, and a matrix product for the last layer."""

import itertools

from common.devices.determinism import on_gpu

import numpy as np
import tensorflow as tf
from keras import layers

# On two cores, four parts are faster than two, because more of a part fits into a core's cache.
# More parts are too small. On up to four cores, each operation gets one thread (program/startup.py)
PARTS = 4


def in_parts(model):
    """Return a function that computes `model` in parts of the batch on a CPU.

    `model` maps a tensor (n, ...) row by row to a tensor (n, ...) or a tuple of such tensors. The
    function gives the same values and gradients within rounding. A core that works through one part
    waits less than cores that share every operation. On a GPU, outside a graph, with fewer than 10
    rows per part, or with an unknown number of rows, the function is the plain model.
    """

    def call(x, **kwargs):
        n = x.shape[0]
        if tf.executing_eagerly() or on_gpu() or n is None or n < 10 * PARTS:
            return model(x, **kwargs)
        sizes = [len(range(part, n, PARTS)) for part in range(PARTS)]
        outputs = [model(part, **kwargs) for part in tf.split(x, sizes)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)

    return call


def slices(rows, size=1000):
    """Yield consecutive slices of an array, with `size` rows each and a shorter last one."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def in_batches(function, *rows, size=1000):
    """Return what a function gives for all rows, computed `size` rows at a time, as NumPy arrays.

    `rows` are one or more arrays with n rows. The function maps slices of them row by row to a
    tensor (n, ...) or a tuple of such tensors.
    """
    if not len(rows[0]):  # with AVX-512, TensorFlow's convolution of no images has a wrong shape
        empty = map(np.asarray, rows)
        outputs = function(*(np.zeros((1, *one.shape[1:]), one.dtype) for one in empty))
        return tf.nest.map_structure(lambda output: np.asarray(output)[:0], outputs)
    outputs = [function(*batch) for batch in zip(*(slices(one, size) for one in rows), strict=True)]
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *outputs)


def compiled(function, size=1000):
    """Return `function`, which runs in a graph for `size` rows and eagerly for other numbers.

    Only a graph can compute the parts of `in_parts` side by side.
    """
    graph = tf.function(function, autograph=False)
    return lambda *rows: (graph if len(rows[0]) == size else function)(*rows)


class Conv2DTransposeToImage(layers.Conv2DTranspose):
    """keras.layers.Conv2DTranspose, faster on a CPU for few channels, with the same weights.

    It requires a 3 x 3 kernel, stride 1 and padding "same". Its results are equal within rounding.
    """

    def call(self, x):
        """Map a tensor (n, height, width, channels) to a tensor (n, height, width, filters)."""
        if on_gpu():
            return super().call(x)
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return self.activation(conv_transpose_to_image(x, kernel) + bias)


@tf.custom_gradient
def conv_transpose_to_image(x, kernel):
    """Return `tf.nn.conv2d_transpose` with stride 1 and padding "SAME", for few output channels.

    TensorFlow's operation uses a small part of each vector instruction here. Instead, one matrix
    product gives the contribution of each pixel to its nine neighbours, and the nine shifted
    contributions are added. The gradients use TensorFlow's operations, which are fast enough.

    x is (n, height, width, filters), the kernel (3, 3, channels, filters) as in Keras's
    Conv2DTranspose, and the result (n, height, width, channels).
    """
    height, width, filters = x.shape[1:]
    channels = kernel.shape[2]

    def gradient(upstream):
        kernel_gradient = tf.raw_ops.Conv2DBackpropFilter(
            input=upstream, filter_sizes=tf.shape(kernel), out_backprop=x, strides=[1, 1, 1, 1],
            padding="SAME",
        )  # fmt: skip
        return tf.nn.conv2d(upstream, kernel, 1, "SAME"), kernel_gradient

    pixels, taps = tf.reshape(x, (-1, filters)), tf.reshape(kernel, (9 * channels, filters))
    shares = tf.matmul(taps, pixels, transpose_b=True)  # (9 * channels, n * height * width)
    shares = tf.unstack(tf.reshape(shares, (9, channels, tf.shape(x)[0], height, width)))
    shifted = [
        tf.pad(share, [[0, 0], [0, 0], [i, 2 - i], [j, 2 - j]])
        for share, (i, j) in zip(shares, itertools.product(range(3), repeat=2), strict=True)
    ]  # (channels, n, height + 2, width + 2) each
    return tf.transpose(tf.add_n(shifted)[:, :, 1:-1, 1:-1], (1, 2, 3, 0)), gradient
