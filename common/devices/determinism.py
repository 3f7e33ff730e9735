"""Seed, precision and deterministic operations, and the names of the devices."""

import contextlib
import platform
import re
from pathlib import Path

import keras
import tensorflow as tf
from joblib import cpu_count


@contextlib.contextmanager
def set_up(seed, dtype, strategy=None):
    """Set all seeds, make TensorFlow deterministic, and set Keras's precision as `keras_in`.

    If there is a `strategy`, the block runs in its scope.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()  # TensorFlow has no function that disables it
    optimizer = tf.config.optimizer
    before = optimizer.get_experimental_options().get("arithmetic_optimization", True)
    # This optimization joins several sums into one, and the order of summation can then vary
    optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        with keras_in(dtype), strategy.scope() if strategy else contextlib.nullcontext():
            yield
    finally:
        optimizer.set_experimental_options({"arithmetic_optimization": before})


@contextlib.contextmanager
def keras_in(dtype):
    """Make Keras create models and optimizers with `dtype` and channels last. Then restore it."""
    config = keras.config
    before = config.floatx(), config.dtype_policy(), config.image_data_format()

    def configure(floatx, policy, data_format):
        config.set_floatx(floatx)  # for optimizers
        config.set_dtype_policy(policy)  # for models
        config.set_image_data_format(data_format)

    configure(dtype, dtype, "channels_last")
    try:
        yield
    finally:
        configure(*before)


def device_name():
    """Return the names of the GPUs that TensorFlow uses, or a description of the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    cpu = f"CPU ({platform.machine()}, {cpu_count()} cores)"
    return ", ".join(gpu.get("device_name", "GPU") for gpu in details) or cpu


def on_gpu():
    """Return whether TensorFlow will place the models on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def processor_name():
    """Return the name of the processor. Processors with different names can round differently."""
    with contextlib.suppress(OSError):
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
        if found:
            return found[1]
    return platform.processor() or platform.machine()
