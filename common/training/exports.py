"""Export the settings, losses, figures, TensorBoard files and models of a run."""

import contextlib
import csv

from common.devices.workers import is_chief
from common.names import shorten
from common.plotting import draw_figures, save_figure
from common.program.errors import UserError, reason
from common.program.files import delete, read_json, replacing, write_json
from common.training import folder as run_folder
from common.training import messages

import tensorflow as tf


class Exports:
    """Export the files of a run during the training. Each file is replaced completely.

    A file that cannot be written does not stop the training, because the checkpoints are complete.
    The next export writes the file. `failed` maps the name of each failed export to its file.
    """

    def __init__(self, run, title, args, data):
        self.run, self.title, self.args, self.data = run, title, args, data
        self.failed = {}
        self._figures = {}  # figures that are not written yet, by path
        self._writer = None  # of TensorBoard

    def write(self, losses, mean=None):
        """Write all files after the last epoch in `losses`. Only the first worker writes files.

        `mean` contains the latent means of the test images (n, latent_dim). If it is None, the
        means are computed when they are needed.
        """
        if not is_chief():
            return
        epoch, folder = len(losses), self.run.folder
        models = {"decoder": self.run.decoder, "prior": self.run.prior, "encoder": self.run.encoder}
        models = {folder / f"{k}.keras": m for k, m in models.items() if hasattr(m, "save")}
        if "trained_epochs" not in self.run.settings:
            with self._warning_of("damaged models"):
                for file in models:  # These models belong to a damaged checkpoint
                    delete(file)
        ended = self.run.settings.get("trained_epochs") == epoch
        if losses:
            with self._warning_of("losses"):
                self._write_losses(losses)
        if epoch % self.args.plot_every == 0 or ended:
            self._write_figures(epoch, mean)
        if self.args.tensorboard:
            with self._warning_of("tensorboard"):
                self._write_events(losses)
        with self._warning_of("settings and models"):
            self._write_settings(models if ended else {})

    def exported_epoch(self):
        """Return the epoch of the exported models from settings.json, or None if it is missing."""
        with contextlib.suppress(OSError, UserError):
            return read_json(self.run.folder / "settings.json").get("trained_epochs")

    @contextlib.contextmanager
    def _warning_of(self, name):
        """Print a warning if the block raises OSError, and continue.

        The warning is not repeated until a block with the same name succeeds.
        """
        try:
            yield
        except OSError as error:
            file = error.filename or name
            if name not in self.failed:
                messages.warn_of_export(file, error.strerror or error)
            self.failed[name] = file
        else:
            self.failed.pop(name, None)

    def _write_losses(self, losses):
        with replacing(self.run.folder / "losses.csv") as file, file.open("w", newline="") as out:
            writer = csv.DictWriter(out, losses[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(losses)

    def _write_settings(self, models):
        """Write the settings and the models. `models` is a dict that maps paths to models.

        Before the last epoch, `models` is empty.
        """
        folder = self.run.folder
        with contextlib.ExitStack() as files:  # ExitStack replaces the files in reverse order
            for file, model in models.items():
                model.save(files.enter_context(replacing(file)))
            file = files.enter_context(replacing(folder / "settings.json"))
            write_json(file, self.run.settings)
            if models:  # Without decoder.keras, the run counts as unfinished
                delete(folder / "decoder.keras")

    def _write_figures(self, epoch, mean):
        """Draw and write the figures of an epoch. Also write earlier figures that failed."""
        run = self.run
        title = f"{self.title}, {shorten(self.data.title, 40)}, epoch {epoch}"
        # R: the same random vectors are drawn once for all epochs. Here, both scripts share them
        random_vector = run.draw(64, self.args.seed)
        mean = run.encode(self.data.test_images) if mean is None else mean
        vamp_prior = run.centres(), getattr(run.prior, "images", None)
        figures = draw_figures(run.decode, mean, random_vector, self.data, title, *vamp_prior)
        for kind, figure in figures.items():
            self._figures[run_folder.figure(run.folder, run.model, kind, epoch)] = figure
        for path, figure in list(self._figures.items()):
            with self._warning_of(path):
                with replacing(path) as file:
                    save_figure(figure, file)
                del self._figures[path]

    def _write_events(self, losses):
        """Append the last epoch to the TensorBoard file, or write all epochs to a new file."""
        folder, first = self.run.folder / "tensorboard", len(losses) if self._writer else 0
        suffix = f".{self.run.model}"
        try:
            if not self._writer:
                for old in folder.glob(f"events.out.tfevents.*{suffix}"):
                    delete(old)
                self._writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
            with self._writer.as_default():
                for epoch in range(first, len(losses) + 1):
                    self._write_event(epoch, losses[epoch - 1] if epoch else {})
            self._writer.flush()
        except tf.errors.OpError as error:
            self._writer = None  # The next export writes all epochs to a new file
            raise OSError(None, reason(error), str(folder)) from error

    def _write_event(self, epoch, row):
        for name in [name for name in row if name not in ("epoch", "seconds")]:
            tf.summary.scalar(f"losses/{name}", row[name], epoch)
        for kind in (*run_folder.FIGURES, run_folder.PSEUDO_INPUTS):
            with contextlib.suppress(tf.errors.OpError):  # Old figures can be missing or damaged
                path = run_folder.figure(self.run.folder, self.run.model, kind, epoch)
                png = tf.io.decode_png(tf.io.read_file(str(path)))
                tf.summary.image(f"figures/{kind}", [png], epoch)
