"""How TensorFlow and Keras compute: seed, precision, determinism, and on what in how many parts."""

import contextlib
import platform

from common.data.batches import gather_images, to_float
from common.layers import on_gpu

import keras
import numpy as np
import tensorflow as tf
from joblib import cpu_count

# On two cores four parts beat two, for more of what they compute stays in a core's cache; beyond
# four they get too small. On up to four cores common/cli.py gives each operation one thread
PARTS = 4


@contextlib.contextmanager
def set_up(seed, dtype):
    """Seed everything; have TensorFlow compute deterministically, and Keras as in `keras_in`."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()  # nothing takes it back
    optimizer = tf.config.optimizer
    before = optimizer.get_experimental_options().get("arithmetic_optimization", True)
    # It makes one sum of several, and the order in which TensorFlow adds three or more can vary
    optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        with keras_in(dtype):
            yield
    finally:
        optimizer.set_experimental_options({"arithmetic_optimization": before})


@contextlib.contextmanager
def keras_in(dtype):
    """Have Keras make models and optimizers of `dtype`, channels last; then be as it was."""
    config = keras.config
    before = config.floatx(), config.dtype_policy(), config.image_data_format()

    def configure(floatx, policy, data_format):
        config.set_floatx(floatx)  # of optimizers
        config.set_dtype_policy(policy)  # of models
        config.set_image_data_format(data_format)

    configure(dtype, dtype, "channels_last")
    try:
        yield
    finally:
        configure(*before)


def name():
    """What TensorFlow computes on, in words."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    cpu = f"CPU ({platform.machine()}, {cpu_count()} cores)"
    return ", ".join(gpu.get("device_name", "GPU") for gpu in details) or cpu


def in_parts(model):
    """A function that returns what `model` does, with the same gradients, within rounding.

    In a graph on a CPU it computes parts of the batch: a core that works through a part waits less
    than cores that share out every operation. Elsewhere, or with fewer than 10 rows a part or an
    unknown number, it is plain `model`, which maps (n, ...) to (n, ...), or a tuple of them, row by
    row.
    """

    def call(x, **kwargs):
        n = x.shape[0]
        if tf.executing_eagerly() or on_gpu() or n is None or n < 10 * PARTS:
            return model(x, **kwargs)
        sizes = [len(range(part, n, PARTS)) for part in range(PARTS)]
        outputs = [model(part, **kwargs) for part in tf.split(x, sizes)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)

    return call


def in_batches(function, *rows, size=1000):
    """What `function` returns of rows (n, ...), as NumPy arrays; `size` of them at a time.

    It maps slices of `rows` to a tensor (n, ...) or a tuple of them, row by row.
    """
    outputs = [
        function(*(one[first : first + size] for one in rows))
        for first in range(0, max(1, len(rows[0])), size)
    ]
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *outputs)


@tf.function(autograph=False)  # nothing to convert; starts half a second sooner
def train_steps(train_step, first, last, totals, images, batches, *state):
    """`train_step` on the batches from `first` to before `last`, without a return to Python.

    Args:
        train_step: function of images (batch_size, height, width, channels) as floats and `state`
            that returns the terms of the loss, (terms,) float64; they are added to `totals`.
        first, last: () int32 tensors, into `batches` (number of batches, batch_size), which are
            indices into the `images`, uint8 (n, height, width, channels).
    """

    def step(totals, batch):
        x = to_float(gather_images(images, batches[batch]), keras.config.floatx())
        return totals + train_step(x, *state)

    return tf.foldl(step, tf.range(first, last), totals, parallel_iterations=1)
