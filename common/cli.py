"""What a program does at its edges: flags, signals, errors in a line; no TensorFlow before that."""

import argparse
import atexit
import contextlib
import difflib
import faulthandler
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

from common.files import UserError, reason

# Flags ------------------------------------------------------------------------

OF_ONE_SCRIPT = dict.fromkeys(("--beta", "--alpha", "--vamp-prior"), "eager_cvae.py")
OF_ONE_SCRIPT["--cross-entropy"] = "mmd_cvae.py"
WEIGHT = 1e37  # at most, for float32


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that answers a bad flag with a UserError of one line."""

    check = staticmethod(lambda args: None)  # what is wrong with flags that are right by themselves

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # -1e3 too, which argparse's is not

    def error(self, message):
        """Raise UserError."""
        raise UserError(f"{' '.join(message.split())} (--help explains the flags)")

    def print_help(self, file=None):
        """Raises OSError where it cannot be printed, unlike argparse's."""
        print(self.format_help(), end="", file=file, flush=True)

    def parse_args(self, args=None, namespace=None):
        """The flags; what is unknown is answered with what may have been meant."""
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0].split("=")[0]))
        if wrong := self.check(args):
            self.error(wrong)
        return args

    def _unknown(self, word):
        if word in OF_ONE_SCRIPT:
            return f"{word} is a flag of {OF_ONE_SCRIPT[word]}"
        flags = [flag[2:] for flag in self._option_string_actions if flag.startswith("--")]
        initials = {"".join(part[0] for part in flag.split("-")): flag for flag in flags}
        name = word.lstrip("-")
        near = [initials.get(name), *difflib.get_close_matches(name, flags, 1)]
        meant = next(filter(None, near), None)
        return f"unknown: {word}" + (f"; did you mean --{meant}?" if meant else "")


def make_parser(script, description):
    """An argument parser with the flags of both scripts, at the original's values."""
    parser = Parser(script, description=description)

    def flag(name, help, **kwargs):
        parser.add_argument(name, help=help, **kwargs)

    d = "(default: %(default)s)"
    for name, kind, default, help in (
        ("--epochs", whole_number(1, 10**6), 50, "train up to this epoch"),
        ("--batch-size", whole_number(1, 10_000), 100, "images a batch, a last short one dropped"),
        ("--learning-rate", number(1e-37, 1e37), 1e-4, "Adam's"),
        ("--latent-dim", whole_number(1, 1000), 2, "latent dimensions"),
        ("--seed", whole_number(0, 2**32 - 1), 0, "of weights, shuffle and noise"),
        ("--plot-every", whole_number(1, 10**6), 10, "epochs between figures"),
    ):
        metavar = "X" if isinstance(default, float) else "N"
        flag(name, f"{help} {d}", type=kind, default=default, metavar=metavar)
    data = parser.add_mutually_exclusive_group()
    help = "digits, or a data set of TFDS that has images, such as cifar10 or emnist/letters "
    help += "(default: fashion_mnist, or digits where it cannot be had)"
    data.add_argument("--dataset", help=help, metavar="NAME", type=dataset)
    help = "a folder of pictures to train on instead; sub-folders are classes"
    data.add_argument("--images", help=help, metavar="DIR", type=path)
    help = "size to bring images to, multiples of 4 from 8 to 256 (default: their own, or the "
    help += "nearest such; 64x64 if they differ)"
    flag("--image-size", help, metavar="HxW", type=image_size)
    help = "folder of TFDS data sets; what is missing is downloaded there (default: the "
    help += "environment's TFDS_DATA_DIR, else ~/tensorflow_datasets)"
    flag("--data-dir", help, type=path, metavar="DIR")
    help = f"write to a folder in DIR/DATASET/ {d}"
    flag("--output-dir", help, type=path, default="outputs", metavar="DIR")
    dtypes = ["float32", "float64"]
    flag("--dtype", f"precision of model, loss and noise {d}", choices=dtypes, default=dtypes[0])
    help = f"devices to train on, each a share of every batch {d}"
    flag("--replicas", help, type=whole_number(1, 1000), default=1, metavar="N")
    flag("--tensorboard", "write losses and figures for TensorBoard too", action="store_true")
    flag("--fresh", "start over: delete this script's run in that folder", action="store_true")
    return parser


