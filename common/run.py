"""What a run is: a folder of settings, losses, figures, checkpoints and models.

A run can be stopped anywhere and goes on exactly. Figures, losses, settings and models appear
under their names only when whole, and a checkpoint that is not whole is passed over. The checkpoint
is the last thing that an epoch writes: what the folder holds past it belongs to an epoch that is
done again, with the same outcome.
"""

import contextlib
import csv
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from common import UserError, reason
from common.data import TITLES
from common.events import event_file, write_events
from common.flags import check_batch_size

import keras
import numpy as np
import tensorflow as tf
from filelock import FileLock, Timeout
from tqdm import tqdm

PACKAGES = ("keras", "tensorflow", "tensorflow-datasets", "numpy", "matplotlib", "scikit-learn")
# Flags that may differ when a run is continued, because they leave its arithmetic alone (--dataset
# may be left out; the folder's name and the size of the data set stand for it)
FREE_FLAGS = {"epochs", "dataset", "data_dir", "output_dir", "plot_every", "tensorboard", "fresh"}
FIGURES = ("clothes", "latentspace", "grid", "reconstructions")  # kinds, in file names
WAYS_OUT = "Mend that, choose another --output-dir, or start over with --fresh."


class DivergedError(UserError):
    """The numbers went bad."""

    status = 1


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived."""


arrived = []  # signals; Python loses an exception that a handler raises amid a __del__


def raise_if_interrupted():
    """Raise Interrupted if a signal has arrived."""
    if arrived:
        raise Interrupted(arrived[0])


def set_up(seed, dtype):
    """Seed everything; have TensorFlow compute deterministically, and Keras in `dtype`."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    # It makes one sum of several, and the order in which TensorFlow adds three or more can vary
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    keras.config.set_floatx(dtype)  # of optimizers
    keras.config.set_dtype_policy(dtype)  # of models


