"""Parse the command line, and write commands as text that the user can paste into a shell."""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common.program.errors import UserError

MOST_CONVOLUTIONS = 6  # Seven would allow only sides of 256 pixels
OF_ONE_SCRIPT = dict.fromkeys(("--beta", "--alpha", "--vamp-prior"), "eager_cvae.py")
OF_ONE_SCRIPT["--cross-entropy"] = "mmd_cvae.py"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserError for an invalid command line."""

    # Scripts replace this function. It returns an error message if flags contradict each other
    check = staticmethod(lambda args: None)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse does not recognize -1e3

    def error(self, message):
        raise UserError(f"{' '.join(message.split())} (--help explains the flags)")

    def print_help(self, file=None):
        """Print the help. Unlike argparse, raise OSError if the text cannot be written."""
        print(self.format_help(), end="", file=file, flush=True)

    def parse_args(self, args=None, namespace=None):
        """Parse the flags. For an unknown flag, raise UserError and suggest a similar flag."""
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0].split("=")[0]))
        if message := self.check(args):
            self.error(message)
        return args

    def _unknown(self, word):
        if not word.startswith("-"):
            return f"unexpected argument: {word}"
        if word in OF_ONE_SCRIPT:
            return f"{word} is a flag of {OF_ONE_SCRIPT[word]}"
        flags = [flag[2:] for flag in self._option_string_actions if flag.startswith("--")]
        initials = {"".join(part[0] for part in flag.split("-")): [flag] for flag in flags}
        name = word.lstrip("-")  # lr means learning-rate
        near = initials.get(name) or difflib.get_close_matches(name, flags, 1)
        return f"unknown flag: {word}" + "".join(f". Did you mean --{flag}?" for flag in near)


def make_parser(script, description, batch_size, epochs, learning_rate, latent_dim, filters):
    """Return a Parser with the flags that both scripts have.

    The arguments are the name of the script, its description, and the defaults of its flags.
    """
    parser = Parser(script, description=description)
    group = parser.add_mutually_exclusive_group()
    for name, metavar, kind, default, help in (
        ("--epochs", "N", whole_number(1, 10**6), epochs, "train up to this epoch"),
        ("--batch-size", "N", whole_number(1, 10_000), batch_size, "images per batch; a last short "
         "batch is dropped"),
        ("--learning-rate", "X", number(1e-37, 1e37), learning_rate, "learning rate of Adam"),
        ("--latent-dim", "N", whole_number(1, 1000), latent_dim, "number of latent dimensions"),
        ("--seed", "N", whole_number(0, 2**32 - 1), 0, "seed of weights, shuffle and noise"),
        ("--plot-every", "N", whole_number(1, 10**6), 10, "number of epochs between figures"),
        ("--dataset", "NAME", dataset, None, "digits, or a data set of TFDS that has images, such "
         "as cifar10 or emnist/letters (default: fashion_mnist, or digits if it is not available)"),
        ("--images", "DIR", path, None, "train on a folder of pictures; its sub-folders are the "
         "classes"),
        ("--image-size", "HxW", image_size, None, "resize images to this size, multiples of 4 from "
         "8 to 256, or as --filters requires (default: their own size, or the nearest valid one; "
         "64x64 if their sizes differ)"),
        ("--data-dir", "DIR", path, None, "folder of TFDS data sets; a missing data set is "
         "downloaded there (default: the environment variable TFDS_DATA_DIR, else "
         "~/tensorflow_datasets)"),
        ("--output-dir", "DIR", path, "outputs", "write to a folder in DIR/DATASET/"),
        ("--dtype", None, ["float32", "float64"], "float32", "precision of model, loss and noise"),
        ("--replicas", "N", whole_number(1, 1000), 1, "number of devices, which share every batch"),
    ):  # fmt: skip
        kind = {"choices" if isinstance(kind, list) else "type": kind}
        help += " (default: %(default)s)" * (default is not None)
        place = group if name in ("--dataset", "--images") else parser
        place.add_argument(name, metavar=metavar, default=default, help=help, **kind)
    help = f"number of filters of each convolution in the encoder, for 1 to {MOST_CONVOLUTIONS} "
    help += "convolutions; the decoder mirrors them; K convolutions require image sides that are "
    help += f"multiples of 2^K (default: {as_text([*filters])})"
    kind = {"type": whole_number(1, 1024), "nargs": "+", "metavar": "F"}
    parser.add_argument("--filters", help=help, default=[*filters], **kind)
    help = "also write losses and figures for TensorBoard"
    parser.add_argument("--tensorboard", help=help, action="store_true")
    help = "train without the pictures of --images that cannot be read, instead of stopping"
    parser.add_argument("--skip-unreadable", help=help, action="store_true")
    help = "delete this script's run in that folder and start over"
    parser.add_argument("--fresh", help=help, action="store_true")
    return parser


def add_runs(parser):
    """Add the arguments of a program that reads finished runs: RUN and --data-dir."""
    help = "folder of a run, such as outputs/fashion_mnist/cvae, or a folder that contains runs"
    parser.add_argument("runs", nargs="*", metavar="RUN", type=path, help=help)
    help = "folder of TFDS data sets, or of pictures, if it was moved after the training"
    parser.add_argument("--data-dir", type=path, metavar="DIR", help=help)


# Types of arguments -----------------------------------------------------------


def whole_number(low, high):
    """Return an argparse type for whole numbers from `low` to `high`."""
    return number(low, high, int)


def number(low, high, kind=float):
    """Return an argparse type for numbers from `low` to `high`. `kind` is float or int."""

    def parse(text):
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        what = f"{'whole ' * (kind is int)}number from {low} to {high}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what}")

    return parse


# The three groups match the name, the configuration and the version of a TFDS data set
DATASET = re.compile(r"(\w+)(?:/([\w.-]*\w))?(?::(\d+\.\d+\.\d+))?", re.ASCII)


def dataset(text):
    """Return a data set's name in the form NAME[/CONFIG][:VERSION] (an argparse type)."""
    if DATASET.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(
        f"invalid data set name: {text!r}. Examples of valid names: mnist, emnist/letters, "
        "mnist:3.0.1. To train on a folder of pictures, use --images DIR"
    )


