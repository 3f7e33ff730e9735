"""The same arithmetic in forms that a processor does faster."""

import itertools

from common.data import to_float

import tensorflow as tf

# On two cores four parts beat two, for more of what they compute stays in a core's cache; beyond
# four they get too small. On up to four cores common/__init__.py gives each operation one thread
PARTS = 4


def side_by_side(model, x):
    """`model(x)`, computed on a CPU in parts of the batch.

    A core that works through a part waits less than cores that share out every operation. On a GPU,
    or with fewer than 10 rows a part or an unknown number, it is plain `model(x)`.

    Args:
        model: maps a tensor (n, ...) to a tensor (n, ...) or a tuple of them, row by row.
        x: (n, ...).

    Returns:
        What `model(x)` returns, and the same gradients, within rounding.
    """
    n = x.shape[0]
    if on_gpu() or n is None or n < 10 * PARTS:
        return model(x)
    sizes = [len(range(part, n, PARTS)) for part in range(PARTS)]
    outputs = [model(part) for part in tf.split(x, sizes)]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)


def in_batches(model, images, size=1000):
    """`model` on uint8 images (n, 28, 28, 1), as floats, with memory for `size` of them at a time.

    Returns what the model returns, a tensor (n, ...) or a tuple of them.
    """
    outputs = [
        model(to_float(images[first : first + size], model.compute_dtype))
        for first in range(0, len(images), size)
    ]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)


def to_one_channel(layer, x):
    """`layer(x)` for a keras.layers.Conv2DTranspose such as deconv3, within rounding.

    Args:
        layer: 3 x 3, stride 1, padding "same", one output channel.
        x: (n, height, width, channels).

    Returns:
        (n, height, width, 1).
    """
    kernel, bias = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.bias)
    return layer.activation(conv_transpose_to_one_channel(x, kernel) + bias)


@tf.custom_gradient
def conv_transpose_to_one_channel(x, kernel):
    """`tf.nn.conv2d_transpose` with stride 1, padding "SAME" and one output channel.

    That operation spends a vector's whole width on the one channel. Here a matrix product gives
    what each pixel contributes to its nine neighbours, and nine shifted planes are added up. The
    gradients are the usual operations', which are fast enough.

    Args:
        x: (n, height, width, channels).
        kernel: (3, 3, 1, channels), as Keras's Conv2DTranspose keeps it.

    Returns:
        (n, height, width, 1).
    """
    height, width, channels = x.shape[1:]

    def gradient(upstream):
        kernel_gradient = tf.raw_ops.Conv2DBackpropFilter(
            input=upstream,
            filter_sizes=tf.shape(kernel),
            out_backprop=x,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        return tf.nn.conv2d(upstream, kernel, 1, "SAME"), kernel_gradient

    if on_gpu():
        shape = (tf.shape(x)[0], height, width, 1)
        return tf.nn.conv2d_transpose(x, kernel, shape, 1), gradient
    pixels, taps = tf.reshape(x, (-1, channels)), tf.reshape(kernel, (9, channels))
    shares = tf.matmul(taps, pixels, transpose_b=True)  # (9, n * height * width)
    shares = tf.unstack(tf.reshape(shares, (9, tf.shape(x)[0], height, width)))
    shifted = [
        tf.pad(share, [[0, 0], [i, 2 - i], [j, 2 - j]])
        for share, (i, j) in zip(shares, itertools.product(range(3), repeat=2), strict=True)
    ]  # (n, height + 2, width + 2) each
    return tf.add_n(shifted)[:, 1:-1, 1:-1, tf.newaxis], gradient


def on_gpu():
    """Whether TensorFlow will put the models on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))
