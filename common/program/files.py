"""Replace files completely or not at all, and protect JSON files with a digest."""

import contextlib
import glob
import hashlib
import json
import os
import tempfile
import time

from common.program.errors import UserError, reason

WAITS = (0.1, 0.2, 0.4, 0.8, 1.6)  # seconds that `retrying` waits between attempts


def retrying(action, *args, errors=PermissionError):
    """Return `action(*args)`. If it raises one of `errors`, repeat the call for 3 seconds.

    Windows cannot replace or delete a file while another program, such as a virus scanner, has the
    file open.
    """
    for wait in WAITS:
        try:
            return action(*args)
        except errors:
            time.sleep(wait)
    return action(*args)


def delete(path):
    """Delete a file if it exists."""
    retrying(path.unlink, True)


@contextlib.contextmanager
def replacing(path, own=""):
    """Yield a temporary path for a new file, and rename the file to `path` after the block.

    If the block raises an exception, the old file at `path` is kept. An OSError gets `path` as its
    file name. The temporary path has the suffix of `path`. `own` is part of the temporary name,
    which must be unique if other processes can write.
    """
    temporary = path.with_name(f".{path.stem}{own}.partial{path.suffix}")
    try:
        delete(temporary)
        yield temporary
        retrying(os.replace, temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):  # about another file
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # The folder may be read-only
            temporary.unlink(missing_ok=True)


def replacing_unlocked(path):
    """Return `replacing(path)`, with a temporary file that only this process uses.

    Use this function if several processes may write the file at the same time. Temporary files that
    killed processes left behind are deleted after a day.
    """
    with contextlib.suppress(OSError):
        for old in path.parent.glob(f".{glob.escape(path.stem)}.[0-9]*.partial{path.suffix}"):
            if old.lstat().st_mtime < time.time() - 24 * 60 * 60:
                old.unlink()
    return replacing(path, f".{os.getpid()}")


def check_writable(folder):
    """Raise OSError with the name of the folder if no file can be created in the folder."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def write_json(path, content):
    """Write a dict as indented JSON, together with a digest that `read_json` checks."""
    content = {**content, "digest": _digest(content)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _digest(content):
    text = json.dumps({name: value for name, value in content.items() if name != "digest"})
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path):
    """Return the dict that `write_json` wrote to a file.

    Raises OSError if the file cannot be read, and UserError if its content has changed.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.pop("digest", None) != _digest(content):
            raise ValueError("the file was changed after it was written")
    except (ValueError, RecursionError) as error:
        message = f"{path} is damaged: {reason(error)}. Repeat the command that wrote it."
        raise UserError(message) from error
    return content
