"""What a run is: a checkpoint in a folder, and what is exported from it.

The checkpoint is the one truth: optimizer, models, random state, and a document of settings and
losses. All else in the folder (settings, losses, figures, event files, models) follows from it and
is never gone by: a run that is opened again exports anew what its latest checkpoint can give. (Of
earlier figures TensorBoard is shown what is there.) So it can be stopped anywhere, exactly.
"""

import contextlib
import csv
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from common import devices, run_folder
from common.cli import Interrupted, again, arrived, signals_wait
from common.data.batches import passes_per_epoch
from common.files import (
    UserError,
    fits,
    is_number,
    reason,
    regular,
    replacing,
    write_json,
)
from common.objectives import kernel_note, milder
from common.plotting import draw_figures, save_figure, shorten
from common.run_folder import FIGURES, PSEUDO_INPUTS
from common.trained import (
    Trained,
    active_dimensions,
    dashed,
    fingerprint_of_losses,
    given,
)

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

PACKAGES = ("keras", "tensorflow", "tensorflow-datasets", "numpy", "matplotlib", "scikit-learn")
# Environment variables on which the digits depend
ENVIRONMENT = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# Flags that may differ when a run is continued, because they leave its arithmetic alone (for those
# of the data stand its name, size, shape and fingerprint)
FREE_FLAGS = {
    "epochs", "dataset", "data_dir", "images", "image_size", "output_dir", "plot_every",
    "replicas", "tensorboard", "fresh",
}  # fmt: skip
ENDED = ("models", "losses")  # settings of a run that has ended: fingerprints of them
KEPT = 3  # checkpoints
PLACES = {"loss_mmd_total": 4}  # after the decimal point, in either script's line
LEAST_TEST_IMAGES = 4  # so that each has the three neighbours that a comparison asks for


class DivergedError(UserError):
    """The numbers went bad."""

    status = 1


class Document(tf.train.experimental.PythonState):
    """Text in a checkpoint, which no strategy takes for a variable of the model's."""

    text = ""

    def serialize(self):
        """What is written."""
        return self.text

    def deserialize(self, text):
        """Take what is read."""
        self.text = text


