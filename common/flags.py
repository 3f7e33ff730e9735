"""The flags of both scripts, at the original's values."""

import argparse
import contextlib
import os
from pathlib import Path

from common import UserError
from common.data import TITLES, TRAIN_SIZES


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that answers a bad flag in one line."""

    def error(self, message):
        """One line in place of argparse's usage and line."""
        message = " ".join(str(message).splitlines())
        self.exit(2, f"{self.prog}: error: {message} (--help explains the flags)\n")


def make_parser(script, doc):
    """An argument parser with the flags of both scripts, at the original's values."""
    parser = Parser(script, description=doc.splitlines()[0], allow_abbrev=False)

    def flag(name, help, **kwargs):
        parser.add_argument(name, help=help, **kwargs)

    epochs, images = whole_number(1, 10**6), whole_number(1, 10_000)
    latent, seeds = whole_number(1, 784), whole_number(0, 2**32 - 1)
    d = "(default: %(default)s)"
    flag("--epochs", f"train up to this epoch {d}", type=epochs, default=50, metavar="N")
    flag("--batch-size", f"images a batch {d}", type=images, default=100, metavar="N")
    flag("--learning-rate", f"Adam's {d}", type=number(1e-37, 1e37), default=1e-4, metavar="X")
    flag("--latent-dim", f"latent dimensions {d}", type=latent, default=2, metavar="N")
    flag(
        "--dataset",
        "data to train on (default: fashion_mnist, or digits where it cannot be had)",
        choices=list(TITLES),
    )
    flag(
        "--data-dir",
        "folder of TFDS data sets; what is missing is downloaded there (default: the "
        "environment's TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        type=path,
        metavar="DIR",
    )
    flag(
        "--output-dir",
        f"write to DIR/DATASET/ {d}",
        type=plain_path,
        default="outputs",
        metavar="DIR",
    )
    flag("--seed", f"of weights, shuffle and noise {d}", type=seeds, default=0, metavar="N")
    flag("--plot-every", f"epochs between figures {d}", type=epochs, default=10, metavar="N")
    flag(
        "--dtype",
        f"precision of model, loss and noise {d}",
        choices=["float32", "float64"],
        default="float32",
    )
    flag(
        "--tensorboard",
        "write losses and figures for TensorBoard too, to DIR/DATASET/tensorboard/",
        action="store_true",
    )
    flag("--fresh", "start over: delete this script's run in that folder", action="store_true")
    return parser


def parse_args(parser, argv=None):
    """The parsed flags; exit with status 2 and one line where they are wrong."""
    args = parser.parse_args(argv)
    try:
        check_batch_size(args.batch_size, args.dataset or "fashion_mnist")
    except UserError as error:
        parser.error(error)
    return args


def check_batch_size(batch_size, dataset, n=None):
    """Raise UserError if the data set's `n` training images do not fill one batch."""
    n = n or TRAIN_SIZES[dataset]
    if batch_size > n:
        raise UserError(
            f"argument --batch-size: {batch_size} is more than the {n} training images of "
            f"{TITLES[dataset]}"
        )


def whole_number(low, high):
    """An argparse type: an int from `low` to `high`."""

    def parse(text):
        with contextlib.suppress(ValueError):
            if low <= int(text) <= high:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")

    return parse


def number(low, high):
    """An argparse type: a float from `low` to `high`."""

    def parse(text):
        with contextlib.suppress(ValueError):
            if low <= float(text) <= high:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return parse


def path(text):
    """An argparse type: the path of a folder, which need not exist; ~ is the home folder."""
    try:
        text.encode()
        if text.strip():
            return str(Path(text).expanduser())
    except (UnicodeError, RuntimeError):  # bytes that are no text; the home of nobody
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a path")


def plain_path(text):
    """A `path` that TensorFlow, which lists checkpoints by pattern, does not take for one."""
    special = "*?[" if os.name == "nt" else "*?[\\"
    if set(text) & set(special):
        raise argparse.ArgumentTypeError(f"{text!r} has one of the characters {special}")
    return path(text)
