"""What a run exports from its state: settings, losses, figures, TensorBoard files and models."""

import contextlib
import csv

from common.devices.workers import is_chief
from common.plotting import draw_figures, save_figure, shorten
from common.program.errors import reason
from common.program.files import replacing, write_json
from common.training import folder as run_folder
from common.training.folder import FIGURES, PSEUDO_INPUTS

import tensorflow as tf


class Exports:
    """The files that a run writes from its state. Each is replaced as a whole."""

    def __init__(self, run, title, args, data):
        """Prepare the exports of a Trained, whose settings change during the training."""
        self.run, self.title, self.args, self.data = run, title, args, data
        self._writer = None  # of TensorBoard

    def write(self, losses):
        """Write everything that the state after epoch `len(losses)` can give.

        Only the chief of several workers writes. Raises OSError if that fails.
        """
        if not is_chief():
            return
        epoch, folder = len(losses), self.run.folder
        ended = self.run.settings.get("trained_epochs") == epoch
        if losses:
            with replacing(folder / "losses.csv") as file, file.open("w", newline="") as out:
                writer = csv.DictWriter(out, losses[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(losses)
        if epoch % self.args.plot_every == 0 or ended:
            self._write_figures(epoch)
        if self.args.tensorboard:
            self._write_events(losses)
        with contextlib.ExitStack() as files:  # the file that is entered first is replaced last
            if ended:
                for name, model in self._models():
                    model.save(files.enter_context(replacing(folder / f"{name}.keras")))
            file = files.enter_context(replacing(folder / "settings.json"))
            write_json(file, self.run.settings)
            if ended:  # without a decoder, the other files are not mistaken for a whole model
                (folder / "decoder.keras").unlink(missing_ok=True)

    def delete_models(self):
        """Delete exported models that do not belong to the restored checkpoint."""
        for name, _ in self._models():
            (self.run.folder / f"{name}.keras").unlink(missing_ok=True)

    def _models(self):
        models = {"decoder": self.run.decoder, "prior": self.run.prior, "encoder": self.run.encoder}
        return [(name, model) for name, model in models.items() if hasattr(model, "save")]

    def _write_figures(self, epoch):
        run = self.run
        title = f"{self.title}, {shorten(self.data.title, 40)}, epoch {epoch}"
        # R: drawn once and used at every epoch. With the seed, both scripts use the same draws
        random_vector = run.draw(64, self.args.seed)
        mean = run.encode(self.data.test_images)
        vamp_prior = run.centres(), getattr(run.prior, "images", None)
        figures = draw_figures(run.decode, mean, random_vector, self.data, title, *vamp_prior)
        for kind, figure in figures.items():
            with replacing(run_folder.figure(run.folder, run.model, kind, epoch)) as file:
                save_figure(figure, file)

    def _write_events(self, losses):
        """Write TensorBoard's file: all epochs when the run is opened, later the last epoch."""
        folder, first = self.run.folder / "tensorboard", len(losses) if self._writer else 0
        try:
            if not self._writer:
                for old in folder.glob(f"events.out.tfevents.*.{self.run.model}"):
                    old.unlink()
                suffix = f".{self.run.model}"
                self._writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
            with self._writer.as_default():
                for epoch in range(first, len(losses) + 1):
                    self._write_event(epoch, losses[epoch - 1] if epoch else {})
            self._writer.flush()
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(folder)) from error

    def _write_event(self, epoch, row):
        for name in [name for name in row if name not in ("epoch", "seconds")]:
            tf.summary.scalar(f"losses/{name}", row[name], epoch)
        for kind in (*FIGURES, PSEUDO_INPUTS):
            # Figures of earlier epochs can be missing or damaged
            with contextlib.suppress(tf.errors.OpError):
                path = run_folder.figure(self.run.folder, self.run.model, kind, epoch)
                png = tf.io.decode_png(tf.io.read_file(str(path)))
                tf.summary.image(f"figures/{kind}", [png], epoch)
