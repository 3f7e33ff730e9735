"""The set-up of Keras and TensorFlow: common/devices/determinism.py."""

import contextlib

import eager_cvae
import mmd_cvae
from common.devices.determinism import set_up

import keras
import numpy as np
import pytest
import tensorflow as tf
from steps import passed_to_train_step
from support import configuration


def test_set_up_seeds_and_configures_keras_and_restores_its_configuration():
    keras.config.set_image_data_format("channels_first")
    before = configuration()
    with contextlib.suppress(ZeroDivisionError), set_up(0, "float64"):
        floatx, policy, data_format, options = configuration()
        assert (floatx, policy, data_format) == ("float64", "float64", "channels_last")
        assert options["arithmetic_optimization"] is False
        raise ZeroDivisionError
    assert configuration() == before  # the fixture float32 restores the rest
    draws = []
    for seed in (0, 0, 1):
        with set_up(seed, "float32"):
            draws.append(keras.initializers.GlorotUniform()((3, 3)).numpy())
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.isclose(draws[0], draws[2]).any()


SAME_MEMORY = ("Identity", "Reshape", "ExpandDims", "Squeeze")  # operations that copy nothing


def unordered_sums(script, flags):
    """Return the sums in the graph of a step whose order can vary from run to run.

    TensorFlow's AddN of three or more tensors starts with the first input whose memory no other
    operation will use. That is always the first input if its other users finish before the sum.
    """
    loss_function, state = passed_to_train_step(script, flags)
    x = tf.TensorSpec((100, 28, 28, 1), tf.float32)
    step = script.train_step.__wrapped__.get_concrete_function(x, loss_function, **state)
    sums = [op for op in step.graph.get_operations() if op.type == "AddN" and len(op.inputs) > 2]
    assert sums
    return [op.name for op in sums if users(op.inputs[0]) - ancestors(op) != {op}]


def users(tensor):
    """Return the operations that read the memory of a tensor."""
    while tensor.op.type in SAME_MEMORY:
        tensor = tensor.op.inputs[0]
    found = tensor.consumers()
    for op in found:
        found += op.outputs[0].consumers() if op.type in SAME_MEMORY else []
    return {op for op in found if op.type not in SAME_MEMORY}


def ancestors(op):
    """Return the operations that finish before an operation starts."""
    found, left = set(), [op]
    while left:
        new = {tensor.op for tensor in left.pop().inputs} - found
        found |= new
        left += new
    return found


@pytest.mark.parametrize(("script", "flags"), [
    (eager_cvae, ""),
    (eager_cvae, "--beta 4"),
    (eager_cvae, "--vamp-prior 50"),
    (eager_cvae, "--alpha 0 --lambda 784"),
    (eager_cvae, "--alpha 0.5 --lambda 3.5 --vamp-prior 50 --kernel imq"),
    (mmd_cvae, ""),
    (mmd_cvae, "--lambda 2 --cross-entropy"),
    (mmd_cvae, "--kernel imq"),
])  # fmt: skip
def test_no_sum_depends_on_which_operation_finishes_first(script, flags):
    assert unordered_sums(script, flags) == []
