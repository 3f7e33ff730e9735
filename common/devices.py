"""How TensorFlow and Keras compute: seed, precision, determinism, on what, in how many parts.

Replicas of a model, one a device, train on a batch as one would. Each encodes its share and gets
all codes, so that what is of codes (KL, MMD) is that of the whole batch. Images would be much to
send: each decodes its share, and repeats it, and the batch's images, in the place of the others'.
As a loss is linear in what it has of each image, it is right on average over replicas; gradients
are those by way of the replica's own share, once, and the optimizer adds them up.
"""

import contextlib
import functools
import json
import platform
import re
import zlib
from pathlib import Path

from common.data.batches import gather_images, to_float
from common.files import UserError, reason
from common.layers import on_gpu
from common.workers import meet, read_tf_config

import keras
import numpy as np
import tensorflow as tf
from joblib import cpu_count

# On two cores four parts beat two, for more of what they compute stays in a core's cache; beyond
# four they get too small. On up to four cores common/cli.py gives each operation one thread
PARTS = 4
# Flags that may differ among workers
OF_ONE_WORKER = {"data_dir", "images", "output_dir", "plot_every", "tensorboard", "fresh"}


@contextlib.contextmanager
def set_up(seed, dtype, strategy=None):
    """Seed everything; have TensorFlow compute deterministically, and Keras as in `keras_in`.

    What is made within is a replica's if there is a `strategy`.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()  # nothing takes it back
    optimizer = tf.config.optimizer
    before = optimizer.get_experimental_options().get("arithmetic_optimization", True)
    # It makes one sum of several, and the order in which TensorFlow adds three or more can vary
    optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        with keras_in(dtype), strategy.scope() if strategy else contextlib.nullcontext():
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


def processor():
    """The processor's name, as far as the system tells it: what rounds differently has another."""
    with contextlib.suppress(OSError):
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def in_parts(model):
    """A function that returns what `model` does, with the same gradients, within rounding.

    `model` maps (n, ...) to (n, ...), or a tuple of them, row by row. In a graph on a CPU it
    computes parts of the batch: a core that works through a part waits less than cores that share
    out every operation. Elsewhere, or with fewer than 10 rows a part or an unknown number, it is
    plain `model`. Of replicas each computes its share, and its gradients are those of that share.
    """

    def call(x, **kwargs):
        n = x.shape[0]
        if tf.executing_eagerly() or on_gpu() or n is None or n < 10 * PARTS:
            return model(x, **kwargs)
        sizes = [len(range(part, n, PARTS)) for part in range(PARTS)]
        outputs = [model(part, **kwargs) for part in tf.split(x, sizes)]
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)

    return lambda x, **kwargs: _shared_out(lambda share: call(share, **kwargs), x)


# Replicas ---------------------------------------------------------------------


def make_strategy(args):
    """What distributes the training over --replicas devices, and over TF_CONFIG's workers; or None.

    Before anything else of TensorFlow's, of which it sets up the devices. Raises UserError where
    there are fewer, where they do not divide the batch, and where the workers do not meet or have
    different flags.
    """
    n, (workers, this) = args.replicas, read_tf_config()
    if n == 1 and not workers:
        return None
    if args.batch_size % (total := n * max(1, len(workers))):
        raise UserError(
            f"--batch-size {args.batch_size} does not divide by {total} replicas: give "
            f"{args.batch_size // total * total or total}."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and n > len(gpus):
        raise UserError(f"--replicas {n} is more than the GPUs here: give {len(gpus)} at most.")
    if workers:
        if n > 1 and not gpus:
            raise UserError(
                f"--replicas {n}: with TF_CONFIG and without a GPU, a worker is one replica. Start "
                "more workers."
            )
        strategy = _multi_worker(n, workers, this)
        with strategy.scope():
            _refuse_other_flags(args)
        return strategy
    if not gpus:
        _split_processor(n)
    kind = "GPU" if gpus else "CPU"
    if n > (number := len(tf.config.list_logical_devices(kind))):
        raise UserError(f"--replicas {n}: TensorFlow has begun with {number}. Start Python anew.")
    return _mirrored(*(f"{kind}:{i}" for i in range(n)))


def _split_processor(n):
    """Have TensorFlow see `n` processors, on which replicas can be tried, if it is not too late."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    with contextlib.suppress(RuntimeError):
        parts = [tf.config.LogicalDeviceConfiguration()] * n
        tf.config.set_logical_device_configuration(cpu, parts)


@functools.cache  # a second one of the same devices would number its collectives as the first
def _mirrored(*devices):
    return tf.distribute.MirroredStrategy(devices)


@functools.cache  # a process joins once
def _multi_worker(n, workers, this):
    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[:n], "GPU")
    try:
        with meet(workers, this):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        what = f"TensorFlow cannot join the workers: {reason(error)}."
        raise UserError(what) from error


def _refuse_other_flags(args):
    """Raise UserError, on all workers, if they do not have the same flags."""
    ours = {name: value for name, value in vars(args).items() if name not in OF_ONE_WORKER}
    if len(set(of_all_workers([zlib.crc32(json.dumps(ours).encode()) // 2]))) > 1:
        wait_for_all_workers()
        raise UserError("The workers have different flags: start all with the same.")


def alone():
    """Whether there are no other workers, within a strategy's scope."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return not (resolver and resolver.task_type)


def is_chief():
    """Whether this process writes what is to be written, within a strategy's scope."""
    if alone():
        return True
    resolver = tf.distribute.get_strategy().cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().jobs
    return (resolver.task_type, resolver.task_id) == ("chief" if has_chief else "worker", 0)


def of_all_workers(numbers):
    """Integers of all workers, one worker's after the other's, the chief's first, as (n,) array.

    Where there is but this process, its own.
    """
    if alone():
        return np.asarray(numbers)
    return _gathered(tf.constant(numbers, tf.int32)).numpy()


def wait_for_all_workers():
    """Before all end: return once every worker has what it had to know of the others for that.

    One that ended at once would take with it what others have not yet received of it.
    """
    with contextlib.suppress(tf.errors.OpError):  # another knew that all are here, and has ended
        of_all_workers([0])


@tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)], autograph=False)
def _gathered(numbers):
    strategy = tf.distribute.get_strategy()

    def gather():
        return tf.distribute.get_replica_context().all_gather(tf.identity(numbers), axis=0)

    return strategy.experimental_local_results(strategy.run(gather))[0]


