"""The name of this program, and command lines that its messages suggest."""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def program_name():
    """Return the name of this program, such as eager_cvae.py or compare."""
    file = Path(sys.argv[0])
    return file.parent.name if file.name == "__main__.py" else file.name


def this_command(*more, without=None):
    """Return the command line that started this program, with words added or left out."""
    words = [word for word in sys.orig_argv[1:] if word != without]
    return command_line([sys.executable, *words, *more])


def command_line(words):
    """Return words as a command line that can be pasted into this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
