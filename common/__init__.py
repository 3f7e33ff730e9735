"""What eager_cvae.py and mmd_cvae.py have in common.

Imported before Keras and TensorFlow, this package keeps their start-up quiet and picks Keras's
TensorFlow backend. A user who sets TF_CPP_MIN_LOG_LEVEL gets TensorFlow's own log instead.
"""

import os

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


class UserError(Exception):
    """What the person at the keyboard can mend: shown as its message alone, exit status 2."""
