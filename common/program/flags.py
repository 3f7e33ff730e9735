"""The command-line parser, argument types, and the flags that programs share."""

import argparse
import contextlib
import difflib
import re
from pathlib import Path

from common.program.errors import UserError

OF_ONE_SCRIPT = dict.fromkeys(("--beta", "--alpha", "--vamp-prior"), "eager_cvae.py")
OF_ONE_SCRIPT["--cross-entropy"] = "mmd_cvae.py"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UserError for an invalid command line."""

    # Return an error message if flags contradict each other. A script can replace it.
    check = staticmethod(lambda args: None)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse's own does not match -1e3

    def error(self, message):
        """Raise UserError."""
        raise UserError(f"{' '.join(message.split())} (--help explains the flags)")

    def print_help(self, file=None):
        """Print the help. Raise OSError if that fails; argparse would ignore the error."""
        print(self.format_help(), end="", file=file, flush=True)

    def parse_args(self, args=None, namespace=None):
        """Return the flags. Raise UserError, with a suggestion, for an unknown flag."""
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
        name = word.lstrip("-")  # lr stands for learning-rate, bs for batch-size
        near = initials.get(name) or difflib.get_close_matches(name, flags, 1)
        return f"unknown flag: {word}" + "".join(f". Did you mean --{flag}?" for flag in near)


def make_parser(script, description, batch_size, epochs, learning_rate, latent_dim):
    """Return a Parser with the flags of both scripts. The four numbers are defaults of flags."""
    parser = Parser(script, description=description)

    def flag(name, help, **kwargs):
        parser.add_argument(name, help=help, **kwargs)

    d = "(default: %(default)s)"
    for name, kind, default, help in (
        ("--epochs", whole_number(1, 10**6), epochs, "train up to this epoch"),
        ("--batch-size", whole_number(1, 10_000), batch_size, "images per batch; a last short "
         "batch is dropped"),
        ("--learning-rate", number(1e-37, 1e37), learning_rate, "learning rate of Adam"),
        ("--latent-dim", whole_number(1, 1000), latent_dim, "number of latent dimensions"),
        ("--seed", whole_number(0, 2**32 - 1), 0, "seed of weights, shuffle and noise"),
        ("--plot-every", whole_number(1, 10**6), 10, "number of epochs between figures"),
    ):  # fmt: skip
        metavar = "X" if isinstance(default, float) else "N"
        flag(name, f"{help} {d}", type=kind, default=default, metavar=metavar)
    data = parser.add_mutually_exclusive_group()
    help = "digits, or a data set of TFDS that has images, such as cifar10 or emnist/letters "
    help += "(default: fashion_mnist, or digits if it is not available)"
    data.add_argument("--dataset", help=help, metavar="NAME", type=dataset)
    help = "train on a folder of pictures; its sub-folders are the classes"
    data.add_argument("--images", help=help, metavar="DIR", type=path)
    help = "resize images to this size, multiples of 4 from 8 to 256 (default: their own size, or "
    help += "the nearest valid one; 64x64 if their sizes differ)"
    flag("--image-size", help, metavar="HxW", type=image_size)
    help = "folder of TFDS data sets; a missing data set is downloaded there (default: the "
    help += "environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets)"
    flag("--data-dir", help, type=path, metavar="DIR")
    flag(
        "--output-dir", f"write to a folder in DIR/DATASET/ {d}", type=path, default="outputs",
        metavar="DIR",
    )  # fmt: skip
    dtypes = ["float32", "float64"]
    flag("--dtype", f"precision of model, loss and noise {d}", choices=dtypes, default=dtypes[0])
    help = f"number of devices, which share every batch {d}"
    flag("--replicas", help, type=whole_number(1, 1000), default=1, metavar="N")
    flag("--tensorboard", "also write losses and figures for TensorBoard", action="store_true")
    flag("--fresh", "delete this script's run in that folder and start over", action="store_true")
    return parser


def add_runs(parser):
    """Add the flags of a program that reads finished runs: their folders and their data."""
    help = "folder of a run, such as outputs/fashion_mnist/cvae, or a folder that contains runs"
    parser.add_argument("runs", nargs="*", metavar="RUN", type=path, help=help)
    help = "folder of TFDS data sets, or of pictures, if it was moved after the training"
    parser.add_argument("--data-dir", type=path, metavar="DIR", help=help)


# Argument types ---------------------------------------------------------------


def whole_number(low, high):
    """Return an argparse type: an int from `low` to `high`."""
    return _between(int, low, high, f"a whole number from {low} to {high}")


def number(low, high):
    """Return an argparse type: a float from `low` to `high`."""
    return _between(float, low, high, f"a number from {low:g} to {high:g}")


def _between(kind, low, high, what):
    def parse(text):
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parse


def dataset(text):
    """Return a valid name of a TFDS data set, NAME or NAME/CONFIG. It is an argparse type."""
    if re.fullmatch(r"\w+(/[\w.-]*\w)?", text, re.ASCII):
        return text
    raise argparse.ArgumentTypeError(
        f"invalid data set name: {text!r}. To train on a folder of pictures, use --images DIR"
    )


def image_size(text):
    """Return an image size as "HxW", from "HxW" or one number for both (an argparse type)."""
    height, x, width = text.lower().partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (height, width if x else height)]
    if all(side in range(8, 257, 4) for side in sides):
        return "{}x{}".format(*sides)
    raise argparse.ArgumentTypeError(f"{text!r} is not HxW with multiples of 4 from 8 to 256")


def path(text):
    """Return the path of a folder or file, with ~ expanded (an argparse type)."""
    try:
        text.encode()
        if text.strip() and "\0" not in text:
            return str(Path(text).expanduser())
    except UnicodeError:
        raise argparse.ArgumentTypeError(
            f"{text!a} is not valid UTF-8, which TensorFlow requires of a path. Rename it"
        ) from None
    except RuntimeError as error:  # the user in ~user does not exist
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    raise argparse.ArgumentTypeError(f"{text!r} is not a path")


# Flags as text ----------------------------------------------------------------


def given(flags):
    """Return the flags of a dict that are given: neither None nor False. 0 is a value."""
    return {k: v for k, v in flags.items() if v is not None and v is not False}


def dashed(name):
    """Return the name of a flag as it is typed, without "--": vamp-prior for vamp_prior."""
    return name.replace("_", "-")


def to_words(flags, default):
    """Return the words of a command line with the given flags that differ from `default`."""
    flags = {k: v for k, v in given(flags).items() if v != default.get(k)}
    return [f"--{dashed(k)}" + ("" if v is True else f"={v}") for k, v in flags.items()]
