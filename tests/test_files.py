"""Atomic files, JSON files and error messages: common/program/files.py and errors.py."""

import contextlib
import errno
import os
import pkgutil
from unittest.mock import Mock

from common.program.errors import UserError, reason
from common.program.files import WAITS, delete, read_json, replacing, replacing_unlocked, write_json

import pytest
import tensorflow as tf


@pytest.mark.parametrize(("error", "content"), [(KeyboardInterrupt, "old"), (None, "new")])
def test_a_file_is_replaced_as_a_whole_or_not_at_all(error, content, tmp_path):
    path = tmp_path / "a.png"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing(path, own=".1") as file:
        assert file.suffix == ".png"
        file.write_text("new")
        assert path.read_text() == "old"
        if error:
            raise error
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_killed_processes_are_deleted_after_a_day(tmp_path):
    old, new, other = (tmp_path / f".{name}.partial.md" for name in ("a.1", "a.2", "b.3"))
    for path in (old, new, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    with replacing_unlocked(tmp_path / "a.md") as partial:
        partial.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.md", new, other])


def test_a_file_in_use_is_replaced_or_deleted_when_it_is_free(tmp_path, monkeypatch):
    """Simulate a lock of Windows: os.replace and unlink raise PermissionError a number of times."""
    path, wait = tmp_path / "a.csv", Mock()
    path.write_text("old")

    def hold(name, times):
        errors, real = [PermissionError(errno.EACCES, "in use")] * times, pkgutil.resolve_name(name)
        held = lambda *args: real(*args) if not errors else Mock(side_effect=errors.pop())()  # noqa: E731
        monkeypatch.setattr(name, held)

    monkeypatch.setattr("time.sleep", wait)
    hold("os.replace", len(WAITS))
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert 2 < sum(seconds for (seconds,), _ in wait.call_args_list) < 5
    hold("os.replace", len(WAITS) + 1)
    with pytest.raises(PermissionError, match=r"a\.csv"), replacing(path) as partial:
        partial.write_text("newer")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
    hold("pathlib.Path.unlink", len(WAITS))
    delete(path)
    assert not path.exists()


def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITERS = {  # the file that the error must name, and a function that fails to write it
    "gone/a.csv": lambda file: file.touch(),
    "a.csv": full,
    "b.csv": lambda file: file.with_name("b.csv").read_text(),
    "folder": lambda file: file.touch(),
}


@pytest.mark.parametrize("named", WRITERS)
def test_an_error_names_the_file_that_cannot_be_written(named, tmp_path):
    path = tmp_path / named.replace("b.", "a.")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=named) as error, replacing(path) as file:
        WRITERS[named](file)
    assert str(error.value.filename) == str(tmp_path / named)
    assert error.value.errno in (errno.ENOENT, errno.ENOSPC, errno.EISDIR)


GOOD = {"flags": {"ü": None}, "losses": [{"epoch": 1}, {"epoch": float("inf"), "mse": 0.1}]}
BAD = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"1" * 5000, b"[]", b'{"flags": {}}']


def test_json_is_read_back_and_damage_is_reported(tmp_path):
    path = tmp_path / "é.json"
    write_json(path, GOOD)
    assert read_json(path) == GOOD
    for content in (*BAD, path.read_bytes().replace(b"0.1", b"0.2")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"é\.json"):
            read_json(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_json(path)


def test_reason_is_the_last_line_of_a_message():
    assert reason(ValueError("a\nb. \n")) == "b"
    assert reason(KeyError()) == "KeyError"
    error = tf.errors.NotFoundError(None, None, "{{node x}} no file [Op:Read]")
    assert reason(error) == "no file"
