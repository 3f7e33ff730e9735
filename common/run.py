"""What a run is: its flags, and a folder of settings, losses, figures, checkpoints and models."""

import argparse
import contextlib
import csv
import importlib.metadata
import json
import math
import os
import platform
import shutil
import sys
from pathlib import Path

from common import UserError
from common.data import TITLES, TRAIN_SIZES

import keras
import tensorflow as tf
from tqdm import tqdm

PACKAGES = ("keras", "tensorflow", "tensorflow-datasets", "numpy", "matplotlib", "scikit-learn")
# Flags that may differ when a run is continued, because they leave its arithmetic alone (--dataset
# may be left out; the folder's name and the size of the data set stand for it)
FREE_FLAGS = {"epochs", "dataset", "data_dir", "output_dir", "plot_every", "fresh"}
WAYS_OUT = "Mend that, choose another --output-dir, or start over with --fresh."


# Flags ------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """One line in place of argparse's usage and line."""
        self.exit(2, f"{self.prog}: error: {message} (--help explains the flags)\n")


def make_parser(script, doc):
    """An argument parser with the flags of both scripts, at the original's values."""
    parser = _Parser(script, description=doc.splitlines()[0], allow_abbrev=False)

    def flag(name, help, **kwargs):
        parser.add_argument(name, help=help, **kwargs)

    epochs, images = whole_number(1, 10**6), whole_number(1, max(TRAIN_SIZES.values()))
    latent, seeds = whole_number(1, 784), whole_number(0, 2**32 - 1)
    d = "(default: %(default)s)"
    flag("--epochs", f"train up to this epoch {d}", type=epochs, default=50, metavar="N")
    flag("--batch-size", f"images a batch {d}", type=images, default=100, metavar="N")
    flag("--learning-rate", f"Adam's {d}", type=positive_float, default=1e-4, metavar="X")
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
    flag("--output-dir", f"write to DIR/DATASET/ {d}", type=path, default="outputs", metavar="DIR")
    flag("--seed", f"of weights, shuffle and noise {d}", type=seeds, default=0, metavar="N")
    flag("--plot-every", f"epochs between figures {d}", type=epochs, default=10, metavar="N")
    flag(
        "--dtype",
        f"precision of model, loss and noise {d}",
        choices=["float32", "float64"],
        default="float32",
    )
    flag("--fresh", "start over: delete this script's run in that folder", action="store_true")
    return parser


def parse_args(parser, argv=None):
    """The parsed flags; exit with status 2 and one line where they are wrong."""
    args = parser.parse_args(argv)
    if args.dataset == "digits" and args.data_dir:
        parser.error("--data-dir is of no use to --dataset digits, which scikit-learn brings along")
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


