"""Compute models faster on a CPU: process parts of a batch in parallel, and use a faster layer."""

import itertools
import math

from common.devices.determinism import on_gpu

import numpy as np
import tensorflow as tf
from keras import layers

MOST_PARTS = 48  # With more parts, TensorFlow needs too much time to trace the graph
FEW_PARTS = 4  # for a short start, where speed matters less than in training


def in_parts(model, most=MOST_PARTS):
    """Return a function that splits a batch and computes the parts in parallel on a CPU.

    `model` must treat each row separately. It takes a tensor (n, ...) and returns a tensor (n, ...)
    or a tuple of such tensors. The results are equal within rounding. There are at most `most`
    parts. The function runs the whole batch at once on a GPU, outside a graph, and with an unknown
    number of rows.
    """

    def call(x, **kwargs):
        n = x.shape[0]
        if tf.executing_eagerly() or on_gpu() or n is None:
            return model(x, **kwargs)
        image_shape = getattr(model, "image_shape", x.shape[1:])  # Decoders have this attribute
        filters, *_ = getattr(model, "filters", (32,))
        parts = min(most, number_of_parts(n, math.prod(image_shape[:2]), filters))
        sizes = [len(range(part, n, parts)) for part in range(parts)]
        outputs = [model(part, **kwargs) for part in tf.split(x, sizes)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)

    return call


def number_of_parts(n, pixels, filters):
    """Return the number of parts for a batch of `n` images that have `pixels` pixels each.

    The largest activation of both scripts contains `filters` float32 values per pixel. A part is
    fastest if this activation fits into the caches (at most 3 MB). Multiples of four keep two or
    four cores equally busy. Two parts suffice for very small batches, because each part causes
    overhead.
    """
    megabytes = n * pixels * filters * 4 / 1e6
    return min(n, 2 if megabytes < 1.6 else 4 * math.ceil(megabytes / 12))


def slices(rows, size=1000):
    """Yield consecutive slices of an array with `size` rows each. The last slice can be shorter."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def in_batches(function, *rows):
    """Call a function on slices of arrays, and return the joined results as NumPy arrays.

    `rows` are one or more arrays with n rows each. The function maps slices of these arrays row by
    row to a tensor (n, ...) or a tuple of such tensors.
    """
    n = len(rows[0])
    if not n:  # With AVX-512, a convolution of zero images returns a wrong shape
        rows = [np.zeros((1, *one.shape[1:]), np.asarray(one).dtype) for one in rows]
    outputs = [function(*batch) for batch in zip(*map(slices, rows), strict=True)]
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts)[:n], *outputs)


def compiled(function, size=1000):
    """Return a function that runs `function` as a graph if the input has `size` rows.

    Only a graph can compute the parts of a batch in parallel. Inputs of other sizes run eagerly.
    """
    graph = tf.function(function, autograph=False)
    return lambda *rows: (graph if len(rows[0]) == size else function)(*rows)


class Conv2DTransposeToImage(layers.Conv2DTranspose):
    """A Conv2DTranspose layer that is faster on a CPU than Keras's if it has few output channels.

    The layer requires a 3 x 3 kernel, stride 1 and padding "same". Its weights are the same as in
    Keras's layer, and its results are equal within rounding.
    """

    def call(self, x):
        if on_gpu():
            return super().call(x)
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return self.activation(conv_transpose_to_image(x, kernel) + bias)


@tf.custom_gradient
def conv_transpose_to_image(x, kernel):
    """Compute tf.nn.conv2d_transpose with stride 1 and padding "SAME" for few output channels.

    With few channels, TensorFlow's operation does not use vector instructions well. This function
    is faster: one matrix product gives the contribution of each pixel to its nine neighbours. Then
    the nine shifted contributions are added. The gradients use TensorFlow's operations. x is
    (n, height, width, filters), the kernel (3, 3, channels, filters), and the result (n, height,
    width, channels).
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
