"""Train on several devices that share each batch, with the same result as on one device.

Each device has a replica of the models and encodes a part of the batch. Then all replicas get
the latent vectors of the whole batch, and compute its KL divergence and MMD. Decoded images are too
large to send, so each replica repeats its own images in place of the others. The average of the
losses over the replicas is exact, because losses are sums or means over the images.
"""

import contextlib
import functools
import json
import zlib

from common.devices.parts import in_parts
from common.devices.workers import gather_integers, meet, read_tf_config, wait_for_all_workers
from common.program.errors import UserError, reason

import tensorflow as tf

# The values of these flags may differ between workers
WORKER_FLAGS = {"data_dir", "images", "output_dir", "plot_every", "tensorboard", "fresh"}


def make_strategy(args):
    """Return the tf.distribute.Strategy for the flags and TF_CONFIG, or None if one device is used.

    Call this function before TensorFlow initializes its devices. Raises UserError if there are too
    few devices, if the batch size is not a multiple of the number of replicas, or if the workers do
    not meet or have different flags.
    """
    n, (workers, this) = args.replicas, read_tf_config()
    if n == 1 and not workers:
        return None
    if args.batch_size % (total := n * max(1, len(workers))):
        below = args.batch_size // total * total
        raise UserError(
            f"--batch-size must be a multiple of {total}, the number of replicas, but is "
            f"{args.batch_size}. Use {f'{below} or ' * bool(below)}{below + total}."
        )
    gpus = tf.config.list_physical_devices("GPU")
    if workers:
        if n > (most := max(1, len(gpus))):
            raise UserError(
                f"--replicas {n} is more than the {len(gpus)} GPUs of this worker. Use at most "
                f"{most}, and start more workers instead."
            )
        strategy = _multi_worker(n, workers, this)
        with strategy.scope():
            _refuse_different_flags(args)
        return strategy
    if not gpus:
        with contextlib.suppress(RuntimeError):  # TensorFlow may already have started
            (cpu,) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration()] * n
            tf.config.set_logical_device_configuration(cpu, parts)
    kind = "GPU" if gpus else "CPU"
    if n > (number := len(tf.config.list_logical_devices(kind))):
        raise UserError(
            f"--replicas {n} is more than the {number} devices that TensorFlow has started. Use at "
            f"most {number}, or restart Python."
        )
    return _mirrored(tuple(f"{kind}:{i}" for i in range(n)))


# The cache prevents a second strategy for the same devices, which would reuse communication keys
_mirrored = functools.cache(tf.distribute.MirroredStrategy)


@functools.cache  # A process can connect to the other workers only once
def _multi_worker(n, workers, this):
    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[:n], "GPU")
    try:
        with meet(workers, this):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tf.errors.OpError) as error:
        problem = f"TensorFlow cannot connect the workers: {reason(error)}."
        advice = "Start all workers again, each in a new process of Python."
        raise UserError(f"{problem} {advice}") from error


