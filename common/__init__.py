"""What eager_cvae.py and mmd_cvae.py have in common.

Imported before Keras and TensorFlow, this package keeps their start-up quiet and picks Keras's
TensorFlow backend. A user who sets TF_CPP_MIN_LOG_LEVEL gets TensorFlow's own log instead.
"""

import os
import signal
import sys


class UserError(Exception):
    """What the person at the keyboard can mend: shown as its message alone."""

    status = 2  # to exit with


def reason(error):
    """The last line of an exception's message, without TensorFlow's trimmings."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = message.strip().splitlines()[-1]
    return line.split("}} ")[-1].split(" [Op:")[0].rstrip(". ")


def _stop_importing(number, _):
    """A signal while a script is still importing: there is nothing to go on with."""
    os.write(_stderr, b"Stopped before anything was done.\n")
    os._exit(128 + number)


if sys.stdout is None or sys.stderr is None:  # closed by whoever started us
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")

_stderr = os.dup(2)  # which moves, below
programs = {"eager_cvae.py", "mmd_cvae.py", "common.compare", "common.animate"}
if programs & {os.path.basename(sys.argv[0]), *sys.orig_argv}:  # the latter where python -m runs
    for number in (signal.SIGINT, signal.SIGTERM):  # until common.run.run_script takes over
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop_importing)

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says

# Up to four cores are kept busy by common/fast.py with one thread an operation. More are
# TensorFlow's to use as it does by default: all of them for each operation
affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
if len(affinity(0)) <= 4:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # TensorFlow 2.21 logs its first lines before it looks at that level, straight to descriptor 2.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(_stderr, 2)
        os.close(null)