class Run:
    """One run in OUTPUT_DIR/DATASET/, new or continued from its latest whole checkpoint.

    A context manager: while it is open, no other process can open the same run.

    Attributes:
        args: the parsed flags.
        data: the common.data.Dataset.
        folder: where everything is.
        epoch: the last epoch that is trained and checkpointed, 0 in a new run.
    """

    def __init__(self, model, title, terms, args, data, **trackables):
        """Prepare a run; nothing is read or written yet.

        Args:
            model: "cvae" or "mmd", the prefix of everything the run writes.
            title: the model's name in the figures.
            terms: the names of the losses that are logged each epoch.
            trackables: optimizer, models and random generator, whose state is the run's.

        Raises:
            UserError: the training images do not fill a batch.
        """
        check_batch_size(args.batch_size, data.name, len(data.train_images))
        self.model, self._title, self.args, self.data = model, title, args, data
        self.folder = Path(args.output_dir) / data.name
        self._settings_file = self.folder / f"{model}_settings.json"
        self._losses_file = self.folder / f"{model}_losses.csv"
        self._checkpoints = self.folder / f"checkpoints_{model}"
        self._events = self.folder / "tensorboard" / model
        self._lock = FileLock(self.folder / f".{model}.lock")  # does not outlive its process
        self._columns = ["epoch", *terms, "seconds"]
        self._losses = []
        self._trackables = trackables
        self.epoch = 0

    def __enter__(self):
        """Lock the folder, refuse another run's, restore the latest whole checkpoint.

        Raises:
            UserError: the folder holds a run with other settings, or a damaged one, or another
                process is at this one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as on_error:
            try:
                on_error.enter_context(self._lock.acquire(timeout=0))
            except Timeout:
                raise UserError(
                    f"another process is at the {self.model} run in {self.folder}.\nWait for it, "
                    "or choose another --output-dir."
                ) from None
            if self.args.fresh:
                self._delete()
            settings = self._settings()
            self._refuse_other(settings)
            # With the settings inside, a checkpoint of other settings cannot pass for this run's
            self._epoch = tf.Variable(0, dtype=tf.int64)
            self._identity = tf.Variable(json.dumps(self._arithmetic(settings), sort_keys=True))
            self._checkpoint = tf.train.Checkpoint(
                epoch=self._epoch, settings=self._identity, **self._trackables
            )
            self._manager = tf.train.CheckpointManager(
                self._checkpoint, self._checkpoints, max_to_keep=3
            )
            self._restore()
            if self.epoch < self.args.epochs:
                with replacing(self._settings_file) as file:
                    _write_json(file, settings | {"flags": settings["flags"] | self._models_have()})
            if self.epoch:
                self._write_events(self.epoch)
            on_error.pop_all()
        flags = " ".join(f"{name}={value}" for name, value in settings["flags"].items())
        print(f"{self._title} on {TITLES[self.data.name]}, {settings['device']}: {flags}")
        return self

    def __exit__(self, kind, error, traceback):
        self._lock.release()
        if isinstance(error, Interrupted | OSError):
            error.add_note(
                f"Stopped after epoch {self.epoch} of {self.args.epochs}. To go on:\n"
                f"{_command() if self.args.dataset else _command('--dataset', self.data.name)}"
            )

    @property
    def batches_per_epoch(self):
        return len(self.data.train_images) // self.args.batch_size

    def is_done(self):
        """Whether --epochs are trained already; says so, and how to go on."""
        done = self.epoch >= self.args.epochs
        if done:
            print(
                f"Nothing left to train: {self.epoch} epochs are done in {self.folder}, and "
                f"--epochs is {self.args.epochs}.\n"
                "To go on, give a larger --epochs; to start over, --fresh."
            )
        elif self.epoch:
            print(f"Going on after epoch {self.epoch}.")
        sys.stdout.flush()
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

        Raises:
            DivergedError: a term or a weight is infinite or not a number.
        """
        weights = [*self._trackables["encoder"].weights, *self._trackables["decoder"].weights]
        raise_if_interrupted()
        for name, value in [*losses.items(), *((w.path, w.numpy()) for w in weights)]:
            if not np.isfinite(value).all():
                raise DivergedError(
                    f"{name} is infinite or not a number in epoch {epoch}: the training diverged; "
                    f"what epoch {self.epoch} left is kept.\nTry --fresh with a smaller "
                    f"--learning-rate than {self.args.learning_rate:g} or another seed."
                )
        line = ",  ".join(f"{value:.{places}f} {name}" for name, value in losses.items())
        tqdm.write(f"Losses (epoch): {epoch}:  {line}")
        sys.stdout.flush()
        self._losses.append({"epoch": epoch, **losses, "seconds": round(seconds, 2)})
        with replacing(self._losses_file) as file, file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._losses)

    def title(self, epoch):
        """The title of a figure."""
        return f"{self._title}, {TITLES[self.data.name]}, epoch {epoch}"

    def save_figure(self, kind, epoch, figure):
        """Write a matplotlib figure under the original's name, such as cvae_grid_epoch_50.png."""
        with replacing(self._figure_file(kind, epoch)) as file:
            figure.savefig(file)

    def _figure_file(self, kind, epoch):
        return self.folder / f"{self.model}_{kind}_epoch_{epoch}.png"

    def save_models(self, **models):
        """Write each Keras model to MODEL_NAME.keras, and to the settings that they have --epochs.

        All are ready before the first gives way; then one is missing until all are there, so that
        models of different epochs are never taken for a pair.
        """
        paths = [self.folder / f"{self.model}_{name}.keras" for name in models]
        with contextlib.ExitStack() as stack:  # what is entered first takes its place last
            for path, model in zip(paths, models.values(), strict=True):
                model.save(stack.enter_context(replacing(path)))
            _write_json(stack.enter_context(replacing(self._settings_file)), self._settings())
            paths[0].unlink(missing_ok=True)

    def _models(self):
        """The models that are there, both or none but where a run stopped while it wrote them."""
        return sorted(self.folder.glob(f"{self.model}_*.keras"))

    def _models_have(self):
        """The --epochs of the models that are there, from the settings beside them."""
        if len(self._models()) < 2:
            return {}
        flags = json.loads(self._settings_file.read_text(encoding="utf-8"))["flags"]
        return {"epochs": flags.get("epochs")}

    def save_checkpoint(self, epoch):
        """Checkpoint the trackables: from here on the run is continued after `epoch`.

        Raises:
            OSError: the disk is full, or the like.
        """
        raise_if_interrupted()
        self._write_events(epoch)
        self._epoch.assign(epoch)
        try:
            self._manager.save(checkpoint_number=epoch)
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(self._checkpoints)) from error
        self.epoch = epoch

    def _write_events(self, epoch):
        """With --tensorboard, the event files of `epoch` and of those before that have none."""
        if not self.args.tensorboard:
            return
        self._events.mkdir(parents=True, exist_ok=True)
        end = self._losses_file.stat().st_mtime
        for step in range(epoch + 1):
            path = event_file(self._events, self.model, step)
            if step < epoch and path.exists():
                continue
            row = self._losses[step - 1] if step else {}
            scalars = {f"losses/{k}": float(row[k]) for k in self._columns[1:-1] if k in row}
            files = {f"figures/{kind}": self._figure_file(kind, step) for kind in FIGURES}
            images = {tag: file.read_bytes() for tag, file in files.items() if file.exists()}
            wall_time = end - sum(float(later["seconds"]) for later in self._losses[step:])
            # TensorBoard takes every file with tfevents in its name for a whole one
            with replacing(path, f"epoch_{step}") as file:
                write_events(file, step, wall_time, scalars, images)

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
            for left in (self._checkpoints, self._losses_file, *self._models()):
                if left.exists():
                    raise UserError(
                        f"{left} is there, but {self._settings_file.name}, which would say of what "
                        f"run, is gone.\n{WAYS_OUT}"
                    )
            return
        try:
            text = self._settings_file.read_text(encoding="utf-8", errors="replace")
            found = json.loads(text)
            there, now = self._arithmetic(found), self._arithmetic(settings)
        except ValueError as error:
            raise UserError(f"{self._settings_file} is damaged: {error}.\n{WAYS_OUT}") from error
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self._settings_file} is damaged: it lacks a whole 'flags' or 'dataset'."
                f"\n{WAYS_OUT}"
            ) from error
        differing = [
            f"{name} {there.get(name)} there, {now.get(name)} now"
            for name in {**there, **now}
            if there.get(name) != now.get(name)
        ]
        if differing:
            raise UserError(
                f"{self.folder} holds a {self.model} run with other settings: "
                f"{'; '.join(differing)}.\n"
                "Give the same flags, choose another --output-dir, or start over with --fresh."
            )

    @staticmethod
    def _arithmetic(settings):
        """Those of the settings that the outcome of the run depends on."""
        flags = {f"--{k.replace('_', '-')}": v for k, v in settings["flags"].items()}
        free = {f"--{k.replace('_', '-')}" for k in FREE_FLAGS}
        return {k: v for k, v in flags.items() if k not in free} | settings["dataset"]

    def _restore(self):
        """Restore the newest whole checkpoint, if there is one, and the losses up to it."""
        identity = self._identity.numpy()
        files = {
            int(file.stem[5:]): file.with_suffix("")
            for file in self._checkpoints.glob("ckpt-*.index")
            if file.stem[5:].isdecimal()
        }
        if len(self._models()) < 2:
            files.pop(self.args.epochs, None)  # done again, for the models and the last figures
        for epoch in sorted(files, reverse=True):
            try:
                self._checkpoint.restore(str(files[epoch])).assert_consumed()
                if self._epoch.numpy() == epoch and self._identity.numpy() == identity:
                    self.epoch = epoch
                    break
            except (MemoryError, tf.errors.PermissionDeniedError):
                raise
            except Exception:  # bad files raise many kinds, IndexError among them
                pass
            print(f"The checkpoint {files[epoch]} is damaged or another run's.", file=sys.stderr)
        else:
            if files:
                raise UserError(f"no checkpoint in {self._checkpoints} is whole.\n{WAYS_OUT}")
        rows = self._read_losses()
        # An epoch writes its losses before its checkpoint, so there may be one row more
        if len(rows) < self.epoch or (not files and len(rows) > 1):
            raise UserError(
                f"{self._losses_file} is of {len(rows)} epochs, the latest checkpoint of "
                f"{self.epoch}.\n{WAYS_OUT}"
            )
        self._losses = rows[: self.epoch]

    def _read_losses(self):
        """The rows of the CSV, as they stand."""
        if not self._losses_file.exists():
            return []
        text = self._losses_file.read_text(encoding="utf-8", errors="replace")
        rows = [line.split(",") for line in text.splitlines()]
        for epoch, row in enumerate(rows):
            if not (self._is_row(row, epoch) if epoch else row == self._columns):
                raise UserError(
                    f"{self._losses_file}, line {epoch + 1}, is not what this run wrote there.\n"
                    f"{WAYS_OUT}"
                )
        return [dict(zip(self._columns, row, strict=True)) for row in rows[1:]]

    def _is_row(self, row, epoch):
        try:
            numbers = [float(value) for value in row]
        except ValueError:
            return False
        return len(row) == len(self._columns) and numbers[0] == epoch and np.isfinite(numbers).all()

    def _delete(self):
        """Delete what an earlier run of this model wrote to the folder."""
        for folder in (self._checkpoints, self._events):
            if folder.exists():
                shutil.rmtree(folder)
        part = r"(\.(\d+\.)?partial)?"
        name = re.compile(
            rf"\.?{self.model}_(({'|'.join(FIGURES)})(_epoch_\d+{part}\.png|{part}\.gif)|"
            rf"losses{part}\.csv|(settings|metrics){part}\.json|(encoder|decoder){part}\.keras)"
        )
        for file in self.folder.iterdir():
            if name.fullmatch(file.name):
                file.unlink()