def image_size(text):
    """Convert an image size, "HxW" or one number for both sides, to "HxW" (an argparse type)."""
    height, x, width = text.lower().partition("x")
    sides = height, width if x else height
    if all(side.isdecimal() for side in sides):
        return "{}x{}".format(*map(int, sides))
    raise argparse.ArgumentTypeError(f"{text!r} is not an image size. Give HxW, such as 64x48")


def image_sides(convolutions):
    """Return the valid heights and widths of images, for a number of convolutions, as a range.

    Each convolution without padding halves a side. For multiples of 2^convolutions, the last output
    has side / 2^convolutions - 1 rows or columns, which must be at least 1. The smallest multiple
    is 4, because `gather_images` requires images whose number of bytes is a multiple of 8.
    """
    multiple = 2 ** max(2, convolutions)
    return range(max(8, 2 * multiple), 257, multiple)


def check_filters(args):
    """Return an error message if --filters has too many numbers or does not fit --image-size."""
    filters = f"--filters {as_text(args.filters)}"
    if (n := len(args.filters)) > MOST_CONVOLUTIONS:
        return f"{filters} has {n} numbers. Give at most {MOST_CONVOLUTIONS}"
    sides = image_sides(n)
    if args.image_size and not all(int(side) in sides for side in args.image_size.split("x")):
        return (
            f"--image-size {args.image_size} is not valid with {filters}. Height and width must be "
            f"multiples of {sides.step} from {sides[0]} to {sides[-1]}"
        )
    return None


def path(text):
    """Return a path, with ~ replaced by the user's home folder (an argparse type)."""
    problem = "is not a path"
    try:
        text.encode()
        if is_url(text):
            problem = "is a URL. Give a folder or file on this machine"
        elif text.strip() and "\0" not in text:
            return str(Path(text).expanduser())
    except UnicodeError:
        problem = "is not valid UTF-8, which TensorFlow requires of a path. Rename it"
    except RuntimeError:
        problem = "names a user who does not exist"
    raise argparse.ArgumentTypeError(f"{text!a} {problem}")


def is_url(text):
    """Return whether a path is a URL such as gs://bucket/folder. C:/folder is not a URL."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE))


# Commands as text -------------------------------------------------------------


def given(flags):
    """Return a dict of the flags that have a value. Omit flags that are None or False."""
    return {k: v for k, v in flags.items() if v is not None and v is not False}


def dashed(name):
    """Replace "_" by "-" in the name of a flag. For example, vamp_prior becomes vamp-prior."""
    return name.replace("_", "-")


def to_words(flags, default):
    """Return command-line words such as --seed=1 for all flags that differ from `default`."""
    words = []
    for name, value in given(flags).items():
        if value != default.get(name):
            words.append(f"--{dashed(name)}")
            if isinstance(value, list):
                words += map(str, value)
            elif value is not True:
                words[-1] += f"={value}"
    return words


def as_text(value):
    """Return the value of a flag as text, as in the command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def command_line(words):
    """Join words to a command line that the user can paste into the shell."""
    shell = _windows_shell() if os.name == "nt" else "sh"
    if shell in ("powershell", "pwsh"):  # PowerShell runs a quoted command only after "&"
        line = " ".join(map(_quote_for_powershell, words))
        return f"& {line}" if line.startswith("'") else line
    return shlex.join(words) if shell in ("sh", "bash") else subprocess.list2cmdline(words)


def _quote_for_powershell(word):
    if re.fullmatch(r"[\w.:\\/=+-]+", word):
        return word
    inner = re.sub("(['\u2018-\u201b])", r"\1\1", word)  # PowerShell also accepts these quotes
    return f"'{inner}'"


def _windows_shell():
    """Return the name of the Windows shell that started this program, or "cmd" if it is unknown.

    If several shells are among the parent processes, return the nearest shell.
    """
    with contextlib.suppress(Exception):  # psutil may be missing, or a parent may have ended
        import psutil

        for process in psutil.Process().parents():
            name = process.name().lower().removesuffix(".exe")
            if name in ("cmd", "powershell", "pwsh", "bash"):
                return name
    return "cmd"


def this_command(*more, without=None):
    """Return the command that started this program. Add the words `more`, and omit `without`."""
    if _in_ipython():  # sys.orig_argv is the command that started IPython or the notebook
        words = [word for word in sys.argv if word != without] + [*more]
        return f"%run {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}"
    words = [word for word in sys.orig_argv[1:] if word != without]
    return command_line([sys.executable, *words, *more])


def _in_ipython():
    """Return whether the user started this program with %run in IPython or a notebook."""
    shell, file = sys.modules.get("IPython"), Path(sys.argv[0]).name
    named = file in [Path(word).name for word in sys.orig_argv]
    return bool(shell and shell.get_ipython()) and not named


def program_name():
    """Return the name of this program, such as eager_cvae.py or compare."""
    file = Path(sys.argv[0])
    return file.parent.name if file.name == "__main__.py" else file.name
