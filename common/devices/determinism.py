"""Make the results of TensorFlow repeatable, and return the names of the GPU and the CPU."""

import contextlib
import platform
import re
from pathlib import Path

import keras
import tensorflow as tf
from joblib import cpu_count


@contextlib.contextmanager
def set_up(seed, dtype, strategy=None):
    """Set all random seeds, make TensorFlow deterministic, and set Keras to `dtype` in the block.

    If `strategy` is given, the block runs in the scope of this tf.distribute.Strategy.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()  # TensorFlow cannot disable this later
    optimizer = tf.config.optimizer
    before = optimizer.get_experimental_options().get("arithmetic_optimization", True)
    # This optimization merges several sums into one sum, which can change the order of addition
    optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        with keras_in(dtype), strategy.scope() if strategy else contextlib.nullcontext():
            yield
    finally:
        optimizer.set_experimental_options({"arithmetic_optimization": before})


@contextlib.contextmanager
def keras_in(dtype):
    """Set Keras to `dtype` and channels-last images in a `with` block. Restore both afterwards."""
    config = keras.config
    before = config.floatx(), config.dtype_policy(), config.image_data_format()
    setters = config.set_floatx, config.set_dtype_policy, config.set_image_data_format
    try:
        for setter, value in zip(setters, (dtype, dtype, "channels_last"), strict=True):
            setter(value)
        yield
    finally:
        for setter, value in zip(setters, before, strict=True):
            setter(value)


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
    """Return the name of the processor. Different processors can give different results."""
    with contextlib.suppress(OSError):
        info = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()