def _write_json(file, content):
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(path, stem=None):
    """A temporary path of the same suffix that takes the place of `path` if all goes well.

    It is called after `stem`, or after `path`. Raises OSError with the name of `path`.
    """
    temporary = path.with_name(f".{stem or path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):  # of another file
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written
            temporary.unlink(missing_ok=True)


def replacing_unlocked(path):
    """`replacing` where no lock keeps others away: the temporary path is this process's own."""
    return replacing(path, f"{path.stem}.{os.getpid()}")


def run_script(main):
    """Call `main()`; turn what a user can mend, and signals, into a few lines and a status."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for `&` in a script
        numbers.remove(signal.SIGINT)

    def ignore():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number, _):
        ignore()  # one is enough; a second must not break in on the ending
        arrived.append(number)
        raise Interrupted(number)

    try:
        arrived.clear()
        for number in numbers:
            signal.signal(number, interrupt)
        main()
        raise_if_interrupted()
        return
    except Interrupted as stop:
        at_start = f"Stopped before anything was trained. Once more:\n{_command(fresh=True)}"
        (message,) = getattr(stop, "__notes__", [at_start])
        status = 128 + stop.args[0]
    except BrokenPipeError:  # whoever read the output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message, status = f"Nobody reads the output any more. To go on:\n{_command()}", 1
    except UserError as error:
        message, status = f"error: {error}", error.status
    except OSError as error:
        place = error.filename or "standard output"
        (note,) = getattr(error, "__notes__", ["Mend that, or choose another --output-dir."])
        message, status = f"error: {place}: {error.strerror or error}. {note}", 2
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        (note,) = getattr(error, "__notes__", ["Try a smaller --batch-size."])
        message, status = f"error: not enough memory.\n{note}", 2
    finally:
        ignore()  # nothing is left to stop
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(status)


def _command(*more, fresh=False):
    """The command line that goes on with this run: the present one, without --fresh or with it."""
    program, *flags = sys.argv
    if Path(program).parent == Path(__file__).parent:  # python -m common.compare
        program, flags = "-m", [f"common.{Path(program).stem}", *flags]
    words = [sys.executable, program, *(w for w in flags if fresh or w != "--fresh"), *more]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