class Run:
    """One run in OUTPUT_DIR/DATASET/NAME/, new or continued from its latest whole checkpoint.

    A context manager: while it is open, no other process can open the same run, and signals wait
    for the end of what is being done. `settings` says what it is, as settings.json does; `trained`
    is, once it is done, the run as common.trained.load_run gives it.
    """

    def __init__(self, name, title, args, data, encode, decode, **trackables):
        """Prepare a run; nothing is read or written yet.

        Args:
            name, title: of the folder and the figures' files, such as "cvae", and in the figures.
            args: the script's flags, an argparse.Namespace.
            data: the common.data.sources.Dataset.
            encode, decode: the script's functions of a model and images, to means, and of a model
                and z, to intensities.
            trackables: optimizer, encoder, decoder and random generator, and the prior if it is
                trained: the state of the run.

        Raises:
            UserError: too few test images, or training images for a batch; a package is missing.
        """
        n, batch_size = len(data.train_images), args.batch_size
        if (m := len(data.test_images)) < LEAST_TEST_IMAGES:
            raise UserError(
                f"{data.title} has {m} images for testing, and at least {LEAST_TEST_IMAGES} are "
                "wanted.\nGive more: where there is no test set, every 7th is taken."
            )
        if batch_size > n:
            what = f"the {n} training images of {data.title}"
            raise UserError(f"--batch-size {batch_size} is more than {what}: give {n} at most.")
        if args.tensorboard and not importlib.util.find_spec("tensorboard"):
            raise UserError("--tensorboard wants that package: pip install tensorboard")
        self.name, self.title, self.args, self.data = name, title, args, data
        self._chief, self._trackables = devices.is_chief(), trackables
        self.folder = Path(args.output_dir) / data.name / name
        if "[" in str(self.folder) or (os.sep == "/" and "\\" in str(self.folder)):
            raise UserError(
                f"TensorFlow takes [ and \\ for a pattern, and would not find checkpoints in "
                f"{self.folder}: choose another --output-dir."
            )
        if not self._chief:  # what it holds is the chief's
            self._temporary = tempfile.TemporaryDirectory(prefix="worker-")
            self.folder = Path(self._temporary.name)
        self._losses, self._events = [], None  # dicts, an epoch each; TensorBoard's writer
        self._document = Document()
        self._checkpoint = tf.train.Checkpoint(document=self._document, **trackables)
        passes = passes_per_epoch(n)
        sizes = {"train_images": n, "test_images": len(data.test_images)}
        versions = {package: _version(package) for package in PACKAGES}
        self.settings = {
            "model": name,
            "flags": vars(args).copy(),
            "dataset": {"name": data.name, "title": data.title, **sizes}
            | {"image_shape": list(data.image_shape), "fingerprint": data.fingerprint},
            "epoch": {"batches": passes * (n // batch_size), "passes": passes},
            "versions": {"python": platform.python_version(), **versions},
            "device": devices.name(),
            "environment": {"processor": devices.processor()}
            | {name: os.environ.get(name) for name in ENVIRONMENT},
        }
        names = [name for name in ("decoder", "prior", "encoder") if name in trackables]
        self._models = {name: trackables[name] for name in names}  # the last to be exported first
        self.trained = Trained(self.folder, self.settings, self._models, encode, decode)

    @property
    def epoch(self):
        """The last epoch that is trained and checkpointed, 0 in a new run."""
        return len(self._losses)

    def __enter__(self):
        """Lock the folder; restore the latest whole checkpoint, or write a first; export.

        Raises UserError if the folder holds a run with other settings, or one without a whole
        checkpoint, or if another process is at it; OSError if it cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(signals_wait(last=True))
            self._check_lock = stack.enter_context(run_folder.locked(self.folder))
            run_folder.keep_inside(self.folder)
            if self.args.fresh:
                run_folder.delete(self.folder, self.name)
            if not self._chief:
                print("The first worker prints and writes for all.", flush=True)
                null = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(null))
                self._hand_out()
            restored = self._restore()
            run_folder.delete_unfinished(self.folder)
            self._announce()
            if not restored:
                self._save()
            if self._chief:
                self._hand_out()
            flags, epochs = self.settings["flags"], self.args.epochs
            if restored and flags["epochs"] == self.epoch:
                self._end()  # also of a checkpoint that does not say which its models are
            if self.epoch < epochs and flags["epochs"] > self.epoch:
                flags["epochs"] = epochs
                for name in self._models:  # of an end whose checkpoint is damaged
                    (self.folder / f"{name}.keras").unlink(missing_ok=True)
                for name in ENDED:
                    self.settings.pop(name, None)
            elif self.epoch >= epochs and flags["epochs"] != self.epoch:  # it ends here
                self._end()
                self._save()
            self._export()
            if self.epoch >= epochs:
                done = f"{self.epoch} epochs are done, and --epochs is {epochs}"
                print(f"Nothing left to train: {done}.")
                print("To go on, give a larger --epochs; to start over, --fresh.")
            elif self.epoch:
                print(f"Going on after epoch {self.epoch}.")
            sys.stdout.flush()
            n = self.settings["epoch"]["batches"]
            bar = tqdm(
                total=epochs * n, initial=self.epoch * n, unit="batch", leave=False,
                disable=None if self._chief else True, dynamic_ncols=True,
            )  # fmt: skip
            self._bar = stack.enter_context(bar)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, traceback):
        """Unlock; have what ended the run early say how to go on."""
        try:
            if isinstance(error, Interrupted | DivergedError | None):  # all end
                devices.wait_for_all_workers()
            self._stack.__exit__(kind, error, traceback)
        except Interrupted as late:
            error = late
            raise
        finally:
            if isinstance(error, Interrupted | OSError | MemoryError | tf.errors.OpError):
                named = self.args.dataset or self.args.images
                command = again(*[] if named else ["--dataset", self.data.name])
                stopped = f"Stopped after epoch {self.epoch} of {self.args.epochs}."
                where = "" if devices.alone() else ", on all workers"
                error.add_note(f"{stopped} To go on{where}:\n{command}")

    def _hand_out(self):
        """Have every worker hold the chief's checkpoint, to begin with."""
        if devices.alone():
            return
        files = run_folder.checkpoint_files(self.folder).get(self.epoch, [])
        names = json.loads(devices.of_chief(json.dumps([file.name for file in files]).encode()))
        for k, name in enumerate(names):
            content = devices.of_chief(files[k].read_bytes() if self._chief else b"")
            if not self._chief:
                (self.folder / "checkpoints").mkdir(exist_ok=True)
                (self.folder / "checkpoints" / name).write_bytes(content)

    def _announce(self):
        """Say what is trained on what: what matters, and what differs from the default."""
        args, epoch, n = self.args, self.settings["epoch"], len(self.data.train_images)
        flags = [f"seed {args.seed}", f"latent dimensions {args.latent_dim}"]
        flags.append(f"learning rate {args.learning_rate:g}")
        if args.dtype != "float32":
            flags.append(args.dtype)
        print(f"{self.title} on {self.data.title}, {self.settings['device']}: {', '.join(flags)}")
        passes = f"{epoch['passes']} passes" if epoch["passes"] > 1 else "1 pass"
        batches = f"{epoch['batches']} batches of {args.batch_size}, {passes} over {n:,} images"
        for note in self.data.notes:
            print(f"Data: {note}.")
        print(f"An epoch: {batches}. To epoch {args.epochs}, in {self.folder}.")
        if note := kernel_note(args):
            print(note)
        sys.stdout.flush()

    def epochs(self):
        """The epochs that are left, by number."""
        for epoch in range(self.epoch + 1, self.args.epochs + 1):
            self._bar.set_description(f"epoch {epoch}")
            self._start = time.perf_counter()
            yield epoch

    def calls(self, batches, images_a_call=1000):
        """Slices of an epoch's batches, by first and last, each for one call; sees to signals."""
        steps = max(1, images_a_call // self.args.batch_size)
        for first in range(0, len(batches), steps):
            last = min(first + steps, len(batches))
            yield tf.constant(first), tf.constant(last)
            self._bar.update(last - first)
            self._stop_if_asked()

    def end_epoch(self, losses, places):
        """Check that the numbers are finite, checkpoint, print the original's line, export.

        `losses` is a dict from a term's name to its total over the epoch divided by the batches,
        which the line rounds to `places` (and an MMD, which is small, to four). Raises
        DivergedError if a term, a weight or, where they are shown, a code is infinite or not a
        number, OSError if the disk is full, or the like.
        """
        epoch, losses = self.epoch + 1, {name: float(value) for name, value in losses.items()}
        self._check_finite(epoch, losses)
        seconds = round(time.perf_counter() - self._start, 2)
        self._losses.append({"epoch": epoch, **losses, "seconds": seconds})
        if epoch == self.args.epochs:
            self._end()
        try:
            self._save()
        except BaseException:
            self._losses.pop()
            raise
        line = ",  ".join(
            f"{value:.{PLACES.get(name, places)}f} {name}" for name, value in losses.items()
        )
        tqdm.write(f"Losses (epoch): {epoch}:  {line}")
        sys.stdout.flush()
        self._export()
        if epoch == self.args.epochs:
            self._warn_of_collapse()
        self._stop_if_asked()

    def _end(self):
        """Have the settings say that the models are those of this epoch, and which they are."""
        self.settings["flags"]["epochs"] = self.epoch
        self.settings["models"] = self.trained.fingerprint
        self.settings["losses"] = fingerprint_of_losses(self._losses)

    def _stop_if_asked(self):
        """Raise Interrupted, of all workers at once, if a signal has arrived at any."""
        if number := int(max(devices.of_all_workers([arrived()]))):
            raise Interrupted(number)

    def _warn_of_collapse(self):
        """Say how many latent dimensions are in use, unless they all are."""
        active = active_dimensions(self.trained.encode(self.data.test_images))
        if active < self.args.latent_dim:
            print(
                f"Of {self.args.latent_dim} latent dimensions {active} are active: in the others "
                "the means of the test images hardly differ (posterior collapse, or too little "
                "training)."
            )

    def _check_finite(self, epoch, losses):
        models = self._models.values()
        weights = [(weight.path, weight.numpy()) for model in models for weight in model.weights]
        codes = []
        if epoch % self.args.plot_every == 0 or epoch == self.args.epochs:  # they are shown
            codes.append(("a test image's code", self.trained.encode(self.data.test_images)))
        for name, value in [*losses.items(), *weights, *codes]:
            if not np.isfinite(value).all():
                advice = ", ".join(milder(self.args))
                raise DivergedError(
                    f"{name} is infinite or not a number in epoch {epoch}: the training diverged; "
                    f"what epoch {self.epoch} left is kept.\nTry --fresh with {advice} or another "
                    "seed."
                )

    def _save(self):
        """Checkpoint: from here on the run is continued after this epoch."""
        if not self._chief:
            return
        self._check_lock()
        document = {"settings": self.settings, "losses": self._losses}
        self._document.text = json.dumps(document)
        prefix = run_folder.prefix(self.folder, self.epoch)
        prefix.parent.mkdir(exist_ok=True)
        for file in run_folder.checkpoint_files(self.folder).get(self.epoch, []):
            if file.is_symlink():  # TensorFlow would write to where it leads
                file.unlink()
        try:
            self._checkpoint.write(str(prefix))
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(prefix.parent)) from error
        for epoch, files in run_folder.checkpoint_files(self.folder).items():
            for file in files if epoch <= self.epoch - KEPT else []:
                file.unlink()

    def _restore(self):
        """Restore the newest whole checkpoint; return whether there is one.

        Raises UserError if it is another run's, or if none is left of a run.
        """
        checkpoints = {
            epoch: files
            for epoch, files in run_folder.checkpoint_files(self.folder).items()
            if any(file.suffix == ".index" for file in files)
        }
        for epoch, files in checkpoints.items():
            prefix = run_folder.prefix(self.folder, epoch)
            try:
                document = self._read_document(files, epoch)
                self._refuse_other(document["settings"])
                self._checkpoint.read(str(prefix)).assert_consumed()
            except (UserError, MemoryError):
                raise
            except (PermissionError, tf.errors.PermissionDeniedError) as error:
                raise UserError(f"{prefix}.index cannot be read: {reason(error)}.") from error
            except Exception:  # bad files raise many kinds, IndexError among them
                print(f"The checkpoint {prefix} is damaged.", file=sys.stderr)
                continue
            self._losses = document["losses"]
            # As long as a run that had ended is being extended, its models are those of that end
            self.settings["flags"]["epochs"] = document["settings"]["flags"]["epochs"]
            self.settings |= {k: v for k, v in document["settings"].items() if k in ENDED}
            return True
        written = [file.name for file in run_folder.written(self.folder, self.name)]
        written = [name for name in written if not name.startswith(".")]
        if any(checkpoints) or written:  # not if it was killed at the very first one, of epoch 0
            what = "checkpoint there is whole" if checkpoints else f"checkpoint, but {written[0]}"
            raise UserError(
                f"{self.folder} holds a run that cannot be continued: no {what}.\n"
                "Choose another --output-dir, or start over with --fresh."
            )
        return False

    def _read_document(self, files, epoch):
        """A checkpoint's settings and losses; raises what bad files raise."""
        for file in files:
            regular(file)
        # `load_checkpoint` would follow TensorFlow's list in a folder of that name
        prefix = str(run_folder.prefix(self.folder, epoch))
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        document = json.loads(reader.get_tensor("document/.ATTRIBUTES/py_state"))
        row = {"epoch": is_number, "seconds": is_number}
        form = {"settings": {"flags": {"epochs": int}, "dataset": dict}, "losses": [row]}
        if not fits(document, form) or len(document["losses"]) != epoch:
            raise ValueError("it is of no run, or of another epoch")
        return document

    def _refuse_other(self, settings):
        """Raise UserError if the folder holds a run with other settings."""
        there, now = _arithmetic(settings), _arithmetic(self.settings)
        differing = [
            "its images have changed"
            if name == "fingerprint"
            else f"{name} {_shown(there.get(name))} there, {_shown(now.get(name))} now"
            for name in {**there, **now}
            if there.get(name) != now.get(name)
        ]
        if differing:
            folder = self.folder if self._chief else "The first worker"
            raise UserError(
                f"{folder} holds a run with other settings: {'; '.join(differing)}.\n"
                "Give the same flags, choose another --output-dir, or start over with --fresh."
            )

    def _export(self):
        """Write all that the state of the latest checkpoint can give, in place of what is there."""
        if not self._chief:
            return
        epoch, flags = self.epoch, self.settings["flags"]
        ended = epoch == flags["epochs"]
        if self.epoch:
            with replacing(self.folder / "losses.csv") as file, file.open("w", newline="") as out:
                writer = csv.DictWriter(out, self._losses[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(self._losses)
        if epoch % self.args.plot_every == 0 or ended:
            self._export_figures()
        if self.args.tensorboard:
            self._export_events()
        with contextlib.ExitStack() as files:  # what is entered first takes its place last
            if ended:
                for name, model in self._models.items():
                    model.save(files.enter_context(replacing(self.folder / f"{name}.keras")))
            file = files.enter_context(replacing(self.folder / "settings.json"))
            write_json(file, self.settings)
            if ended:  # without it, what else there is is not taken for a whole of one epoch
                (self.folder / "decoder.keras").unlink(missing_ok=True)

    def _export_figures(self):
        args, decode = self.args, self.trained.decode
        title = f"{self.title}, {shorten(self.data.title, 40)}, epoch {self.epoch}"
        # R: drawn once and used at every epoch; from the seed alone, it is the same in both scripts
        random_vector = self.trained.draw(64, args.seed)
        mean = self.trained.encode(self.data.test_images)
        prior = self.trained.prior
        shown = [self.trained.mixture()[0], prior.images] if prior else []
        figures = draw_figures(decode, mean, random_vector, self.data, title, *shown)
        for kind, figure in figures.items():
            with replacing(run_folder.figure(self.folder, self.name, kind, self.epoch)) as file:
                save_figure(figure, file)

    def _export_events(self):
        """TensorBoard's file: written anew when the run is opened, then an epoch at a time."""
        folder, first = self.folder / "tensorboard", self.epoch if self._events else 0
        try:
            if not self._events:
                for old in folder.glob(f"events.out.tfevents.*.{self.name}"):
                    old.unlink()
                suffix = f".{self.name}"
                self._events = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
            with self._events.as_default():
                for epoch in range(first, self.epoch + 1):
                    self._write_events(epoch)
            self._events.flush()
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(folder)) from error

    def _write_events(self, epoch):
        row = self._losses[epoch - 1] if epoch else {}
        for name in [name for name in row if name not in ("epoch", "seconds")]:
            tf.summary.scalar(f"losses/{name}", row[name], epoch)
        for kind in (*FIGURES, PSEUDO_INPUTS):
            # Those of earlier epochs may be gone, or damaged
            with contextlib.suppress(FileNotFoundError, UserError, tf.errors.OpError):
                file = regular(run_folder.figure(self.folder, self.name, kind, epoch))
                png = tf.io.decode_png(tf.io.read_file(str(file)))
                tf.summary.image(f"figures/{kind}", [png], epoch)


def _version(package):
    """None where another one stands in for it, such as tensorflow-cpu."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def _shown(value):
    """A flag's value, or that it was not given."""
    return "not given" if value is None else value


def _arithmetic(settings):
    """Those of the settings that the outcome of a run depends on."""
    flags = {
        f"--{dashed(name)}": value
        for name, value in given(settings["flags"]).items()
        if name not in FREE_FLAGS
    }
    return flags | {"model": settings.get("model"), **settings["dataset"]}