def _refuse_different_flags(args):
    """Raise UserError on every worker if the workers do not have the same flags."""
    ours = {name: value for name, value in vars(args).items() if name not in WORKER_FLAGS}
    if len(set(gather_integers([zlib.crc32(json.dumps(ours).encode()) // 2]))) > 1:
        wait_for_all_workers()
        raise UserError("The workers have different flags. Start all workers with the same flags.")


def on_replicas(train_step):
    """Decorate a training step so that it runs on every replica of the current strategy.

    The step runs as a tf.function. Its arguments are a batch `x` from `read_shares` and a loss
    function, and as keywords the models, the optimizer and a tf.random.Generator `rng`. It returns
    a dict of loss terms (scalar tensors). With a strategy, the terms are averaged over replicas.
    """

    @functools.lru_cache(maxsize=1)
    def bind(spec, loss_function, **state):
        """Return the step as a graph whose only argument is x, because such calls are faster."""

        def step(x):
            if not tf.distribute.has_strategy():
                return train_step(x, loss_function, **state)
            strategy, own = tf.distribute.get_strategy(), state | {"rng": _OneStream(state["rng"])}
            losses = strategy.run(train_step, (x, loss_function), own)
            stacked = strategy.run(_to_float64, ([*losses.values()],))
            means = strategy.reduce("MEAN", stacked, axis=None)
            return dict(zip(losses, tf.unstack(means), strict=True))

        function = tf.function(step, autograph=False)
        return function.get_concrete_function(spec) if spec else function

    @functools.wraps(train_step)
    def call(x, loss_function, **state):
        spec = None if tf.distribute.has_strategy() else tf.TensorSpec(x.shape, x.dtype)
        return bind(spec, loss_function, **state)(x)

    return call


def _to_float64(terms):
    return tf.stack([tf.cast(term, tf.float64) for term in terms])


def read_shares(read, batches, per_call):
    """Yield the images of each batch. `batches` contains the indices of the images (n_batches, n).

    Each call of `read` reads `per_call` batches, because fewer calls take less time. With several
    replicas, each replica gets its part of a batch, repeated to the size of the whole batch.
    """
    for first in range(0, len(batches), per_call):
        group = tf.constant(batches[first : first + per_call])
        if tf.distribute.has_strategy():
            yield from (_read_shares(read, batch) for batch in group)
        else:
            yield from read(group)


@tf.function(autograph=False)
def _read_shares(read, batch):
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    shares = tf.split(batch, replicas)
    own = strategy.experimental_distribute_values_from_function(
        lambda context: shares[context.replica_id_in_sync_group]
    )
    return strategy.run(
        lambda share: tf.tile(read(share[tf.newaxis])[0], (replicas, 1, 1, 1)), (own,)
    )


def on_devices(encoder, decoder):
    """Return functions that compute both models in parallel, on CPU cores and on replicas."""
    return _in_shares(in_parts(encoder), _gather), _in_shares(in_parts(decoder), _repeat)


def _in_shares(model, spread):
    """Return a function that computes `model` only for this replica's rows of a batch.

    The function `spread` expands the results to the size of the whole batch.
    """

    def call(x, **kwargs):
        context = tf.distribute.get_replica_context()  # The context is None outside a training step
        replicas = context.num_replicas_in_sync if context else 1
        if replicas == 1:
            return model(x, **kwargs)
        n, size = x.shape[0], -(-x.shape[0] // replicas)  # The last share can have fewer rows
        filled = tf.pad(x, [(0, size * replicas - n), *[(0, 0)] * (len(x.shape) - 1)])
        outputs = model(_own_share(filled, size), **kwargs)
        return tf.nest.map_structure(lambda share: spread(share)[:n], outputs)

    return call


def _own_share(x, size):
    first = size * tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.ensure_shape(x[first : first + size], (size, *x.shape[1:]))


@tf.custom_gradient
def _gather(share):
    """Concatenate all replicas' shares of a batch. Only this replica's share gets a gradient."""
    context, size = tf.distribute.get_replica_context(), share.shape[0]
    rows = size * context.num_replicas_in_sync
    whole = tf.ensure_shape(context.all_gather(share, axis=0), (rows, *share.shape[1:]))
    return whole, lambda gradient: _own_share(gradient, size)


@tf.custom_gradient
def _repeat(images):
    """Repeat the images of this replica (n, height, width, channels) once per replica."""
    replicas, n = tf.distribute.get_replica_context().num_replicas_in_sync, images.shape[0]
    return tf.tile(images, (replicas, 1, 1, 1)), lambda gradient: gradient[:n]


class _OneStream:
    """Give all replicas the same random numbers, which a tf.random.Generator draws only once."""

    def __init__(self, rng):
        self.normal = functools.partial(self._draw, rng.normal)
        self.uniform = functools.partial(self._draw, rng.uniform)

    def _draw(self, function, *args, **kwargs):
        context = tf.distribute.get_replica_context()
        return context.merge_call(lambda _: function(*args, **kwargs))
