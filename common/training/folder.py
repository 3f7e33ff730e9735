"""The folder of a run: its paths, its lock, and the files that --fresh deletes."""

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path

from common.program.errors import UserError

from filelock import FileLock, Timeout

MODELS = ("cvae", "mmd")  # names of the folders of runs
FIGURES = ("clothes", "latentspace", "grid", "reconstructions")  # kinds of figures
PSEUDO_INPUTS = "pseudo_inputs"  # a kind that only runs with a VampPrior have
# This pattern matches all files of a run called NAME, except checkpoints. FIGURE is NAME_KIND
WRITTEN = (
    r"(settings|metrics)\.json|losses\.csv|((en|de)coder|prior)\.keras|FIGURE(_epoch_\d+\.png|\.gif)|"
    r"tensorboard/events\.out\.tfevents\..+\.NAME|"
    r"\.(settings|metrics|losses|encoder|decoder|prior|FIGURE(_epoch_\d+)?)(\.\d+)?\.partial\.\w+"
).replace("FIGURE", f"NAME_({'|'.join((*FIGURES, PSEUDO_INPUTS))})")
# TensorFlow starts a checkpoint in a folder with the suffix _temp, and its index as .tempstate
CHECKPOINT = re.compile(r"ckpt-(\d+)(?:\.index|\.data-\d+-of-\d+|_temp)(?:\.tempstate\d+)?")
ASIDE = ".deleted-by-fresh-"  # start of the name of a folder


@contextlib.contextmanager
def opened(folder, name, fresh):
    """Create and lock the folder of the run called `name`. With `fresh`, delete the run in it.

    The lock ends with the process. Raises UserError if the folder cannot be locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        acquired = lock.acquire(timeout=0)
    except OSError as error:
        used, other = isinstance(error, Timeout), error.strerror or error
        problem = "another process uses the run" if used else other
        advice = "Try again later, or choose another --output-dir."
        raise UserError(f"{lock.lock_file} cannot be locked: {problem}.\n{advice}") from error
    with acquired:
        if fresh:
            delete(folder, name)
        yield


def figure(folder, name, kind, epoch):
    """Return the path of a figure of the run called `name`."""
    return folder / f"{name}_{kind}_epoch_{epoch}.png"


def prefix(folder, epoch):
    """Return the path of the checkpoint of an epoch, without the suffixes of its files."""
    return folder / "checkpoints" / f"ckpt-{epoch}"


def checkpoint_files(folder):
    """Return a dict from each epoch, the latest epoch first, to the files of its checkpoint.

    The files include what TensorFlow left when it was killed. Raises OSError.
    """
    checkpoints, found = folder / "checkpoints", {}
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []  # Path.glob would hide errors
    for match in filter(None, map(CHECKPOINT.fullmatch, sorted(names))):
        found.setdefault(int(match[1]), []).append(checkpoints / match[0])
    return dict(sorted(found.items(), reverse=True))


def delete_unfinished(folder):
    """Delete the files and folders that TensorFlow left when it was killed, where possible."""
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
    """Delete what the run called `name` has written, and nothing else.

    All files are first moved to one folder. If that fails, they are moved back and OSError is
    raised.
    """
    checkpoints = checkpoint_files(folder).values()
    aside, moved = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder)), {}
    try:
        for number, file in enumerate([*written(folder, name), *itertools.chain(*checkpoints)]):
            file.rename(aside / str(number))
            moved[aside / str(number)] = file
    except OSError:
        for new, file in moved.items():
            new.rename(file)
        aside.rmdir()
        raise
    for old in folder.glob(f"{ASIDE}????????"):  # includes folders of processes that were killed
        shutil.rmtree(old, ignore_errors=True)
    for inner in ("checkpoints", "tensorboard"):
        with contextlib.suppress(OSError):  # the folder is not empty or does not exist
            (folder / inner).rmdir()
