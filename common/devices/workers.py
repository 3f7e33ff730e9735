"""Connect the machines (workers) that TF_CONFIG lists, and exchange data between them."""

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

WAIT = 60  # Workers wait this many seconds for each other
WORKERS, OTHERS = ("chief", "worker"), ("ps", "evaluator")  # jobs of TensorFlow
EXAMPLE = dict(cluster=dict(worker=["HOST:PORT", "OTHER:PORT"]), task=dict(type="worker", index=0))
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


def read_tf_config():
    """Read TF_CONFIG, and return the addresses HOST:PORT of all workers and of this process.

    The chief worker's address comes first. Without TF_CONFIG, or if its cluster has no other
    worker, return an empty tuple and None. Raises UserError if TF_CONFIG is invalid.
    """
    if not os.environ.get("TF_CONFIG", "").strip():
        os.environ.pop("TF_CONFIG", None)  # TensorFlow cannot parse an empty TF_CONFIG
        return (), None
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster, task = resolver.cluster_spec().as_dict(), (resolver.task_type, resolver.task_id)
        workers = _workers(cluster, task)
        if len(workers) < 2:  # A single worker needs no addresses
            return (), None
        if len(set(map(_split, workers.values()))) < len(workers):
            raise ValueError("each worker must have its own address")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        problem = f"TF_CONFIG is invalid: {reason(error)}."
        raise UserError(f"{problem}\nExample: {json.dumps(EXAMPLE)}") from None
    # TensorFlow also reads TF_CONFIG, and would wait for parameter servers if it listed any
    cluster = {job: tasks for job, tasks in cluster.items() if tasks and job in WORKERS}
    config = json.loads(os.environ["TF_CONFIG"]) | {"cluster": cluster}
    os.environ["TF_CONFIG"] = json.dumps(config)
    return tuple(workers.values()), workers[task]


def _workers(cluster, task):
    """Return a dict that maps each training task (job, index) to its address, the chief first.

    Raises ValueError if TensorFlow cannot train with this cluster. Raises UserError if the task of
    this process does not train.
    """
    workers = {}
    for job in WORKERS:
        tasks = cluster.get(job) or []
        if not isinstance(tasks, list):  # TensorFlow leaves out missing tasks
            raise ValueError(f"the indices of the job {job!r} must be 0, 1, 2 and so on")
        workers |= {(job, index): address for index, address in enumerate(tasks)}
    if task[0] in OTHERS and cluster:
        raise UserError(
            f"The task of this process in TF_CONFIG is {task[0]!r}, but only the tasks 'chief' and "
            "'worker' train. Start the script only for these two tasks."
        )
    if others := cluster.keys() - {*WORKERS, *OTHERS}:
        raise ValueError(f"the job {min(others)!r} is unknown")
    if ("chief", 1) in workers:
        raise ValueError("the cluster has more than one chief")
    alone = task == (None, None) and len(workers) == sum(map(len, cluster.values())) == 1
    if cluster and task not in workers and not alone:
        raise ValueError("the task is not in the cluster")
    return workers


@contextlib.contextmanager
def meet(workers, this):
    """Wait until all workers are reachable. Then TensorFlow can connect them in the `with` block.

    Without this wait, TensorFlow could hang forever and ignore signals. If another worker ends
    while TensorFlow connects, a separate process ends this one after `WAIT` seconds. Raises
    UserError if a worker does not start in time, or if the address of this worker is in use.
    """
    host, port = _split(this)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        here = socket.create_server(("", port), family=family)
    except OSError as error:
        raise UserError(
            f"This worker cannot listen at its address in TF_CONFIG, {this}: {error.strerror}. "
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
    message = f"error: TensorFlow did not connect the workers in {WAIT} seconds. Start them again."
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
    return host.strip("[]"), int(port)  # IPv6 addresses are enclosed in brackets


def is_alone():
    """Return whether this process is the only worker of the current strategy."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return not (resolver and resolver.task_type)


def is_chief():
    """Return whether this process is the worker that writes the files of the run."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def gather_integers(numbers):
    """Collect integers from all workers in an array (n,). The chief's integers come first."""
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
    """Wait until all workers have received the data that this worker has sent.

    If this worker ended earlier, the data would be lost.
    """
    with contextlib.suppress(tf.errors.OpError):  # Another worker may already have ended
        gather_integers([0])


def bytes_of_chief(data):
    """Send the chief's bytes `data` to all workers and return them. All workers must call this."""
    length = int(gather_integers([len(data)])[0])
    numbers = np.frombuffer(data if is_chief() else bytes(length), np.uint8)
    return gather_integers(numbers)[:length].astype(np.uint8).tobytes()
