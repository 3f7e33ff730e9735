"""The folder of a run: its lock, and what --fresh deletes."""

import errno
import os
import signal
from pathlib import Path
from unittest.mock import Mock

from common.training.folder import FIGURES

import pytest
from small_runs import folder, script
from support import call, losses, snapshot

pytestmark = pytest.mark.usefixtures("no_training")


def written(model, figures, checkpoints):
    """Return the names of the files of a finished run with figures and checkpoints of epochs."""
    files = {"losses.csv", "settings.json", "encoder.keras", "decoder.keras", ".lock"}
    files |= {f"{model}_{kind}_epoch_{epoch}.png" for kind in FIGURES for epoch in figures}
    suffixes = ("index", "data-00000-of-00001")
    return files | {f"checkpoints/ckpt-{epoch}.{s}" for epoch in checkpoints for s in suffixes}


def test_a_run_writes_these_files(whole):
    found = {path.as_posix() for path in snapshot(folder(whole, "cvae"))}
    (events,) = [name for name in found if name.startswith("tensorboard/events.out.tfevents.")]
    assert found == {events} | written("cvae", figures=(0, 2, 3), checkpoints=(1, 2, 3))


@pytest.mark.skipif(os.name != "posix", reason="needs forks")
def test_a_second_process_is_refused_and_the_other_script_is_not(here, tmp_path):
    first = script("mmd", tmp_path, "--epochs", 1000, "--plot-every", 1000)
    first.wait_for("(epoch): 1:")
    output = here("mmd", "--epochs", 1000, status=2)
    assert str(folder(tmp_path, "mmd")) in output
    assert "--output-dir" in output
    here("cvae", "--epochs", 1)
    assert first.process.is_alive()
    first.end(signal.SIGKILL)  # the lock ends with the process
    epoch = max(int(path.stem[5:]) for path in tmp_path.rglob("ckpt-*.index"))
    here("mmd", "--epochs", epoch + 1)
    assert len(losses(folder(tmp_path, "mmd"))) == epoch + 1


def test_a_file_system_without_locks_is_refused(here, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=error))
    output = here("mmd", status=2)
    assert f"{folder(tmp_path, 'mmd')}/.lock" in output
    assert os.strerror(errno.ENOLCK) in output
    assert "--output-dir" in output


def test_a_folder_in_place_of_the_lock_is_named(here, tmp_path):
    lock = folder(tmp_path, "mmd") / ".lock"
    lock.mkdir(parents=True)
    assert str(lock) in here("mmd", status=2)


def test_fresh_deletes_the_files_of_the_run_and_nothing_else(here, copied):
    run, other = copied("cvae", done=True), copied("mmd", done=True)
    kept = {"notes.txt", "checkpoints/ckpt-2 copy.index", "a/encoder.keras", "my.png"}
    kept |= {"my_grid.gif", "my_clothes_epoch_3.png", ".my.partial.txt", "mmd_grid_epoch_1.png"}
    kept.add("tensorboard/events.out.tfevents.1700000000.host.1.0.v2")
    folders = [run / "checkpoints" / f"ckpt-1.{name}" for name in ("bak", "index.x", "data.old")]
    folders += [run / ".deleted-by-fresh-notes", run / ".fresh-12345678", run / "a"]
    for one in (*folders, run / "checkpoints/ckpt-9_temp"):
        one.mkdir()
    for name in (*kept, "cvae_grid.gif", "metrics.json", ".losses.partial.csv"):
        (run / name).touch()
    before = snapshot(other)
    here("cvae", "--epochs", 1, "--seed", 1, "--plot-every", 9, "--fresh")
    assert snapshot(other) == before
    assert all(one.is_dir() for one in folders)
    found = {path.as_posix() for path in snapshot(run)}
    events = [name for name in found - kept if name.startswith("tensorboard/")]
    assert len(events) == 1
    assert found == written("cvae", (0, 1), (0, 1)) | kept | {*events}
    assert not (run / "checkpoints" / "ckpt-9_temp").exists()


@pytest.mark.parametrize(("name", "back"), [
    ("mmd_grid_epoch_2.png", True), ("checkpoints/ckpt-1.index", True), ("losses.csv", False)
])  # fmt: skip
def test_fresh_deletes_either_all_files_or_none(name, back, here, copied, monkeypatch):
    """If a file cannot be deleted, the others are moved back. If that fails too, they are kept."""
    run, real, failed = copied("mmd", done=True), os.rename, []
    before = snapshot(run)

    def rename(old, new):
        if old == run / name or (failed and not back):
            failed.append(old)
            raise PermissionError(errno.EPERM, "Operation not permitted", str(old), None, str(new))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    output = here("mmd", "--fresh", status=2)
    assert str(failed[-1]) in output
    assert sorted(snapshot(run).values()) == sorted(before.values())
    if back:
        assert snapshot(run) == before
        assert not list(run.glob(".deleted-*"))


def test_a_checkpoint_folder_that_cannot_be_read_is_named(here, copied, monkeypatch):
    run, real = copied("mmd"), os.listdir

    def listdir(path):
        if Path(path).name == "checkpoints":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    output = here("mmd", status=2)
    assert f"{run / 'checkpoints'}: Permission denied" in output
    assert "--fresh" not in output


@pytest.mark.skipif(os.name != "posix", reason="Windows does not allow these names")
@pytest.mark.parametrize("name", ["a[1]", "a\\b"])
def test_a_path_that_tensorflow_treats_as_a_pattern_is_refused(name, tmp_path, capsys):
    assert call("mmd", "--dataset", "digits", "--output-dir", tmp_path / name) == 2
    assert "--output-dir" in capsys.readouterr().err
    assert not (tmp_path / name).exists()
