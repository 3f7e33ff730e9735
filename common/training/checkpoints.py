"""The checkpoints of a run, from which everything else in its folder can be exported."""

import contextlib
import json
import sys

from common.devices.workers import bytes_of_chief, is_alone, is_chief
from common.program.errors import UserError, reason
from common.training import folder as run_folder

import tensorflow as tf

KEPT = 3  # number of checkpoints that are kept


class Document(tf.train.experimental.PythonState):
    """A text in a checkpoint. A strategy does not treat it as a variable of the model."""

    text = ""

    def serialize(self):
        """Return the text to write."""
        return self.text

    def deserialize(self, text):
        """Store the text that was read."""
        self.text = text


class Checkpoints:
    """The checkpoints of one run: models, optimizer, random state, settings and all losses."""

    def __init__(self, folder, name, state):
        """Prepare the checkpoints of the run called `name`; `state` is a dict of trackables."""
        self.folder, self.name, self._document = folder, name, Document()
        self._checkpoint = tf.train.Checkpoint(document=self._document, **state)

    def save(self, settings, losses):
        """Write the checkpoint of epoch `len(losses)`, and delete all but the latest `KEPT`.

        Only the chief of several workers writes. Raises OSError if that fails.
        """
        if not is_chief():
            return
        epoch = len(losses)
        self._document.text = json.dumps({"settings": settings, "losses": losses})
        prefix = run_folder.prefix(self.folder, epoch)
        prefix.parent.mkdir(exist_ok=True)
        try:
            self._checkpoint.write(str(prefix))
        except tf.errors.OpError as error:
            raise OSError(None, reason(error), str(prefix.parent)) from error
        for old, files in run_folder.checkpoint_files(self.folder).items():
            for file in files if old <= epoch - KEPT else []:
                with contextlib.suppress(OSError):  # the new checkpoint is complete
                    file.unlink()

    def restore(self, check):
        """Restore the latest complete checkpoint. Return its settings and losses, or None.

        `check` raises UserError if the settings in the checkpoint do not fit this run. UserError is
        also raised if a checkpoint cannot be read, or if there is a run without a complete one.
        """
        checkpoints = [
            epoch
            for epoch, files in run_folder.checkpoint_files(self.folder).items()
            if any(file.suffix == ".index" for file in files)
        ]
        for epoch in checkpoints:
            prefix = run_folder.prefix(self.folder, epoch)
            try:
                document = self._read_document(epoch)
                check(document["settings"])
                self._checkpoint.read(str(prefix)).assert_consumed()
                return document
            except (UserError, MemoryError):
                raise
            except (PermissionError, tf.errors.PermissionDeniedError) as error:
                raise UserError(f"{prefix}.index cannot be read: {reason(error)}.") from error
            except Exception:  # damaged files raise many kinds of exceptions, such as IndexError
                print(f"The checkpoint {prefix} is damaged and is ignored.", file=sys.stderr)
        exported = [file.name for file in run_folder.written(self.folder, self.name)]
        exported = [name for name in exported if not name.startswith(".")]
        if any(checkpoints) or exported:  # else it was killed at its first checkpoint
            found = "its checkpoints are "
            found += "damaged" if checkpoints else f"missing, but it has {', '.join(exported[:3])}"
            raise UserError(
                f"{self.folder} contains a run that cannot be resumed: {found}.\n"
                "Choose another --output-dir, or start over with --fresh."
            )
        return None

    def _read_document(self, epoch):
        """Return the settings and losses in a checkpoint. Damaged files raise many exceptions."""
        # tf.train.load_checkpoint would follow the list of checkpoints in a folder of that name
        prefix = str(run_folder.prefix(self.folder, epoch))
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        document = json.loads(reader.get_tensor("document/.ATTRIBUTES/py_state"))
        if len(document["losses"]) != epoch:
            raise ValueError("the checkpoint belongs to another epoch")
        return document

    def copy_from_chief(self, epoch):
        """Give every worker the chief's checkpoint of an epoch, before the training starts."""
        if is_alone():
            return
        files = run_folder.checkpoint_files(self.folder).get(epoch, [])
        names = json.loads(bytes_of_chief(json.dumps([file.name for file in files]).encode()))
        for k, name in enumerate(names):
            content = bytes_of_chief(files[k].read_bytes() if is_chief() else b"")
            if not is_chief():
                (self.folder / "checkpoints").mkdir(exist_ok=True)
                (self.folder / "checkpoints" / name).write_bytes(content)