def add_elbo_flags(parser):
    """Add eager_cvae.py's flags: the weights of objectives.elbo_weights."""
    flags = parser.add_argument_group("the family of the ELBO")
    weight = {"type": number(0, WEIGHT), "metavar": "B"}
    help = "sum the reconstruction per image and weigh the KL part by B: 1 is the ELBO, more a "
    help += "beta-VAE (default: none, the original's sum over the batch)"
    flags.add_argument("--beta", help=help, **weight)
    help = "InfoVAE: sum per image, weigh the KL part by 1 - A and the MMD by A + L - 1"
    flags.add_argument("--alpha", help=help, type=number(-WEIGHT, WEIGHT), metavar="A")
    flags.add_argument("--lambda", help="see --alpha", type=number(-WEIGHT, WEIGHT), metavar="L")
    help = "K trained pseudo-inputs, whose Gaussians' mixture is the prior (default: N(0, I))"
    flags.add_argument("--vamp-prior", help=help, type=whole_number(1, 10_000), metavar="K")
    _add_kernel(flags)
    parser.check = _check_elbo_flags


def _check_elbo_flags(args):
    alpha, lambda_ = args.alpha, vars(args)["lambda"]
    if args.vamp_prior and args.beta == 0:
        return "--beta 0 leaves nothing that would train --vamp-prior's pseudo-inputs"
    if (alpha is None) != (lambda_ is None):
        return "--alpha and --lambda go together: give both"
    if alpha is None:
        return args.kernel and "--kernel is of the MMD, for which give --alpha and --lambda, too"
    if args.beta is not None:
        return "--beta contradicts --alpha and --lambda: it is --alpha 1-B --lambda B"
    if alpha > 1:
        return f"--alpha {alpha:g} is more than 1, and would reward what it should cost"
    both = f"--alpha {alpha:g} and --lambda {lambda_:g}"
    mmd = round(alpha + lambda_ - 1, 9)  # as objectives.elbo_weights has it
    if mmd < 0:
        return f"{both} add up to less than 1, and would reward an MMD"
    if args.kernel and not mmd:
        return f"--kernel is of the MMD, which {both} leave out"
    if args.vamp_prior and alpha == 1 and not mmd:
        return f"{both} leave nothing that would train --vamp-prior's pseudo-inputs"
    return None


def add_mmd_flags(parser):
    """Add mmd_cvae.py's flags."""
    flags = parser.add_argument_group("the family of the MMD")
    help = "weight of the MMD (default: 1)"
    flags.add_argument("--lambda", help=help, type=_mmd_weight, metavar="L")
    help = "mean cross entropy a pixel in place of the squared error"
    flags.add_argument("--cross-entropy", help=help, action="store_true")
    _add_kernel(flags)
    parser.check = _check_mmd_flags


def _check_mmd_flags(args):
    if args.kernel and vars(args)["lambda"] == 0:
        return "--kernel is of the MMD, which --lambda 0 leaves out"
    return None


def _mmd_weight(text):
    weight = number(0, WEIGHT)(text)
    return None if weight == 1 else weight  # as of runs that do not name it


def _add_kernel(flags):
    help = "the MMD's kernel: imq, inverse multiquadratics of seven widths (default: original)"
    flags.add_argument("--kernel", help=help, type=_kernel, metavar="{original,imq}")


def _kernel(text):
    if text in ("original", "imq"):
        return None if text == "original" else text  # as of runs that are older than the flag
    raise argparse.ArgumentTypeError(f"{text!r} is neither original nor imq")


def add_runs(parser):
    """Add the runs, and where their data are, of programs on finished ones."""
    what = "a run's folder, such as outputs/fashion_mnist/cvae, or one of runs"
    parser.add_argument("runs", nargs="*", metavar="RUN", type=path, help=what)
    what = "folder of TFDS data sets (or of the pictures), if moved since"
    parser.add_argument("--data-dir", type=path, metavar="DIR", help=what)


