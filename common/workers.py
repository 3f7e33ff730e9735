"""Several machines: what TF_CONFIG says of them, and their meeting before TensorFlow's."""

import contextlib
import faulthandler
import json
import os
import re
import socket
import time

from common.files import UserError

WAIT = 120  # seconds, for all workers
SUCH_AS = {
    "cluster": {"worker": ["HOST:PORT", "OTHER:PORT"]},
    "task": {"type": "worker", "index": 0},
}


def read_tf_config():
    """All workers that the environment's TF_CONFIG names, HOST:PORT, the chief first; and this one.

    ([], None) without that. Raises UserError where it is not what TensorFlow wants.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return [], None
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], task["index"]
        if not {"worker"} <= set(cluster) <= {"chief", "worker"}:
            raise ValueError("a cluster is of workers, and a chief if you like")
        workers = [*cluster.get("chief", []), *cluster["worker"]]
        for worker in workers:
            if not re.fullmatch(r"[^:]+:[0-9]{1,5}", worker):
                raise ValueError(f"{worker!r} is not HOST:PORT")
        if len(set(workers)) < len(workers):
            raise ValueError("two workers have one address")
        if type(index) is not int or not 0 <= index < len(cluster.get(kind, [])):
            raise ValueError(f"there is no {kind} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(
            f"TF_CONFIG is not what TensorFlow wants: {what}.\nSuch as {json.dumps(SUCH_AS)}"
        ) from None
    return workers, cluster[kind][index]


@contextlib.contextmanager
def meet(workers, this):
    """Wait until all have come; within, they may be brought together by TensorFlow.

    That would wait for ever, and not let a signal through. Should another worker end just then,
    this process ends, too, after a while. Raises UserError if one does not come, or if the address
    of `this` is taken.
    """
    try:
        here = socket.create_server(("", _place(this)[1]))
    except OSError as error:
        raise UserError(
            f"TF_CONFIG has this worker at {this}, where it cannot be: {error.strerror}."
        ) from error
    missing, end = set(workers) - {this}, time.monotonic() + WAIT
    with here:
        while missing:
            for worker in list(missing):
                with contextlib.suppress(OSError):
                    socket.create_connection(_place(worker), timeout=1).close()
                    missing.remove(worker)
            if time.monotonic() > end:
                raise UserError(
                    f"Of TF_CONFIG's workers {', '.join(sorted(missing))} did not come within "
                    f"{WAIT} seconds. Start all, with the same flags."
                )
            time.sleep(0.1)
    with open(os.devnull, "w") as null:
        faulthandler.dump_traceback_later(WAIT, exit=True, file=null)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _place(worker):
    host, _, port = worker.rpartition(":")
    return host, int(port)
