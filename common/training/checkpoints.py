"""Write and restore checkpoints. All other files of a run are exported from its checkpoints."""

import contextlib
import json
import sys

from common.devices.workers import bytes_of_chief, is_alone, is_chief
from common.program.errors import UserError, reason
from common.program.files import retrying
from common.training import folder as run_folder
from common.training.settings import refuse_other

import tensorflow as tf

KEPT = 3  # number of checkpoints
# TensorFlow raises these exceptions on Windows if another program has opened a checkpoint file
IN_USE = (tf.errors.PermissionDeniedError, tf.errors.UnknownError)


class Document(tf.train.experimental.PythonState):
    """A text that a checkpoint stores in addition to the variables of the models."""

    text = ""

    def serialize(self):
        return self.text

    def deserialize(self, text):
        self.text = text


class Checkpoints:
    """Write and restore the checkpoints of one run.

    A checkpoint contains the models, the optimizer, the random state, the settings and all losses.
    """

    def __init__(self, folder, name, state):
        self.folder, self.name, self._document = folder, name, Document()
        self._checkpoint = tf.train.Checkpoint(document=self._document, **state)

    def save(self, settings, losses):
        """Write a checkpoint after epoch `len(losses)`, and delete old checkpoints."""
        if not is_chief():
            return
        epoch = len(losses)
        self._document.text = json.dumps({"settings": settings, "losses": losses})
        prefix = run_folder.prefix(self.folder, epoch)
        prefix.parent.mkdir(exist_ok=True)
        try:
            retrying(self._checkpoint.write, str(prefix), errors=IN_USE)
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(prefix.parent)) from error
        for old, files in run_folder.checkpoint_files(self.folder).items():
            for file in files if old <= epoch - KEPT else []:
                with contextlib.suppress(OSError):  # The new checkpoint is complete
                    file.unlink()

    def restore(self, settings):
        """Restore the latest complete checkpoint, and return a dict with its settings and losses.

        Return None if the run is new. Raise UserError if the run in the folder cannot be resumed.
        """
        place = self.folder if is_chief() else "The folder of the first worker"
        found = run_folder.checkpoint_files(self.folder).items()
        epochs = [epoch for epoch, files in found if any(f.suffix == ".index" for f in files)]
        for epoch in epochs:
            prefix = str(run_folder.prefix(self.folder, epoch))
            try:
                # If `prefix` is a folder, tf.train.load_checkpoint would read a checkpoint inside
                reader = tf.compat.v1.train.NewCheckpointReader(prefix)
                document = json.loads(reader.get_tensor("document/.ATTRIBUTES/py_state"))
                if len(document["losses"]) != epoch:
                    raise ValueError("the checkpoint belongs to another epoch")
                refuse_other(place, document["settings"], settings)
                self._checkpoint.read(prefix).assert_consumed()
                return document
            except (UserError, MemoryError):
                raise
            except (PermissionError, tf.errors.PermissionDeniedError) as error:
                raise UserError(f"{prefix}.index cannot be read: {reason(error)}.") from error
            except Exception:  # Damaged files raise many kinds of exceptions
                print(f"The checkpoint {prefix} is damaged and is ignored.", file=sys.stderr)
        exports = [file.name for file in run_folder.written(self.folder, self.name)]
        exports = [name for name in exports if not name.startswith(".")]
        if any(epochs) or exports:  # Otherwise the run was killed before its first checkpoint
            what = "damaged" if epochs else f"missing, but it has {', '.join(exports[:3])}"
            problem = f"The run in {self.folder} cannot be resumed: its checkpoints are {what}."
            raise UserError(f"{problem}\nChoose another --output-dir, or start over with --fresh.")
        return None

    def copy_from_chief(self, epoch):
        """Copy the checkpoint of an epoch from the first worker to all other workers."""
        if is_alone():
            return
        files = run_folder.checkpoint_files(self.folder).get(epoch, [])
        names = json.loads(bytes_of_chief(json.dumps([file.name for file in files]).encode()))
        for k, name in enumerate(names):
            content = bytes_of_chief(files[k].read_bytes() if is_chief() else b"")
            if not is_chief():
                (self.folder / "checkpoints").mkdir(exist_ok=True)
                (self.folder / "checkpoints" / name).write_bytes(content)
