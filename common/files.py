"""Files that appear whole or not at all, files that are what they should be, errors in words."""

import contextlib
import glob
import hashlib
import json
import math
import os
import re
import tempfile
import time

A_DAY = 24 * 60 * 60  # seconds


class UserError(Exception):
    """What the person at the keyboard can mend: shown as its message alone."""

    status = 2  # to exit with


def reason(error):
    """The last line of an exception's message, without TensorFlow's trimmings."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = message.strip().splitlines()[-1]
    return line.split("}} ")[-1].split(" [Op:")[0].rstrip(". ")


@contextlib.contextmanager
def replacing(path, own=""):
    """A temporary path of the same suffix that takes the place of `path` if all goes well.

    An OSError in the block, or of the replacing, carries the name of `path`. `own` makes the
    temporary name this process's own, where no lock keeps others away. The temporary file is there
    from the beginning, new and empty, whatever was called so: through a link, another file would be
    overwritten.
    """
    temporary = path.with_name(f".{path.stem}{own}.partial{path.suffix}")
    try:
        if temporary.is_dir() and not temporary.is_symlink():
            raise UserError(f"{temporary} is in the way: move that folder elsewhere.")
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):  # of another file
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing could be written
            temporary.unlink(missing_ok=True)


def replacing_unlocked(path):
    """`replacing` where no lock keeps others away: the temporary path is this process's own.

    What a process that was killed has left of its own is removed after a day.
    """
    with contextlib.suppress(OSError):
        for old in path.parent.glob(f".{glob.escape(path.stem)}.[0-9]*.partial{path.suffix}"):
            if old.lstat().st_mtime < time.time() - A_DAY:
                old.unlink()
    return replacing(path, f".{os.getpid()}")


def check_writable(folder):
    """Raise OSError, with its name, if no file can be made in a folder, and so none deleted."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def write_json(path, content):
    """Write a dict as people read it, and a digest of it, by which `read_json` knows it again."""
    content = {**content, "digest": _digest(content)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _digest(content):
    text = json.dumps({name: value for name, value in content.items() if name != "digest"})
    return hashlib.sha256(text.encode()).hexdigest()


def regular(path):
    """`path`, to read of; raises UserError for a pipe, which would wait, a folder and such."""
    path.stat()
    if not path.is_file():
        raise UserError(f"{path} is there, but is no regular file.")
    return path


def read_json(path, form):
    """What `write_json` wrote to a file, of a form, as of `fits`.

    Raises UserError if it is no regular file, no JSON, of another form or not as it was written;
    FileNotFoundError.
    """
    try:
        content = json.loads(regular(path).read_bytes())
        if not fits(content, form):
            raise ValueError("values are missing or of the wrong kind")
        if content.pop("digest", None) != _digest(content):
            raise ValueError("it is not as it was written")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {reason(error)}.") from error
    return content


def fits(value, form):
    """Whether a JSON value is of a form.

    A form is a type, a dict of the forms of keys that have to be there, a list of the form of all
    elements, or a function that tells.
    """
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], one) for key, one in form.items()
        )
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(element, form[0]) for element in value)
    return type(value) is form if isinstance(form, type) else form(value)


def is_text(value):
    """Whether a JSON value is text that can be written: without halves of surrogate pairs."""
    return type(value) is str and not re.search("[\ud800-\udfff]", value)


def is_number(value):
    """Whether a JSON value is a number that fits a float; infinity is one, NaN none."""
    try:
        return type(value) in (int, float) and not math.isnan(float(value))
    except OverflowError:
        return False
