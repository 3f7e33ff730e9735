"""What eager_cvae.py and mmd_cvae.py have in common.

Imported before Keras and TensorFlow, this package keeps their start-up quiet and picks Keras's
TensorFlow backend. A user who sets TF_CPP_MIN_LOG_LEVEL gets TensorFlow's own log instead.
"""

import os
import sys


class UserError(Exception):
    """What the person at the keyboard can mend: shown as its message alone."""

    status = 2  # to exit with


def reason(error):
    """The last line of an exception's message, without TensorFlow's trimmings."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = message.strip().splitlines()[-1]
    return line.split("}} ")[-1].split(" [Op:")[0].rstrip(". ")


def _end_quietly(kind, error, traceback):
    """Ctrl-C while a script is still importing needs no traceback."""
    if kind is KeyboardInterrupt:
        print("stopped before anything was trained", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, traceback)


if os.path.basename(sys.argv[0]) in ("eager_cvae.py", "mmd_cvae.py"):
    sys.excepthook = _end_quietly  # until common.run.run_script takes over

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says

if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # TensorFlow 2.21 logs its first lines before it looks at that level, straight to descriptor 2.
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
