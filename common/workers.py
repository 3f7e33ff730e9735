"""Several machines: what TF_CONFIG says of them, and their meeting before TensorFlow's."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

from common.files import UserError

WAIT = 60  # seconds, for all workers
SUCH_AS = {
    "cluster": {"worker": ["HOST:PORT", "OTHER:PORT"]},
    "task": {"type": "worker", "index": 0},
}

WATCHDOG = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that process, which closes this one
pid, wait, said = sys.argv[1:]
def end():
    print(said, file=sys.stderr, flush=True)
    os.kill(int(pid), getattr(signal, "SIGKILL", signal.SIGTERM))
    os._exit(0)
threading.Timer(float(wait), end).start()
sys.stdin.read()  # until that process closes it, or ends
os._exit(0)
"""


def read_tf_config():
    """All workers that the environment's TF_CONFIG names, HOST:PORT, the chief first; and this one.

    Nothing, and None, without that. Raises UserError where it is not what TensorFlow wants.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        os.environ.pop("TF_CONFIG", None)  # TensorFlow would try to read it
        return (), None
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], task["index"]
        if not {"worker"} <= set(cluster) <= {"chief", "worker"}:
            raise ValueError("a cluster is of workers, and a chief if you like")
        if not all(isinstance(each, list) for each in cluster.values()):
            raise ValueError("addresses come in a list")
        if len(cluster.get("chief", ["one"])) != 1:
            raise ValueError("there is one chief, or none is mentioned")
        workers = (*cluster.get("chief", []), *cluster["worker"])
        for worker in workers:
            if not re.fullmatch(r"[\w.-]{1,255}:[0-9]{1,5}", worker, re.ASCII):
                raise ValueError(f"{worker!r} is not HOST:PORT")
            if not 0 < _place(worker)[1] < 2**16:
                raise ValueError(f"{worker!r} has no port from 1 to 65535")
        if len(set(workers)) < len(workers):
            raise ValueError("two workers have one address")
        if type(index) is not int or not 0 <= index < len(cluster.get(kind, [])):
            raise ValueError(f"there is no {kind} with the number {index!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(
            f"TF_CONFIG is not what TensorFlow wants: {what}.\nSuch as {json.dumps(SUCH_AS)}"
        ) from None
    return workers, cluster[kind][index]


@contextlib.contextmanager
def meet(workers, this):
    """Wait until all have come; TensorFlow may join them within the block.

    By itself it would wait for ever, deaf to signals: Python waits for it, too. So it is done here,
    and if another worker ends just when TensorFlow joins them, a process of its own ends this one.
    Raises UserError if a worker does not come, or if the address of `this` is taken.
    """
    try:
        here = socket.create_server(("", _place(this)[1]))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG has this worker at {this}, which cannot be listened at: {error.strerror}."
        ) from error
    missing, end = set(workers) - {this}, time.monotonic() + WAIT
    if missing:
        print(f"Waiting for {', '.join(sorted(missing))}.", flush=True)
    with here:
        while missing:
            for worker in list(missing):
                with contextlib.suppress(OSError, UnicodeError):
                    socket.create_connection(_place(worker), timeout=1).close()
                    missing.remove(worker)
            if time.monotonic() > end:
                raise UserError(
                    f"Of TF_CONFIG's workers {', '.join(sorted(missing))} did not come within "
                    f"{WAIT} seconds. Start all, with the same flags."
                )
            time.sleep(0.1)
    said = f"error: The workers came, and within {WAIT} seconds TensorFlow could not join them."
    words = [sys.executable, "-c", WATCHDOG, str(os.getpid()), str(WAIT), said]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as watchdog:
        try:
            yield
        finally:
            watchdog.stdin.close()


def _place(worker):
    host, _, port = worker.rpartition(":")
    return host, int(port)
