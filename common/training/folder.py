"""Lock the folder of a run, return paths in this folder, and delete the run for --fresh."""

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path

from common.program.errors import UserError
from common.program.files import retrying

from filelock import FileLock, Timeout

MODELS = ("cvae", "mmd")  # names of folders
FIGURES = ("clothes", "latentspace", "grid", "reconstructions")  # kinds of figures
PSEUDO_INPUTS = "pseudo_inputs"  # Only runs with a VampPrior have this kind of figure
# This pattern matches the files of a run called NAME, except checkpoints
WRITTEN = (
    r"(settings|metrics)\.json|losses\.csv|((en|de)coder|prior)\.keras|FIGURE(_epoch_\d+\.png|\.gif)|"
    r"tensorboard/events\.out\.tfevents\..+\.NAME|"
    r"\.(settings|metrics|losses|encoder|decoder|prior|FIGURE(_epoch_\d+)?)(\.\d+)?\.partial\.\w+"
).replace("FIGURE", f"NAME_({'|'.join((*FIGURES, PSEUDO_INPUTS))})")
# TensorFlow first writes a checkpoint to temporary files, with _temp or .tempstate in their names
CHECKPOINT = re.compile(r"ckpt-(\d+)(?:\.index|\.data-\d+-of-\d+|_temp)(?:\.tempstate\d+)?")
ASIDE = ".deleted-by-fresh-"  # prefix of a folder


@contextlib.contextmanager
def opened(folder, name, fresh):
    """Create and lock a run's folder. If `fresh` is true, delete the old run called `name`.

    The lock ends with the process. Raises UserError if the folder cannot be locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        acquired = lock.acquire(timeout=0)
    except OSError as error:
        busy = isinstance(error, Timeout)
        problem = "another process uses the run" if busy else error.strerror or error
        advice = "Try again later, or choose another --output-dir."
        raise UserError(f"{lock.lock_file} cannot be locked: {problem}.\n{advice}") from error
    with acquired:
        if fresh:
            delete(folder, name)
        yield


def figure(folder, name, kind, epoch):
    """Return the path of a figure, such as FOLDER/cvae_grid_epoch_50.png."""
    return folder / f"{name}_{kind}_epoch_{epoch}.png"


def prefix(folder, epoch):
    """Return the path of the checkpoint of an epoch, without the suffixes of its files."""
    return folder / "checkpoints" / f"ckpt-{epoch}"


def checkpoint_files(folder):
    """Return a dict that maps each epoch to its checkpoint files, with the latest epoch first.

    The files include TensorFlow's temporary files. Raises OSError.
    """
    checkpoints, found = folder / "checkpoints", {}
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []  # Path.glob would hide errors
    for match in filter(None, map(CHECKPOINT.fullmatch, sorted(names))):
        found.setdefault(int(match[1]), []).append(checkpoints / match[0])
    return dict(sorted(found.items(), reverse=True))


def delete_unfinished(folder):
    """Delete temporary files and folders that remain if TensorFlow is killed."""
    for file in itertools.chain(*checkpoint_files(folder).values()):
        with contextlib.suppress(OSError):
            if file.name.endswith("_temp"):
                shutil.rmtree(file)
            elif ".tempstate" in file.name:
                file.unlink()


def written(folder, name):
    """Return the files that the run called `name` has written to its folder, except checkpoints."""
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if not f.is_dir()}
    ours = re.compile(WRITTEN.replace("NAME", name))
    return [file for name, file in files.items() if ours.fullmatch(name)]


def delete(folder, name):
    """Delete only the files that the run called `name` has written.

    All files are first moved to a temporary folder. If a file cannot be moved,
    all files are moved back.
    """
    checkpoints = checkpoint_files(folder).values()
    aside, moved = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder)), {}
    try:
        for number, file in enumerate([*written(folder, name), *itertools.chain(*checkpoints)]):
            retrying(file.rename, aside / str(number))
            moved[aside / str(number)] = file
    except OSError:
        for new, file in moved.items():
            retrying(new.rename, file)
        aside.rmdir()
        raise
    for old in folder.glob(f"{ASIDE}????????"):  # Killed processes can leave such folders
        shutil.rmtree(old, ignore_errors=True)
    for inner in ("checkpoints", "tensorboard"):
        with contextlib.suppress(OSError):  # The folder may still contain other files
            (folder / inner).rmdir()