def of_chief(data):
    """The bytes that the chief gives, on every worker."""
    length = int(of_all_workers([len(data)])[0])
    numbers = np.frombuffer(data if is_chief() else bytes(length), np.uint8)
    return of_all_workers(numbers)[:length].astype(np.uint8).tobytes()


def _shared_out(function, x):
    """`function(x)`, of which every replica computes its share."""
    context = tf.distribute.get_replica_context()  # None outside a step, as for figures
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return function(x)
    n, size = x.shape[0], -(-x.shape[0] // replicas)  # rows of a share; the last ones are filled up
    filled = tf.pad(x, [(0, size * replicas - n), *[(0, 0)] * (len(x.shape) - 1)])

    def spread(share):
        return (_repeated if len(share.shape) == 4 else _whole)(share)[:n]

    return tf.nest.map_structure(spread, function(_share(filled, size)))


def _share(x, size):
    first = size * tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.ensure_shape(x[first : first + size], (size, *x.shape[1:]))


@tf.custom_gradient
def _whole(share):
    """All replicas' shares, one after the other."""
    context, size = tf.distribute.get_replica_context(), share.shape[0]
    rows = size * context.num_replicas_in_sync
    whole = tf.ensure_shape(context.all_gather(share, axis=0), (rows, *share.shape[1:]))
    return whole, lambda gradient: _share(gradient, size)


@tf.custom_gradient
def _repeated(images):
    """A replica's own share, (n, height, width, channels), in the place of everybody's.

    Exact on average over replicas for what a loss adds up, or averages, over images.
    """
    replicas, n = tf.distribute.get_replica_context().num_replicas_in_sync, images.shape[0]
    return tf.tile(images, (replicas, 1, 1, 1)), lambda gradient: gradient[:n]


class _OneStream:
    """A tf.random.Generator that every replica has the same draws of.

    They are drawn once, outside the replicas, where its state is.
    """

    def __init__(self, rng):
        for name in ("normal", "uniform"):
            setattr(self, name, functools.partial(self._draw, getattr(rng, name)))

    def _draw(self, function, *args, **kwargs):
        context = tf.distribute.get_replica_context()
        return context.merge_call(lambda _: function(*args, **kwargs))


# In calls ---------------------------------------------------------------------


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
            that returns the terms of the loss, (terms,) float64.
        first, last: () int32 tensors.
        totals: (terms,) float64.
        images: uint8 (n, height, width, channels).
        batches: (number of batches, batch_size), indices into the images.

    Returns:
        `totals` and these batches' terms, added up.
    """

    def read(rows):
        return to_float(gather_images(images, rows), keras.config.floatx())

    def step(totals, batch):
        if tf.distribute.has_strategy():
            return totals + _on_replicas(train_step, read, batches[batch], *state)
        return totals + train_step(read(batches[batch]), *state)

    return tf.foldl(step, tf.range(first, last), totals, parallel_iterations=1)


def _on_replicas(train_step, read, batch, *state):
    """What `train_step` returns of a batch's indices, on average over replicas."""
    strategy = tf.distribute.get_strategy()
    shares = tf.split(batch, strategy.num_replicas_in_sync)
    own = strategy.experimental_distribute_values_from_function(
        lambda context: shares[context.replica_id_in_sync_group]
    )

    def step(share):
        streams = [
            _OneStream(one) if isinstance(one, tf.random.Generator) else one for one in state
        ]
        return train_step.python_function(_repeated(read(share)), *streams)

    return strategy.reduce("MEAN", strategy.run(step, (own,)), axis=None)
