"""Several machines (workers): the environment variable TF_CONFIG, and exchange between workers."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

from common.program.errors import UserError, reason

import numpy as np
import tensorflow as tf

WAIT = 60  # seconds that workers wait for each other
EXAMPLE = {
    "cluster": {"worker": ["HOST:PORT", "OTHER:PORT"]},
    "task": {"type": "worker", "index": 0},
}

WATCHDOG = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker handles Ctrl-C and ends this process
pid, wait, message = sys.argv[1:]
def end():
    print(message, file=sys.stderr, flush=True)
    os.kill(int(pid), getattr(signal, "SIGKILL", signal.SIGTERM))
    os._exit(0)
threading.Timer(float(wait), end).start()
sys.stdin.read()  # returns when the worker closes it or ends
os._exit(0)
"""


# Before TensorFlow connects the workers ---------------------------------------


def read_tf_config():
    """Return the workers in the environment variable TF_CONFIG, and which of them this process is.

    Returns:
        A tuple of all addresses HOST:PORT with the chief first, and the address of this process.
        Without TF_CONFIG, an empty tuple and None.

    Raises:
        UserError: TF_CONFIG is invalid.
    """
    if not os.environ.get("TF_CONFIG", "").strip():
        os.environ.pop("TF_CONFIG", None)  # TensorFlow would try to parse it
        return (), None
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict()
        this = cluster[resolver.task_type][resolver.task_id]
        workers = (*cluster.get("chief", []), *cluster.get("worker", []))
        if this not in workers:
            raise ValueError("the task must be a chief or a worker")
        if len(set(map(_split, workers))) < len(workers):
            raise ValueError("each worker must have its own address")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        missing = isinstance(error, LookupError)
        what = "the cluster does not contain the task" if missing else reason(error)
        raise UserError(f"TF_CONFIG is invalid: {what}.\nExample: {json.dumps(EXAMPLE)}") from None
    return workers, this


@contextlib.contextmanager
def meet(workers, this):
    """Wait until all workers are reachable. TensorFlow can connect them within the block.

    TensorFlow alone would wait for ever and ignore signals, so Python waits first. If another
    worker ends while TensorFlow connects, a separate process ends this one after `WAIT` seconds.

    Raises:
        UserError: a worker does not come in time, or the address of this worker is in use.
    """
    try:
        here = socket.create_server(("", _split(this)[1]))
    except OSError as error:
        raise UserError(
            f"This worker cannot listen at {this}, its address in TF_CONFIG: {error.strerror}. "
            "Choose another port."
        ) from error
    missing, end = set(workers) - {this}, time.monotonic() + WAIT
    if missing:
        print(f"Waiting for {', '.join(sorted(missing))}.", flush=True)
    with here:
        while missing:
            for worker in list(missing):
                with contextlib.suppress(OSError, UnicodeError):
                    socket.create_connection(_split(worker), timeout=1).close()
                    missing.remove(worker)
            if missing and time.monotonic() > end:
                raise UserError(
                    f"Workers in TF_CONFIG did not start within {WAIT} seconds: "
                    f"{', '.join(sorted(missing))}. Start all workers with the same flags."
                )
            time.sleep(0.1)
    message = f"error: TensorFlow could not connect the workers within {WAIT} seconds."
    words = [sys.executable, "-c", WATCHDOG, str(os.getpid()), str(WAIT), message]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as watchdog:
        try:
            yield
        finally:
            watchdog.stdin.close()


def _split(worker):
    host, _, port = worker.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"{worker!r} is not HOST:PORT")
    return host, int(port)


# Within the scope of a strategy -----------------------------------------------


def is_alone():
    """Return whether this process is the only worker."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return not (resolver and resolver.task_type)


def is_chief():
    """Return whether this process writes the files of the run."""
    if is_alone():
        return True
    resolver = tf.distribute.get_strategy().cluster_resolver
    has_chief = "chief" in resolver.cluster_spec().jobs
    return (resolver.task_type, resolver.task_id) == ("chief" if has_chief else "worker", 0)


def gather_integers(numbers):
    """Return the integers of all workers as an array (n,), those of the chief first."""
    if is_alone():
        return np.asarray(numbers)
    return _gather(tf.constant(numbers, tf.int32)).numpy()


@tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)], autograph=False)
def _gather(numbers):
    strategy = tf.distribute.get_strategy()

    def gather():
        return tf.distribute.get_replica_context().all_gather(tf.identity(numbers), axis=0)

    return strategy.experimental_local_results(strategy.run(gather))[0]


def wait_for_all_workers():
    """Return when every worker has received everything that the other workers have sent.

    A worker that ended earlier would take with it what others have not yet received.
    """
    with contextlib.suppress(tf.errors.OpError):  # another worker has already ended
        gather_integers([0])


def bytes_of_chief(data):
    """Return, on every worker, the bytes that the chief passes as `data`."""
    length = int(gather_integers([len(data)])[0])
    numbers = np.frombuffer(data if is_chief() else bytes(length), np.uint8)
    return gather_integers(numbers)[:length].astype(np.uint8).tobytes()
