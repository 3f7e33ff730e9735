"""The folder of a run: its paths, its lock, and what --fresh deletes."""

import contextlib
import errno
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path

from common.program.errors import UserError
from common.program.files import check_writable

from filelock import FileLock, Timeout

MODELS = ("cvae", "mmd")  # names of the folders of runs
FIGURES = ("clothes", "latentspace", "grid", "reconstructions")  # kinds of figures, in file names
PSEUDO_INPUTS = "pseudo_inputs"  # a further kind, for runs with a VampPrior
# The files that a run called NAME writes, except checkpoints. FIGURE is NAME_KIND
WRITTEN = (
    r"(settings|metrics)\.json|losses\.csv|((en|de)coder|prior)\.keras|FIGURE(_epoch_\d+\.png|\.gif)|"
    r"tensorboard/events\.out\.tfevents\..+\.NAME|"
    r"\.(settings|metrics|losses|encoder|decoder|prior|FIGURE(_epoch_\d+)?)(\.\d+)?\.partial\.\w+"
).replace("FIGURE", f"NAME_({'|'.join((*FIGURES, PSEUDO_INPUTS))})")
CHECKPOINT = re.compile(r"ckpt-(\d+)(\.index|\.data-\d+-of-\d+|_temp)(\.tempstate\d+)?")
TEMPORARY = "_temp"  # suffix of the folder in which TensorFlow starts a checkpoint
ASIDE = ".deleted-by-fresh-"  # prefix of the folder for files that --fresh will delete


@contextlib.contextmanager
def locked(folder):
    """Keep other processes out of the folder of a run. Raise UserError if that is not possible.

    The lock ends with the process, even if the process is killed.
    """
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another process uses the run in {folder}.\nWait for it, or choose another "
            "--output-dir."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise UserError(
            f"{lock.lock_file} cannot be locked: {error.strerror or error}.\nChoose an "
            "--output-dir on a file system that can lock files."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def opened(folder, name, fresh):
    """Create and lock the folder of the run called `name`. With `fresh`, delete the run in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if fresh:
            delete(folder, name)
        yield


def figure(folder, name, kind, epoch):
    """Return the path of a figure of the run called `name`."""
    return folder / f"{name}_{kind}_epoch_{epoch}.png"


def prefix(folder, epoch):
    """Return the path of the checkpoint of an epoch, without the suffixes of its files."""
    return folder / "checkpoints" / f"ckpt-{epoch}"


def checkpoint_files(folder, temporary=False):
    """Return the files of the checkpoints: a dict from the epoch to a list, the latest epoch first.

    With `temporary`, it includes folders that TensorFlow left when it was killed. Raises OSError.
    """
    checkpoints, found = folder / "checkpoints", {}
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []  # Path.glob would hide errors
    for name in sorted(names):
        match = CHECKPOINT.fullmatch(name)
        if match and (temporary or match[2] != TEMPORARY):
            found.setdefault(int(match[1]), []).append(checkpoints / name)
    return dict(sorted(found.items(), reverse=True))


def delete_unfinished(folder):
    """Delete what TensorFlow left beside the checkpoints when it was killed, where possible."""
    for file in itertools.chain(*checkpoint_files(folder, temporary=True).values()):
        _, suffix, state = CHECKPOINT.fullmatch(file.name).groups()
        if suffix == TEMPORARY and file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        elif suffix == TEMPORARY or state:
            with contextlib.suppress(OSError):
                file.unlink()


def written(folder, name):
    """Return the files that the run called `name` has written to its folder, except checkpoints."""
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if not f.is_dir()}
    ours = re.compile(WRITTEN.replace("NAME", name))
    return [file for name, file in files.items() if ours.fullmatch(name)]


def delete(folder, name):
    """Delete what the run called `name` has written, and nothing else.

    All files are first moved to one folder. If that fails, they are moved back.

    Raises:
        OSError: a file cannot be deleted. Then all files are still there.
    """
    checkpoints = checkpoint_files(folder, temporary=True).values()
    check_writable(folder)
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
    for old in folder.glob(f"{ASIDE}????????"):  # also the folder of a process that was killed
        shutil.rmtree(old, ignore_errors=True)
    for inner in ("checkpoints", "tensorboard"):
        with contextlib.suppress(OSError):  # the folder is not empty or does not exist
            (folder / inner).rmdir()
