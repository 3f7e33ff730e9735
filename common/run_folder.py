"""A run's folder: what a run writes there, what keeps others out, and how it is emptied."""

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path

from common.files import UserError, check_writable

from filelock import FileLock, Timeout

FIGURES = ("clothes", "latentspace", "grid", "reconstructions")  # kinds, in file names
PSEUDO_INPUTS = "pseudo_inputs"  # another, of runs with such
WRITTEN = (  # by a run called NAME to its folder, as --fresh deletes it
    r"(settings|metrics)\.json|losses\.csv|((en|de)coder|prior)\.keras|FIGURE(_epoch_\d+\.png|\.gif)|"
    r"tensorboard/events\.out\.tfevents\..+\.NAME|"
    r"\.(settings|metrics|losses|encoder|decoder|prior|FIGURE(_epoch_\d+)?)(\.\d+)?\.partial\.\w+"
).replace("FIGURE", f"NAME_({'|'.join((*FIGURES, PSEUDO_INPUTS))})")
CHECKPOINT = re.compile(r"ckpt-(\d+)(\.index|\.data-\d+-of-\d+|_temp)(\.tempstate\d+)?")
TEMPORARY = "_temp"  # what a folder ends with in which TensorFlow begins one
ASIDE = ".deleted-by-fresh-"  # begins the name of a folder for what is to go


@contextlib.contextmanager
def locked(folder):
    """Keep other processes out of a run's folder; the block is given a function `check`.

    It raises UserError if somebody has deleted the lock, so that others are not kept out.
    """
    lock = FileLock(folder / ".lock")  # does not outlive its process
    try:
        lock.acquire(timeout=0)
    except Timeout:
        busy = f"another process is at the run in {folder}."
        raise UserError(f"{busy}\nWait for it, or choose another --output-dir.") from None
    except OSError as error:  # such as of a file system without locks
        what = f"{lock.lock_file} cannot be locked: {error.strerror or error}."
        remove = "If it is a link or a folder, remove it. Else choose"
        way_out = f"{remove} an --output-dir on a file system that can lock files."
        raise UserError(f"{what}\n{way_out}") from error
    number = os.stat(lock.lock_file).st_ino

    def check():
        with contextlib.suppress(FileNotFoundError):
            if os.stat(lock.lock_file).st_ino == number:
                return
        raise UserError(
            f"{lock.lock_file} was deleted while this process was at the run, so that another may "
            "be, too.\nOnce none is, the same command goes on."
        )

    try:
        yield check
    finally:
        lock.release()


def keep_inside(folder):
    """Raise UserError if a folder in the run's is a link: what it holds is not the run's."""
    for name in ("checkpoints", "tensorboard"):
        if (path := folder / name).is_symlink():
            raise UserError(
                f"{path} is a link, and a run writes and deletes in its own folder alone.\n"
                "Put a folder in its place, or choose another --output-dir."
            )


def figure(folder, name, kind, epoch):
    """The path of a figure of a run called `name`."""
    return folder / f"{name}_{kind}_epoch_{epoch}.png"


def prefix(folder, epoch):
    """What TensorFlow calls the checkpoint of an epoch: its files' paths without the endings."""
    return folder / "checkpoints" / f"ckpt-{epoch}"


def checkpoint_files(folder, temporary=False):
    """The checkpoints' files: lists of paths by epoch, the latest first; raises OSError.

    On request with the `temporary` folders of those at which TensorFlow was killed.
    """
    checkpoints, found = folder / "checkpoints", {}
    names = os.listdir(checkpoints) if checkpoints.is_dir() else []  # glob hides errors
    for name in sorted(names):
        one = CHECKPOINT.fullmatch(name)
        if one and (temporary or one[2] != TEMPORARY):
            found.setdefault(int(one[1]), []).append(checkpoints / name)
    return dict(sorted(found.items(), reverse=True))


def delete_unfinished(folder):
    """Delete what TensorFlow, killed, has left beside the checkpoints; what it cannot, stays."""
    for file in itertools.chain(*checkpoint_files(folder, temporary=True).values()):
        _, ending, state = CHECKPOINT.fullmatch(file.name).groups()
        if ending == TEMPORARY and file.is_dir() and not file.is_symlink():
            shutil.rmtree(file, ignore_errors=True)
        elif ending == TEMPORARY or state:
            with contextlib.suppress(OSError):
                file.unlink()


def written(folder, name):
    """What a run called `name` has written to its folder, but for the checkpoints."""
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*")}
    ours = re.compile(WRITTEN.replace("NAME", name))
    return [file for name, file in files.items() if ours.fullmatch(name)]


def delete(folder, name):
    """Delete what a run called `name` writes, and nothing else; the checkpoints last.

    Raises OSError or UserError where one of it cannot be deleted; then none is. For this, all is
    moved aside first.
    """
    checkpoints = checkpoint_files(folder, temporary=True).values()
    files = [*written(folder, name), *itertools.chain(*checkpoints)]
    for file in files:
        if file.is_dir() and not file.is_symlink() and not file.name.endswith(TEMPORARY):
            raise UserError(f"{file} is a folder, and no run's: move it elsewhere.")
    check_writable(folder)
    aside, moved = Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder)), {}
    try:
        for number, file in enumerate(files):
            file.rename(aside / str(number))
            moved[aside / str(number)] = file
    except OSError:
        for new, file in moved.items():
            new.rename(file)
        aside.rmdir()
        raise
    for old in folder.glob(f"{ASIDE}????????"):  # and what was left by one that was killed
        shutil.rmtree(old, ignore_errors=True)
    for inner in ("checkpoints", "tensorboard"):
        with contextlib.suppress(OSError):  # not empty, or not there
            (folder / inner).rmdir()
