"""Files that are replaced as a whole or not at all, and JSON files with a digest."""

import contextlib
import glob
import hashlib
import json
import math
import os
import re
import tempfile
import time

from common.program.errors import UserError, reason

A_DAY = 24 * 60 * 60  # seconds


@contextlib.contextmanager
def replacing(path, own=""):
    """Yield a temporary path with the suffix of `path`, and rename that file to `path` at the end.

    If the block raises an exception, `path` keeps its content and the temporary file is deleted. An
    OSError gets `path` as its file name. `own` is part of the temporary name; it tells processes
    apart where no lock keeps them out.
    """
    temporary = path.with_name(f".{path.stem}{own}.partial{path.suffix}")
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):  # an error about another file
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # the folder may not be writable
            temporary.unlink(missing_ok=True)


def replacing_unlocked(path):
    """Return `replacing(path)` with a temporary name that contains the number of this process.

    A killed process can leave such a file behind. It is deleted when it is older than a day.
    """
    with contextlib.suppress(OSError):
        for old in path.parent.glob(f".{glob.escape(path.stem)}.[0-9]*.partial{path.suffix}"):
            if old.lstat().st_mtime < time.time() - A_DAY:
                old.unlink()
    return replacing(path, f".{os.getpid()}")


def check_writable(folder):
    """Raise OSError, with the folder as its file name, if no file can be created in a folder."""
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


def regular(path):
    """Return `path` if it is a regular file. Raise FileNotFoundError, or UserError if it is not.

    Reading from a named pipe would block for ever.
    """
    path.stat()
    if not path.is_file():
        raise UserError(f"{path} is not a regular file. Move it elsewhere.")
    return path


def read_json(path, form=None):
    """Return the dict that `write_json` wrote to a file.

    Raises OSError if the file cannot be read. Raises UserError if it is not JSON, or was changed
    after it was written.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.pop("digest", None) != _digest(content):
            raise ValueError("it was changed after it was written")
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: {reason(error)}. The command that wrote it writes it again."
        ) from error
    return content


def fits(value, form):
    """Return whether a JSON value has a form.

    A form is one of: a type; a dict with the forms of required keys; a list with the form of every
    element; a function that returns whether the value is valid.
    """
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], one) for key, one in form.items()
        )
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(element, form[0]) for element in value)
    return type(value) is form if isinstance(form, type) else form(value)


def is_text(value):
    """Return whether a JSON value is a string that can be encoded as UTF-8."""
    return type(value) is str and not re.search("[\ud800-\udfff]", value)


def is_number(value):
    """Return whether a JSON value is a number that fits a float. Infinity fits, NaN does not."""
    try:
        return type(value) in (int, float) and not math.isnan(float(value))
    except OverflowError:
        return False
