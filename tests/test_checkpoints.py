"""Runs that were killed, found the disk full or have damaged checkpoints are resumed exactly."""

import itertools
import os
import pkgutil
import random
import re
import shutil
import signal
import sys
import time
from unittest.mock import Mock

from common.load import load_run
from common.program.files import write_json
from common.training.checkpoints import Checkpoints
from common.training.run import Run

import pytest
import small_runs
import tensorflow as tf
from small_runs import EPOCHS, check_end, check_files, folder, script, soak, state
from support import SCRIPTS, cut, losses, snapshot

pytest.importorskip("fcntl", reason="needs kills and forks")  # not on Windows


def test_two_runs_with_the_same_seed_are_identical(tmp_path):
    flags = ("--batch-size", 60, "--epochs", 1)  # a batch of 60 is computed in parts
    places = [(tmp_path / place, model) for place in "ab" for model in SCRIPTS]
    for one in [script(model, out, *flags) for out, model in places]:
        one.expect(0)
    for model in SCRIPTS:
        assert state(folder(tmp_path / "a", model)) == state(folder(tmp_path / "b", model))


def die_at_file_operation(run, count):
    """Kill this process just before it opens, renames or removes a file in `run` again."""
    numbers = itertools.count(1)

    def hook(event, args):
        on_file = event in ("open", "os.rename", "os.remove") and run in str(args[0])
        if on_file and next(numbers) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def die_halfway(run):
    """Truncate the temporary files in `run`, and kill this process."""
    for file in (files := [path for path in run.rglob("*.partial*") if path.is_file()]):
        cut(file)
    assert files
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_killed_while_it_wrote_a_file_is_resumed(whole, copied, tmp_path):
    run, image = copied("mmd"), "matplotlib.backends.backend_agg.FigureCanvasAgg.print_png"
    settings = "pathlib.Path.write_text"
    for writer in ("csv.DictWriter.writerows", image, settings, "keras.Model.save"):  # in turn
        prepare = (small_runs.after, writer, die_halfway, run)
        script("mmd", tmp_path, prepare=prepare).expect(-signal.SIGKILL)
        check_files(run)
        assert list(run.rglob(".*.partial*"))
    check_end("mmd", tmp_path, whole)


HALVES = [(EPOCHS, "index"), (EPOCHS, "data-00000-of-00001"), (EPOCHS, None), (0, "index")]