def positive_float(text):
    """An argparse type: a finite float above 0."""
    value = non_negative_float(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def non_negative_float(text):
    """An argparse type: a finite float, 0 or above."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number that is 0 or above")


def path(text):
    """An argparse type: the path of a folder, which need not exist."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def set_precision(dtype):
    """Have Keras make models (their dtype policy) and optimizers (floatx) of `dtype`."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


# The run and its folder -------------------------------------------------------


class Run:
    """One run in OUTPUT_DIR/DATASET/, new or continued from its latest checkpoint.

    Attributes:
        args: the parsed flags.
        data: the common.data.Dataset.
        epoch: the last epoch that is trained and checkpointed, 0 in a new run.
    """

    def __init__(self, model, title, args, data, **trackables):
        """Open the folder, refuse another run's, restore `trackables` from the latest checkpoint.

        Args:
            model: "cvae" or "mmd", the prefix of everything the run writes.
            title: the model's name in the figures.
            trackables: optimizer, models and random generator, whose state is the run's.

        Raises:
            UserError: the folder holds a run with other settings, or an unreadable one.
        """
        check_batch_size(args.batch_size, data.name, len(data.train_images))
        self.model, self._title, self.args, self.data = model, title, args, data
        self.folder = Path(args.output_dir).expanduser() / data.name
        self._settings_file = self.folder / f"{model}_settings.json"
        self._losses_file = self.folder / f"{model}_losses.csv"
        self._checkpoints = self.folder / f"checkpoints_{model}"
        if args.fresh:
            self._delete()
        settings = self._settings()
        self._refuse_other(settings)
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(epoch=self._epoch, **trackables), self._checkpoints, max_to_keep=3
        )
        self._restore()
        self._losses = self._read_losses()
        if self.epoch < args.epochs:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._settings_file) as file:
                file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        flags = " ".join(f"{name}={value}" for name, value in settings["flags"].items())
        print(f"{title} on {TITLES[data.name]}, {settings['device']}: {flags}", flush=True)

    @property
    def epoch(self):
        return int(self._epoch)

    @property
    def batches_per_epoch(self):
        return len(self.data.train_images) // self.args.batch_size

    def is_done(self):
        """Whether --epochs are trained already; says so, and how to go on."""
        done = self.epoch >= self.args.epochs
        if done:
            print(
                f"Nothing left to train: {self.epoch} of {self.args.epochs} epochs are done in "
                f"{self.folder}.\nTo go on, give a larger --epochs; to start over, --fresh."
            )
        elif self.epoch:
            print(f"Going on after epoch {self.epoch}.", flush=True)
        return done

    def progress(self):
        """A tqdm bar over the batches of all epochs; silent when stderr is no terminal."""
        n = self.batches_per_epoch
        return tqdm(
            total=self.args.epochs * n, initial=self.epoch * n, unit="batch", leave=False,
            disable=None, dynamic_ncols=True,
        )  # fmt: skip

    def is_plot_epoch(self, epoch):
        """Every --plot-every epochs and the last one."""
        return epoch % self.args.plot_every == 0 or epoch == self.args.epochs

    def log(self, epoch, losses, seconds, places):
        """Print the original's line, rounded to `places`; put the unrounded losses into the CSV.

        Args:
            losses: dict from a term's name to its total over the epoch divided by the batches.
        """
        line = ",  ".join(f"{value:.{places}f} {name}" for name, value in losses.items())
        tqdm.write(f"Losses (epoch): {epoch}:  {line}")
        sys.stdout.flush()
        self._losses.append({"epoch": epoch, **losses, "seconds": round(seconds, 2)})
        with replacing(self._losses_file) as file, file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self._losses[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._losses)

    def title(self, epoch):
        """The title of a figure."""
        return f"{self._title}, {TITLES[self.data.name]}, epoch {epoch}"

    def save_figure(self, kind, epoch, figure):
        """Write a matplotlib figure under the original's name, such as cvae_grid_epoch_50.png."""
        with replacing(self.folder / f"{self.model}_{kind}_epoch_{epoch}.png") as file:
            figure.savefig(file)

    def save_models(self, **models):
        """Write each Keras model to MODEL_NAME.keras."""
        for name, model in models.items():
            with replacing(self.folder / f"{self.model}_{name}.keras") as file:
                model.save(file)

    def save_checkpoint(self, epoch):
        """Checkpoint the trackables: from here on the run is continued after `epoch`."""
        self._epoch.assign(epoch)
        try:
            self._manager.save(checkpoint_number=epoch)
        except tf.errors.OpError as error:
            raise OSError(None, error.message.splitlines()[0], self._checkpoints) from error

    def _settings(self):
        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        cpu = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
        return {
            "model": self.model,
            "flags": vars(self.args),
            "dataset": {
                "name": self.data.name,
                "train_images": len(self.data.train_images),
                "test_images": len(self.data.test_images),
            },
            "versions": {
                "python": platform.python_version(),
                **{package: importlib.metadata.version(package) for package in PACKAGES},
            },
            "device": ", ".join(gpu.get("device_name", "GPU") for gpu in details) or cpu,
        }

    def _refuse_other(self, settings):
        """Raise UserError if the folder holds this model's run with other settings."""
        if not self._settings_file.exists():
            if self._checkpoints.exists():
                raise UserError(
                    f"{self._checkpoints} holds checkpoints, but {self._settings_file.name}, which "
                    f"would say of what, is gone.\n{WAYS_OUT}"
                )
            return
        try:
            found = json.loads(self._settings_file.read_text(encoding="utf-8"))
            pairs = [
                (f"--{name.replace('_', '-')}", found["flags"][name], value)
                for name, value in settings["flags"].items()
                if name not in FREE_FLAGS
            ]
            pairs.append(("data set", found["dataset"], settings["dataset"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._settings_file} is damaged ({error!r}).\n{WAYS_OUT}") from error
        differing = [f"{name} {old} there, {new} now" for name, old, new in pairs if old != new]
        if differing:
            raise UserError(
                f"{self.folder} holds a {self.model} run with other settings: "
                f"{'; '.join(differing)}.\n{WAYS_OUT}"
            )

    def _restore(self):
        latest = self._manager.latest_checkpoint
        if not latest:
            return
        try:
            self._manager.checkpoint.restore(latest).assert_consumed()
        except Exception as error:  # bad files raise many kinds, IndexError among them
            raise UserError(
                f"the checkpoint {latest} is damaged or another model's.\n{WAYS_OUT}"
            ) from error

    def _read_losses(self):
        """The CSV's rows up to the checkpoint; a row past it belongs to an epoch that is redone."""
        if not self.epoch:
            return []
        try:
            with self._losses_file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))[: self.epoch]
            if [int(row["epoch"]) for row in rows] != list(range(1, self.epoch + 1)):
                raise ValueError("its rows are not the epochs in order")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._losses_file} does not go with the checkpoint of epoch {self.epoch}: "
                f"{error}.\n{WAYS_OUT}"
            ) from error
        return rows

    def _delete(self):
        """Delete what an earlier run of this model wrote to the folder."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)
        for pattern in ("settings.json", "losses.csv", "*_epoch_*.png", "*coder.keras"):
            for file in self.folder.glob(f"{self.model}_{pattern}"):
                file.unlink()


@contextlib.contextmanager
def replacing(path):
    """A temporary path of the same suffix that takes the place of `path` if all goes well."""
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def run_script(main):
    """Call `main()`; turn what a user can mend into a line or two on stderr and exit status 2."""
    try:
        main()
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            error = (
                f"{error.filename}: {error.strerror}.\nMend that or choose another "
                "--output-dir; the same command goes on from the last whole epoch."
            )
        sys.exit(_fail(error, 2))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; the same command goes on from the last whole epoch", 130))


def _fail(message, status):
    print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr)
    return status