def whole_number(low, high):
    """An argparse type: an int from `low` to `high`."""
    return _between(int, low, high, f"a whole number from {low} to {high}")


def number(low, high):
    """An argparse type: a float from `low` to `high`."""
    return _between(float, low, high, f"a number from {low:g} to {high:g}")


def _between(kind, low, high, what):
    def parse(text):
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parse


def dataset(text):
    """An argparse type: a name as TFDS gives them, NAME or NAME/CONFIG."""
    if re.fullmatch(r"\w+(/[\w.-]*\w)?", text, re.ASCII):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is no name of a data set; a folder of pictures is --images DIR"
    )


def image_size(text):
    """An argparse type: "HxW", or one number for both, as "HxW"."""
    height, _, width = text.lower().partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (height, width or height)]
    if all(side in range(8, 257, 4) for side in sides):
        return "{}x{}".format(*sides)
    raise argparse.ArgumentTypeError(f"{text!r} is not HxW, multiples of 4 from 8 to 256")


def path(text):
    """An argparse type: the path of a folder or file, which need not exist; ~ is the home."""
    try:
        text.encode()
        if text.strip() and "\0" not in text:
            return str(Path(text).expanduser())
    except UnicodeError:
        raise argparse.ArgumentTypeError(
            f"the bytes of {text!a} are no UTF-8, which TensorFlow wants of a path: give it "
            "another name"
        ) from None
    except RuntimeError as error:  # the home of nobody
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    raise argparse.ArgumentTypeError(f"{text!r} is not a path")


# Signals ----------------------------------------------------------------------


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived."""


_arrived = []  # signals, where they wait
_before = {}  # the handlers that were there before the program
_stderr = 2  # its descriptor, which moves while TensorFlow is imported


def arrived():
    """The number of the signal that has arrived within `signals_wait`, or 0."""
    return _arrived[0] if _arrived else 0


@contextlib.contextmanager
def signals_wait(last=False):
    """Have signals wait for who asks for `arrived`; Interrupted is raised when the block ends.

    No handler raises: an exception could come up in the middle of anything, C++ included. If it is
    the `last` of the program, nothing is left to stop afterwards, and signals are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _handle(lambda number, _: _arrived.append(number))
    try:
        yield
        if arrived():
            raise Interrupted(arrived())
    finally:
        _restore(dict.fromkeys(before, signal.SIG_IGN) if last and _before else before)
        del _arrived[:]


def _handle(handler):
    """Set a handler, but where signals are ignored, as for `&` in a script; return the former."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    former = {number: signal.getsignal(number) for number in numbers}
    former = {n: h for n, h in former.items() if h not in (None, signal.SIG_IGN)}
    for number in former:
        signal.signal(number, handler)
    return former


def _restore(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_at_once(number, _):
    """The handler where nothing is begun that would have to be ended in order."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    message = f"{_program()}: Stopped. Once more:\n{_command()}\n"
    with contextlib.suppress(OSError):
        os.write(_stderr, message.encode(errors="backslashreplace"))
    os._exit(128 + number)


# Programs ---------------------------------------------------------------------

PACKAGES = ("matplotlib", "tensorflow", "keras", "tensorflow_datasets", "sklearn", "joblib")
PACKAGES += ("filelock", "tqdm")


def start(get_args):
    """Begin a program, before TensorFlow is imported, which takes seconds.

    Answers --help, flags that are wrong, and signals; keeps out what the user has set up elsewhere
    (warnings, Keras's and matplotlib's settings); imports TensorFlow and others without a word of
    theirs but where they crash.
    """
    _before.update(_handle(_end_at_once))
    try:
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a notebook's has not
                stream.reconfigure(errors="backslashreplace")  # where a terminal has no ±
        warnings.simplefilter("ignore")  # of libraries, whatever -W says: nobody can mend them
        _leave(*_answer(get_args))
        _leave(_load(), 2)
    except BaseException:  # of --help too
        _end()
        raise