@pytest.mark.parametrize(("epoch", "suffix"), HALVES)
def test_a_run_killed_while_writing_a_checkpoint_is_resumed(epoch, suffix, whole, copied, tmp_path):
    """The kill leaves half an index, data without an index, or TensorFlow's temporary folder."""
    run = copied("mmd", done=suffix is None)
    checkpoints, files = run / "checkpoints", [f"ckpt-{epoch}_temp/part-00000-of-00001.index"]
    files += [f"ckpt-{epoch}.{suffix}" if suffix else f"ckpt-{EPOCHS}.index.tempstate1"]
    content = (checkpoints / f"ckpt-2.{suffix or 'index'}").read_bytes()
    if epoch == 0:  # there is nothing else
        shutil.rmtree(run)
    for number in {epoch, max(0, epoch - 1)}:
        (checkpoints / f"ckpt-{number}_temp").mkdir(parents=True)
    for name in files:
        (checkpoints / name).write_bytes(content[: len(content) // 2])
    others = [checkpoints / name for name in ("ckpt-1_temporary", "ckpt-1.index.tempstate")]
    others[0].mkdir()
    others[1].touch()
    copy = checkpoints / "ckpt-2 copy.index"  # a file of the user
    copy.touch()
    check_end("mmd", tmp_path, whole, others)
    assert copy.exists()


@soak(range(100, 120))
@pytest.mark.parametrize("model", SCRIPTS)
def test_killed_runs_are_resumed_exactly(model, seed, rounds, whole, tmp_path):
    """Kill runs at random file operations and moments, and damage exports in between."""
    rng, run, kills, spoilt = random.Random(seed), folder(tmp_path, model), 0, False
    while kills < rounds:
        if rng.random() < 0.6:
            prepare = (die_at_file_operation, str(run), rng.randint(1, 40))
            one = script(model, tmp_path, prepare=prepare)
        else:
            one = script(model, tmp_path)
            one.started.wait(60)
            time.sleep(rng.uniform(0, 3))
            one.process.kill()
        status, output = one.end()
        assert status in (0, -signal.SIGKILL), output
        spoilt = spoilt and "(epoch)" not in output
        if not spoilt:  # or all files were written again
            check_files(run)
        if status == 0:  # the run ended before the kill
            assert state(run) == state(folder(whole, model))
            shutil.rmtree(run)
            continue
        kills += 1
        if rng.random() < 1 / 3:
            files, spoilt = small_runs.exports(run), True
            for path in rng.sample(files, rng.randint(0, len(files))):
                rng.choice(small_runs.SPOILS)(path)
    check_end(model, tmp_path, whole)


def test_fewer_epochs_end_a_stopped_run_where_it_is(here, copied, monkeypatch):
    run = copied("mmd")
    before = snapshot(run / "checkpoints")
    for epochs in (EPOCHS - 1, 1):  # as many epochs as are trained, and fewer
        here("mmd", "--epochs", epochs)
        assert load_run(run).epochs == len(losses(run)) == EPOCHS - 1
        assert load_run(run).flags["epochs"] == epochs
        assert snapshot(run / "checkpoints") == before  # a kill could damage a replaced one
    weights = load_run(run).fingerprint
    monkeypatch.setattr(Run, "epochs", lambda _: ())  # as if it was stopped at once
    here("mmd", "--epochs", 9)
    assert (load_run(run).epochs, load_run(run).fingerprint) == (EPOCHS - 1, weights)
    assert load_run(run).flags["epochs"] == 9


def write_old_form(patch):
    """Write settings as earlier versions did: flags.epochs is the epoch of the models."""

    def old_form(settings):
        flags = dict(settings["flags"])
        flags["epochs"] = settings.get("trained_epochs", flags["epochs"])
        return {k: v for k, v in settings.items() if k != "trained_epochs"} | {"flags": flags}

    def save(self, settings, losses, save=Checkpoints.save):
        save(self, old_form(settings), losses)

    patch.setattr(Checkpoints, "save", save)
    old = "common.training.exports.write_json"
    patch.setattr(old, lambda file, settings: write_json(file, old_form(settings)))


def test_runs_of_earlier_versions_are_loaded_and_resumed(here, whole, tmp_path, monkeypatch):
    run = folder(tmp_path, "mmd")
    with monkeypatch.context() as patch:
        write_old_form(patch)
        here("mmd", "--epochs", 1)
    assert "trained_epochs" not in (run / "settings.json").read_text()
    assert load_run(run).epochs == 1
    here("mmd", "--epochs", 1)
    assert load_run(run).settings["trained_epochs"] == 1
    with monkeypatch.context() as patch:  # extended to 3 epochs, but stopped after 2
        write_old_form(patch)
        patch.setattr(Run, "epochs", lambda self, all=Run.epochs: itertools.islice(all(self), 1))
        here("mmd")
    assert load_run(run).flags["epochs"] == load_run(run).epochs == 1
    with monkeypatch.context() as patch:  # stopped at once
        patch.setattr(Run, "epochs", lambda _: ())
        here("mmd")
    assert (load_run(run).flags["epochs"], load_run(run).epochs) == (EPOCHS, 1)
    here("mmd")
    assert state(run)[:4] == state(folder(whole, "mmd"))[:4]


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_damaged_checkpoints_are_reported_and_skipped(suffix, whole, copied, here):
    run = copied("mmd")
    for path in run.glob("checkpoints/ckpt-2.*"):  # of another epoch than its name says
        shutil.copy(path, path.with_name(path.name.replace("2", "7", 1)))
    tf.train.Checkpoint(x=tf.Variable(1)).write(str(run / "checkpoints" / "ckpt-5"))  # of no run
    cut(run / "checkpoints" / f"ckpt-2{suffix}")
    output = here("mmd")
    assert re.findall(r"ckpt-(\d) is damaged", output) == ["7", "5", "2"]
    assert re.findall(r"Losses \(epoch\): (\d)", output) == ["2", "3"]
    for path in run.glob("checkpoints/ckpt-[57].*"):
        path.unlink()
    assert state(run) == state(folder(whole, "mmd"))


def test_models_are_deleted_if_their_checkpoint_is_damaged(copied, here, monkeypatch):
    run = copied("mmd", done=True)
    cut(run / "checkpoints" / f"ckpt-{EPOCHS}.index")
    monkeypatch.setattr(Run, "epochs", lambda _: [])  # as if it was stopped at once
    here("mmd", "--epochs", 9)
    assert not list(run.glob("*.keras"))


def keep_only(run, name):
    for path in run.rglob("*"):
        if path.is_file() and path.name not in (name, ".lock"):
            path.unlink()


REFUSALS = {  # what the message names, and how to get there
    "checkpoints are damaged": lambda run, _: [*map(cut, run.glob("checkpoints/*.data*"))],
    "settings.json": lambda run, _: keep_only(run, "settings.json"),
    "mmd_grid_epoch_2.png": lambda run, _: keep_only(run, "mmd_grid_epoch_2.png"),
    "cvae": lambda run, whole: shutil.copytree(
        folder(whole, "cvae") / "checkpoints", run / "checkpoints", dirs_exist_ok=True
    ),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_a_run_that_cannot_be_resumed_is_refused_and_kept(named, here, whole, copied):
    run = copied("mmd")
    REFUSALS[named](run, whole)
    before = snapshot(run)
    error = here("mmd", status=2).partition("error: ")[2]
    assert named in error
    assert snapshot(run) == before


def limit_file_size(name, size):
    """Let no file grow larger than `size` bytes in the function with this name: a full disk."""
    import resource

    before, function = resource.getrlimit(resource.RLIMIT_FSIZE), pkgutil.resolve_name(name)

    def limited(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        function(*args)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    pytest.MonkeyPatch().setattr(name, limited)


def test_a_full_disk_is_reported_and_the_run_is_resumed_later(whole, tmp_path):
    full = {
        "clothes_epoch_0.png": (0, "common.training.exports.Exports.write", 20_000),
        "error: {}/checkpoints": (2, "common.training.checkpoints.Checkpoints.save", 600_000),
    }
    for named, (status, *limits) in full.items():
        prepare = (limit_file_size, *limits)
        output = script("mmd", tmp_path, "--fresh", prepare=prepare).expect(status)
        assert named.format(folder(tmp_path, "mmd")) in output
        assert "Traceback" not in output
        check_files(folder(tmp_path, "mmd"))
        assert not list(tmp_path.rglob(".*.partial*"))
    check_end("mmd", tmp_path, whole)


@pytest.mark.parametrize("kind", [tf.errors.UnknownError, tf.errors.PermissionDeniedError])
def test_a_checkpoint_is_written_when_its_file_is_free(kind, here, whole, tmp_path, monkeypatch):
    """Simulate Windows, where TensorFlow cannot rename a file that another program has opened."""
    held = Mock(side_effect=[kind(None, None, "Failed to rename: Access is denied")] * 2)
    real = tf.train.Checkpoint.write
    monkeypatch.setattr(
        tf.train.Checkpoint, "write", lambda *args: held() if held.call_count < 2 else real(*args)
    )
    assert "denied" not in here("mmd")
    assert state(folder(tmp_path, "mmd")) == state(folder(whole, "mmd"))


def test_an_epoch_without_a_checkpoint_is_trained_again(here, whole, copied, monkeypatch):
    run = copied("mmd")
    full = Mock(side_effect=tf.errors.ResourceExhaustedError(None, None, "no space"))
    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", full)
        assert f"after epoch {EPOCHS - 1} of {EPOCHS}" in here("mmd", status=2)
    here("mmd")
    assert state(run) == state(folder(whole, "mmd"))
