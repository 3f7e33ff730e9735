"""Start and end a program: import packages, print error messages, and set the exit status."""

import contextlib
import faulthandler
import importlib
import os
import re
import sys
import warnings
from pathlib import Path

from common.program import signals
from common.program.errors import UserError, reason
from common.program.flags import program_name, this_command

PACKAGES = ("matplotlib", "tensorflow", "keras", "tensorflow_datasets", "sklearn", "joblib")
PACKAGES += ("filelock", "tqdm")


def start(get_args):
    """Start a program: handle --help and invalid flags, then import TensorFlow without its log.

    Programs call `start` before their own imports, because imports take several seconds. `get_args`
    parses the command line. The user's own settings for warnings, Keras and matplotlib
    have no effect.
    """
    signals.begin_program()
    try:
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # Streams in notebooks lack this method
                stream.reconfigure(errors="backslashreplace")  # for terminals that lack "±"
        warnings.simplefilter("ignore")  # Users cannot fix the causes of warnings in libraries
        _exit_with(*_outcome(get_args))
        _exit_with(_import_packages(), 2)
    except BaseException:  # also SystemExit after --help
        signals.end_program()
        raise


def run_script(main):
    """Call `main()`. If an error or a signal stops `main`, print a message and raise SystemExit."""
    signals.begin_program()
    try:
        _exit_with(*_outcome(main))
    finally:
        signals.end_program()


def again(*more):
    """Return the command that continues this run: the current command without --fresh."""
    return this_command(*more, without="--fresh") if signals.in_program() else "the same call"


def _import_packages():
    """Import PACKAGES. Return an error message if a package cannot be imported, else None."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT"):
        if not (value := os.environ.get(name)):
            os.environ.pop(name, None)
        elif not re.fullmatch("[0-9]{1,3}", value):  # Other values abort TensorFlow
            return f"error: {name} is {value!r}. Set it to a number of threads, or unset it."
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.environ["KERAS_HOME"] = os.devnull
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # lets programs share a GPU
    signals.stderr = os.dup(2)
    faulthandler.enable(signals.stderr)
    with contextlib.ExitStack() as stack:
        stack.callback(os.dup2, signals.stderr, 2)
        # TensorFlow prints some lines before it reads the variable TF_CPP_MIN_LOG_LEVEL
        if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
            os.dup2(stack.enter_context(open(os.devnull, "w")).fileno(), 2)
        if os.path.exists("matplotlibrc"):  # matplotlib would read this file
            stack.enter_context(contextlib.chdir(Path(os.__file__).parent))
        try:
            for name in PACKAGES:
                importlib.import_module(name)
        except Exception as error:  # Broken packages raise many kinds of exceptions
            advice = "Activate the environment in which you ran `pip install -r requirements.txt`."
            return f"error: The package {name} cannot be imported: {reason(error)}. {advice}"
    # devices/parts.py keeps up to 4 cores busy. In a container, joblib counts only available cores
    if importlib.import_module("joblib").cpu_count() <= 4:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    return None


def _outcome(function):
    """Call a function. Return an error message or None, and the exit status of the program."""
    try:
        function()
        sys.stdout.flush()
        return None, 0
    except signals.Interrupted as stop:
        return _notes(stop, "Stopped."), 128 + stop.args[0]
    except BrokenPipeError:  # The program that reads the output, such as head, has ended
        return f"The output is no longer read. To continue:\n{again()}", 1
    except UserError as error:
        return f"error: {error}", error.status
    except OSError as error:
        place = error.filename or "standard output"
        advice = _notes(error, "Fix this, or choose another place.")
        return f"error: {place}: {error.strerror or error}. {advice}", 2
    except Exception as error:
        if "Collective ops" in str(error):
            lost = "error: Workers have lost contact: one has ended, or trains on other images."
            return f"{lost} {_notes(error, 'See the output of the other workers.')}", 1
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        advice = "Close other programs, or use a smaller --batch-size and another --output-dir."
        return f"error: There is not enough memory. {advice}\n{_notes(error, '')}".strip(), 2


def _notes(error, otherwise):
    return "\n".join(getattr(error, "__notes__", [otherwise]))


def _exit_with(message, status):
    """Print the message and exit with the status. If there is no message, do nothing.

    Closed streams and full disks do not prevent the exit.
    """
    if not message:
        return
    with contextlib.suppress(OSError, ValueError):
        print(f"{program_name()}: {message}", file=sys.stderr)
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except (OSError, ValueError):  # Python would report the error again at exit
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def _open_closed_streams():
    """Connect stdin, stdout and stderr to the null device if the parent process has closed them."""
    if sys.stdout is None or sys.stderr is None:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
        sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")