def _load():
    """Import PACKAGES; return what to say of one that fails, or None."""
    global _stderr
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT"):
        if not (value := os.environ.get(name)):
            os.environ.pop(name, None)
        elif not re.fullmatch("[0-9]{1,3}", value):  # some abort of others
            return f"error: {name} is {value!r}: set it to a number of threads, or unset it."
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.environ["KERAS_HOME"] = os.devnull
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # two programs can share a GPU
    _stderr = os.dup(2)
    faulthandler.enable(_stderr)
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, null)
        stack.callback(os.dup2, _stderr, 2)
        if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
            os.dup2(null, 2)  # TensorFlow logs its first lines before it looks at that level
        if os.path.exists("matplotlibrc"):  # matplotlib would read it first of all
            stack.enter_context(contextlib.chdir(Path(os.__file__).parent))
        try:
            for name in PACKAGES:
                importlib.import_module(name)
        except Exception as error:  # whatever a broken installation comes up with
            problem = f"error: {name} cannot be imported: {reason(error)}. Is this the environment"
            return problem + " of `pip install -r requirements.txt`?"
    # Up to four cores are kept busy by common/devices.py with one thread an operation. More are
    # TensorFlow's to use as it does by default: all of them for each operation
    if importlib.import_module("joblib").cpu_count() <= 4:  # in a container, its share
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    return None


def run_script(main):
    """Call `main()`; turn what a user can mend, and signals, into a few lines and a status."""
    _before.update({n: h for n, h in _handle(_end_at_once).items() if n not in _before})
    try:
        message, status = _answer(main)
        _restore(dict.fromkeys(_before, signal.SIG_IGN))  # nothing is left to stop
        if message:
            _say(message)
    finally:
        _end()
    if status:
        sys.exit(status)


def _answer(function):
    """Call a function; return what to say of how it ended, or None, and with what status."""
    try:
        function()
        sys.stdout.flush()
        return None, 0
    except Interrupted as stop:
        return _note(stop, "Stopped."), 128 + stop.args[0]
    except BrokenPipeError:  # whoever read the output, such as head, has gone
        return f"Nobody reads the output any more. To go on:\n{again()}", 1
    except UserError as error:
        return f"error: {error}", error.status
    except OSError as error:
        place = error.filename or "standard output"
        note = _note(error, "Mend that, or choose another place.")
        return f"error: {place}: {error.strerror or error}. {note}", 2
    except Exception as error:
        if "Collective ops" in str(error):
            lost = "error: the workers have lost each other: one has ended, or has other images."
            return f"{lost} {_note(error, 'See what it says.')}", 1
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        return f"error: not enough memory.\n{_note(error, 'Try a smaller --batch-size.')}", 2


def _leave(message, status):
    """End the program with a message, if there is one."""
    if message:
        _say(message)
        sys.exit(status)


def _note(error, otherwise):
    return "\n".join(getattr(error, "__notes__", [otherwise]))


def _say(message):
    """Print a message to stderr, and what is left of stdout, as far as they take it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"{_program()}: {message}", file=sys.stderr)
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except (OSError, ValueError):  # Python would fail on what it still holds at the very end
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end():
    """Give signals back to whom this program runs in, if it is not all that this process does."""
    _restore(_before)
    for number in _before:
        atexit.register(signal.signal, number, signal.SIG_IGN)
    _before.clear()


def _open_closed_streams():
    """Open what whoever started us has closed of stdin, stdout and stderr."""
    if sys.stdout is None or sys.stderr is None:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
        sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")


def _program():
    """What this program is called: eager_cvae.py, compare, ..."""
    file = Path(sys.argv[0])
    return file.parent.name if file.name == "__main__.py" else file.name


def again(*more):
    """The command that goes on with this: the present one, but for --fresh; a notebook's call."""
    return _command(*more, without="--fresh") if _before else "the same call"


def _command(*more, without=None):
    return command_line([sys.executable, *(w for w in sys.orig_argv[1:] if w != without), *more])


def command_line(words):
    """A command as one pastes it into this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
