"""The class Run, which adds checkpoints, exported files and signal handling to a training loop.

A checkpoint contains the complete state, so a resumed run gives the same result as a run without a
stop. All other files in the folder are exported from the latest checkpoint.
"""

import contextlib
import math
import tempfile
import time
from pathlib import Path

from common.data.batches import reader, shuffled_batches
from common.devices.distribute import read_shares
from common.devices.workers import gather_integers, is_chief, wait_for_all_workers
from common.objectives.flags import title
from common.program.signals import Interrupted, arrived, signals_wait
from common.trained import Trained
from common.training import checks, folder, messages, settings
from common.training.checkpoints import Checkpoints
from common.training.exports import Exports

import keras
import tensorflow as tf

IMAGES_PER_CHECK = 1000  # per check for signals
VALUES_PER_READ = 2**20  # 4 MiB of float32


class Run:
    """A training run in OUTPUT_DIR/DATASET/NAME/. It resumes from its latest complete checkpoint.

    In the `with` block, no other process can use the folder, and signals are delayed until the next
    check. The attribute `trained` is of the type that `load_run` returns.
    """

    def __init__(self, name, args, data, encode, decode, **state):
        """Prepare a run called `name`. Raise UserError if the flags cannot be used with the data.

        `args` are the flags, `data` is a Dataset, `encode` and `decode` are functions of the
        script. `state` contains the encoder, decoder, optimizer, random generator and any prior.
        """
        self.args, self.data = args, data
        self.folder = Path(args.output_dir) / data.name / name
        checks.check_start(args, data, self.folder)
        if not is_chief():
            self._temporary = tempfile.TemporaryDirectory(prefix="worker-")
            self.folder = Path(self._temporary.name)
        self.settings = settings.make_settings(name, args, data)
        models = {k: model for k, model in state.items() if isinstance(model, keras.Model)}
        state["optimizer"].build([v for m in models.values() for v in m.trainable_variables])
        state = {k: v for k, v in state.items() if k != "prior" or k in models}
        self.trained = Trained(self.folder, self.settings, models, encode, decode)
        self._checkpoints = Checkpoints(self.folder, name, state)
        self._exports = Exports(self.trained, title(args), args, data)
        self._read = reader(data.train_images, args.dtype)
        self._losses, self._totals = [], {}  # per epoch; over batches

    @property
    def epoch(self):
        """Return the last epoch that is saved in a checkpoint, or 0 in a new run."""
        return len(self._losses)

    def __enter__(self):
        """Lock the folder, restore the latest checkpoint or write the first one, and export files.

        Raises UserError if the folder is locked or contains a run that cannot be resumed.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(signals_wait(last=True))
            stack.enter_context(folder.opened(self.folder, self.trained.model, self.args.fresh))
            stack.enter_context(messages.only_the_chief_prints())
            self._resume_or_begin()
            batches = self.settings["epoch"]["batches"]
            done, total = self.epoch * batches, self.args.epochs * batches
            self._bar = stack.enter_context(messages.progress_bar(done, total))
            self._stack = stack.pop_all()
        return self

    def _resume_or_begin(self):
        if not is_chief():
            self._checkpoints.copy_from_chief(0)
        found = self._checkpoints.restore(self.settings)
        folder.delete_unfinished(self.folder)
        messages.announce(self.args, self.data, self.settings, self.folder)
        if found:
            self._losses = found["losses"]
            self.settings |= settings.of_exported_models(found["settings"])
        else:
            messages.suggest_larger_network(self.args, self.data)
            self._checkpoints.save(self.settings, self._losses)
        if is_chief():
            self._checkpoints.copy_from_chief(self.epoch)
        # If --epochs is reduced, the run ends at its last checkpoint. This checkpoint is not
        # written again, because a kill between the writing of its two files would damage it
        if self.epoch >= self.args.epochs or self.epoch == self._exports.exported_epoch():
            settings.mark_ended(self.settings, self.trained, self._losses)
        self._exports.write(self._losses)
        messages.announce_rest(self.epoch, self.args)

    def __exit__(self, kind, error, traceback):
        """Unlock the folder. If an error stops the run, add a note on how to resume the run."""
        try:
            if isinstance(error, Interrupted | checks.DivergedError | None):  # all workers end
                wait_for_all_workers()
            self._stack.__exit__(kind, error, traceback)
            if not error and (files := self._exports.failed):
                messages.report_failed_exports({*files.values()}, self.args, self.data)
        except Interrupted as late:
            error = late
            raise
        finally:
            if isinstance(error, Interrupted | OSError | MemoryError | tf.errors.OpError):
                error.add_note(messages.how_to_resume(self.epoch, self.args, self.data))

    def epochs(self):
        """Yield the numbers of the epochs that are not trained yet."""
        for epoch in range(self.epoch + 1, self.args.epochs + 1):
            self._bar.set_description(f"epoch {epoch}")
            self._start, self._totals = time.perf_counter(), {}
            yield epoch

    def batches(self, epoch):
        """Yield the batches of an epoch as tensors (n, height, width, channels) in [0, 1].

        With several replicas, each batch consists of one tensor per replica. Raises Interrupted
        if any worker has received a signal.
        """
        n, size = len(self.data.train_images), self.args.batch_size
        batches = shuffled_batches(n, size, self.args.seed, epoch).numpy()
        per_call = VALUES_PER_READ // (size * math.prod(self.data.image_shape))
        shares = read_shares(self._read, batches, min(10, max(1, per_call)))
        for number, x in enumerate(shares, 1):
            yield x
            self._bar.update()
            if number % max(1, IMAGES_PER_CHECK // size) == 0 or number == len(batches):
                self._stop_if_asked()

    def add(self, losses):
        """Add the loss terms of a batch to the sums of the epoch. `losses` is a dict of scalars."""
        for name, value in losses.items():
            self._totals[name] = self._totals.get(name, 0.0) + float(value)

    def end_epoch(self, decimals):
        """Check the losses and weights, write a checkpoint, print the losses, and export files.

        Losses are printed with `decimals` decimal places. Raises DivergedError if a number is
        infinite or NaN.
        """
        args, epoch, batches = self.args, self.epoch + 1, self.settings["epoch"]["batches"]
        losses = {name: total / batches for name, total in self._totals.items()}
        shown = epoch % args.plot_every == 0 or epoch == args.epochs
        mean = self.trained.encode(self.data.test_images) if shown else None
        checks.check_finite(losses, self.trained, mean, epoch, args)
        seconds = round(time.perf_counter() - self._start, 2)
        self._losses.append({"epoch": epoch, **losses, "seconds": seconds})
        if epoch == args.epochs:
            settings.mark_ended(self.settings, self.trained, self._losses)
        try:
            self._checkpoints.save(self.settings, self._losses)
        except BaseException:
            self._losses.pop()  # This epoch is not in a checkpoint
            raise
        messages.print_losses(epoch, losses, decimals)
        self._exports.write(self._losses, mean)
        if epoch == args.epochs:
            checks.report_inactive_dimensions(mean)
        self._stop_if_asked()

    def _stop_if_asked(self):
        """Raise Interrupted on all workers if any worker has received a signal."""
        if number := int(max(gather_integers([arrived()]))):
            raise Interrupted(number)
