"""Stop anywhere, go on exactly: kills, signals, locks, damage, full disks, bad numbers."""

import csv
import errno
import io
import itertools
import json
import os
import pkgutil
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from unittest.mock import Mock

import mmd_cvae
from common.load import load_run
from common.program.files import read_json
from common.training.run import Run

import h5py
import numpy as np
import pytest
import tensorflow as tf
from support import (
    SCRIPTS,
    Script,
    call,
    cut,
    environment,
    few_digits,
    losses,
    put,
    small_figures,
    snapshot,
)

fcntl = pytest.importorskip("fcntl", reason="kills and forks")  # not on Windows

EPOCHS = 3
FLAGS = f"--dataset digits --epochs {EPOCHS} --plot-every 2 --batch-size 20 --tensorboard".split()
OPERATIONS = ("open", "os.rename", "os.remove")  # on files, as audit hooks call them


def script(model, out, *flags, **kwargs):
    return Script(model, out, *FLAGS, *flags, **kwargs)


def folder(out, model):
    return out / "digits" / model


@pytest.fixture
def here(tmp_path, monkeypatch, short_epochs, capsys):
    """A function that runs a script in this process; return what it says."""

    def here(model, *flags, status=0):
        monkeypatch.setattr(SCRIPTS[model], "load_data", few_digits)
        monkeypatch.setattr("common.training.exports.draw_figures", small_figures)
        found = call(model, *FLAGS, "--output-dir", tmp_path, *flags)
        output = "".join(capsys.readouterr())
        assert found == status, output
        return output

    return here


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of each script that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    for one in [script(model, out) for model in SCRIPTS]:
        one.expect(0)
    return out


@pytest.fixture
def copied(whole, tmp_path):
    """A function from a model to a copy of its run: as it was an epoch before the end, or done."""

    def copied(model, done=False):
        run = shutil.copytree(folder(whole, model), folder(tmp_path, model))
        for path in [*run.glob(f"checkpoints/ckpt-{EPOCHS}.*"), *run.glob("*.keras")]:
            if not done:
                path.unlink()
        return run

    return copied


def read_weights(file):
    """The bytes of the weights in a .keras file."""
    with zipfile.ZipFile(file) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    names = []
    weights.visit(names.append)
    return [weights[name][()].tobytes() for name in names if hasattr(weights[name], "dtype")]


def state(run):
    """All that has to be the same in the end, but for place and time, checked for agreement."""
    rows = losses(run)
    prefix = run / "checkpoints" / f"ckpt-{len(rows)}"
    reader = tf.compat.v1.train.NewCheckpointReader(str(prefix))
    values = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if n[0] != "_"}
    document = json.loads(values.pop("document/.ATTRIBUTES/py_state"))
    values = {name: np.asarray(value).tobytes() for name, value in values.items()}
    with (run / "losses.csv").open() as stream:
        table = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    settings = read_json(run / "settings.json", dict)
    for one in (settings, document["settings"]):
        del one["flags"]["output_dir"]  # the folder may have been copied
    assert document == {"settings": settings, "losses": table}
    models = [sorted(read_weights(run / f"{name}.keras")) for name in ("encoder", "decoder")]
    for name, weights in zip(("encoder", "decoder"), models, strict=True):
        assert weights == sorted(v for k, v in values.items() if re.match(rf"{name}/.*VALUE$", k))
    figures = {path.name: path.read_bytes() for path in run.glob("*.png")}
    return rows, settings, values, models, figures, events(run)


def events(run):
    """Epochs and values of the event files."""
    return sorted(
        (event.step, event.summary.SerializeToString(deterministic=True))
        for file in (run / "tensorboard").iterdir()
        for event in list(tf.compat.v1.train.summary_iterator(str(file)))[1:]
    )


def check_whole_files(run):
    """No file under a final name is half written."""
    for path in run.glob("[!.]*.png"):
        assert path.read_bytes()[-8:-4] == b"IEND", path
    for path in run.glob("settings.json"):
        json.loads(path.read_text())
    for path in run.glob("losses.csv"):
        with path.open() as stream:
            assert all(None not in (*row, *row.values()) for row in csv.DictReader(stream))
        assert path.read_bytes().endswith(b"\n")
    for path in run.glob("[!.]*.keras"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


def check_end(model, out, whole, others=()):
    """The run in `out`, let run to its end, is then as if it had never been stopped."""
    script(model, out).expect(0)
    assert state(folder(out, model)) == state(folder(whole, model))
    left = [path for name in ("*.partial*", "*_temp*", "*.tempstate*") for path in out.rglob(name)]
    assert sorted(left) == sorted(others)  # somebody's


@pytest.mark.slow
def test_one_seed_gives_identical_runs(tmp_path):
    flags = ("--batch-size", 60, "--epochs", 1)  # such a batch goes through in parts
    for out in (tmp_path / "0", tmp_path / "1"):
        for one in [script(model, out, *flags) for model in SCRIPTS]:
            one.expect(0)
    for model in SCRIPTS:
        assert state(folder(tmp_path / "0", model)) == state(folder(tmp_path / "1", model))


def die_at_file_operation(run, count):
    """SIGKILL this process just before its `count`-th opening, renaming or removal in `run`."""
    operations = itertools.count(1)

    def hook(event, args):
        if event in OPERATIONS and run in str(args[0]) and next(operations) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def after(name, then, *arguments):
    """Have `then(*arguments)` called at the end of the function of this name."""
    owner, name = name.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner)
    function = getattr(owner, name)

    def followed(*args, **kwargs):
        result = function(*args, **kwargs)
        then(*arguments)
        return result

    setattr(owner, name, followed)


def die_halfway(run):
    """Be killed as if in the midst of writing the files that are not yet under their names."""
    for file in (files := [path for path in run.rglob("*.partial*") if path.is_file()]):
        cut(file)
    assert files
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_with_a_file_half_written(whole, copied, tmp_path):
    run, image = copied("mmd"), "matplotlib.backends.backend_agg.FigureCanvasAgg.print_png"
    settings = "pathlib.Path.write_text"
    for writer in ("csv.DictWriter.writerows", image, settings, "keras.Model.save"):  # in turn
        prepare = (after, writer, die_halfway, run)
        script("mmd", tmp_path, prepare=prepare).expect(-signal.SIGKILL)
        check_whole_files(run)
        assert list(run.rglob(".*.partial*"))
    check_end("mmd", tmp_path, whole)


@pytest.mark.parametrize(
    ("epoch", "suffix"), [(EPOCHS, "index"), (EPOCHS, "data-00000-of-00001"), (0, "index")]
)
def test_killed_while_a_checkpoint_was_written(epoch, suffix, whole, copied, tmp_path):
    """Half an index, or data without one; at epoch 0 there is nothing else."""
    run = copied("mmd")
    checkpoints = run / "checkpoints"
    content = (checkpoints / f"ckpt-2.{suffix}").read_bytes()
    if epoch == 0:
        shutil.rmtree(run)
    (checkpoints / f"ckpt-{epoch}_temp").mkdir(parents=True)
    for name in (f"ckpt-{epoch}_temp/part-00000-of-00001.index", f"ckpt-{epoch}.{suffix}"):
        (checkpoints / name).write_bytes(content[: len(content) // 2])
    copy = checkpoints / "ckpt-2 copy.index"  # somebody's
    copy.touch()
    check_end("mmd", tmp_path, whole)
    assert copy.exists()


def test_killed_between_a_checkpoint_and_the_removal_of_its_temporary_folder(
    whole, copied, tmp_path
):
    """Of the last epoch and of one before: neither is written again."""
    checkpoints = copied("mmd", done=True) / "checkpoints"
    for epoch in (EPOCHS, EPOCHS - 1):
        (checkpoints / f"ckpt-{epoch}_temp").mkdir()
    (checkpoints / f"ckpt-{EPOCHS}_temp" / "part-00000-of-00001.index").touch()
    (checkpoints / f"ckpt-{EPOCHS}.index.tempstate1").touch()
    others = [checkpoints / name for name in ("ckpt-1_temporary", "ckpt-1.index.tempstate")]
    others[0].mkdir()
    others[1].touch()
    check_end("mmd", tmp_path, whole, others)


def soak(seeds, *marks):
    """Seeds: one for the usual tests, with these marks, and others for `-m soak`."""
    others = [pytest.param(seed, marks=pytest.mark.soak) for seed in seeds]
    return pytest.mark.parametrize("seed", [pytest.param(1, marks=marks), *others])


def rounds(seed):
    """How often a run is stopped."""
    return 2 if seed == 1 else 5


@soak(range(100, 120))
@pytest.mark.parametrize("model", SCRIPTS)
def test_kills(model, seed, whole, tmp_path):
    """At random file operations and moments; exports are spoilt in between."""
    rng, run, kills, spoilt = random.Random(seed), folder(tmp_path, model), 0, False
    while kills < rounds(seed):
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
        if not spoilt:  # or made whole
            check_whole_files(run)
        if status == 0:  # it was faster: compare, and begin again
            assert state(run) == state(folder(whole, model))
            shutil.rmtree(run)
            continue
        kills += 1
        if rng.random() < 1 / 3:
            files, spoilt = exports(run), True
            for path in rng.sample(files, rng.randint(0, len(files))):
                rng.choice(SPOILS)(path)
    check_end(model, tmp_path, whole)


def test_fewer_epochs_end_a_stopped_run_where_it_is(here, copied, monkeypatch):
    run = copied("mmd")
    for epochs in (EPOCHS - 1, 1):  # exactly the epoch that is done, and less
        output = here("mmd", "--epochs", epochs)
        assert f"Nothing left to train: {EPOCHS - 1} epochs are done" in output
        assert load_run(run).flags["epochs"] == len(losses(run)) == EPOCHS - 1
    weights = load_run(run).fingerprint
    monkeypatch.setattr(Run, "epochs", lambda _: ())  # opened, and left at once
    here("mmd", "--epochs", 9)
    assert (load_run(run).flags["epochs"], load_run(run).fingerprint) == (EPOCHS - 1, weights)


def test_a_run_being_extended_is_that_of_its_models(here, copied):
    """Whenever it is killed; looked at just before each of its file operations."""
    run = copied("mmd", done=True)
    models, seen, watching = [run / "encoder.keras", run / "decoder.keras"], [], [True]

    def look(event, args):
        if watching[0] and event in OPERATIONS and str(run) in str(args[0]):
            watching[0] = False
            weights = [hash(tuple(read_weights(file))) for file in models if file.exists()]
            epochs = json.loads((run / "settings.json").read_text())["flags"]["epochs"]
            seen.append((epochs, *weights) if len(weights) == 2 else None)
            watching[0] = True

    look("open", [run])
    sys.addaudithook(look)  # for good
    here("mmd", "--epochs", EPOCHS + 2)
    look("open", [run])
    watching[0] = False
    first, gap, *others = dict.fromkeys(seen)
    assert gap is None
    assert [told[0] for told in (first, *others)] == [EPOCHS, EPOCHS + 2]
    assert len(seen) > 40


SPOILS = [
    Path.unlink,
    cut,
    lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"7")),
    lambda path: path.write_bytes(bytes(range(256))),
    lambda path: put(path, os.mkfifo),
]


def exports(run):
    """What is exported of the latest checkpoint's state, and is there."""
    epoch = max([int(path.stem[5:]) for path in run.glob("checkpoints/*.index")], default=0)
    names = ("settings.json", "losses.csv", "*.keras", f"*_epoch_{epoch}.png", "tensorboard/*")
    return sorted(path for name in names for path in run.glob(name))


@pytest.mark.parametrize(
    ("model", "done", "shift"),
    [*(("mmd", True, i) for i in range(len(SPOILS))), ("cvae", False, 0)],
)
def test_spoilt_exports_are_made_whole(model, done, shift, here, whole, copied):
    run = copied(model, done)
    files = exports(run)
    assert len(files) == (9 if done else 7)
    for i, path in enumerate(files):  # in five turns each file is spoilt in each way
        SPOILS[(i + shift) % len(SPOILS)](path)
    assert ("Nothing left" in here(model)) == done
    assert state(run) == state(folder(whole, model))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"garbage"), None])
def test_event_files_are_made_anew_without_figures_that_are_gone(make, here, copied):
    run = copied("mmd", done=True)
    before = events(run)
    shutil.rmtree(run / "tensorboard")
    figure = run / "mmd_grid_epoch_0.png"
    figure.unlink()
    if make:
        make(figure)
    here("mmd")
    gone = [one for one in before if one[0] == 0 and b"figures/grid" in one[1]]
    assert len(gone) == 1
    assert events(run) == [one for one in before if one not in gone]


def check_interrupted(out, number, status, output, epochs=EPOCHS):
    """What a run promises that got a signal: status, how far it is, and how to go on."""
    assert "Traceback" not in output, output
    if status == 0:  # it was faster
        assert "Nothing left" in output or f"(epoch): {epochs}:" in output
        return
    assert status == 128 + number, output
    *_, line, command = re.split(r"[\r\n]+", output.strip())
    told = rf" after epoch \d+ of {epochs}\. To go on|\. Once more"
    assert re.search(rf"_cvae\.py: Stopped({told}):$", line), output
    python, program, *words = shlex.split(command)
    assert python == sys.executable
    assert program.endswith("_cvae.py")
    assert str(out) in words
    assert "--fresh" not in words


@soak(range(100, 127), pytest.mark.slow)
@pytest.mark.parametrize("model", SCRIPTS)
def test_signals(model, seed, whole, tmp_path):
    """SIGINT and SIGTERM at random moments, in a terminal and piped; some more than once."""
    rng = random.Random(seed)
    for i in range(rounds(seed)):
        number = rng.choice([signal.SIGINT, signal.SIGTERM])
        one = script(model, tmp_path, terminal=i % 2)
        one.started.wait(60)
        time.sleep(rng.uniform(0, 3))
        if rng.random() < 0.3:  # an impatient hand
            one.send(number)
            time.sleep(rng.uniform(0, 0.01))
        status, output = one.end(number)
        check_interrupted(tmp_path, number, status, output)
        check_whole_files(folder(tmp_path, model))
        if status == 0:
            shutil.rmtree(folder(tmp_path, model))
    check_end(model, tmp_path, whole)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
@soak(range(100, 115), pytest.mark.slow)
def test_signals_to_a_program(seed, tmp_path):
    """The same for `python mmd_cvae.py`, from the moment on when it has set its handlers."""
    rng, pipe = random.Random(seed), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, mmd_cvae.__file__, "--dataset", "digits", "--output-dir", tmp_path]
    for _ in range(2):
        with subprocess.Popen(command, env=environment(), text=True, **pipe) as process:
            caught, mask = 0, 1 << signal.SIGTERM - 1
            while process.poll() is None and not caught & mask:
                time.sleep(0.001)
                status = Path(f"/proc/{process.pid}/status").read_text()
                caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
            time.sleep(rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 9)]))
            number = rng.choice([signal.SIGINT, signal.SIGTERM])
            process.send_signal(number)
            output = process.stdout.read()
        assert process.returncode
        check_interrupted(tmp_path, number, process.returncode, output, epochs=50)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epoch"), [
    ("common.run.Run._restore", 2),  # and after which epoch the run has stopped then
    ("mmd_cvae.train_step", 2),
    ("tensorflow.train.Checkpoint.write", 3),
    ("keras.Model.save", 3),
    ("common.run.Run.__exit__", None),  # never: it is done
])  # fmt: skip
def test_a_signal_waits_for_the_end_of_what_is_being_done(name, epoch, whole, copied, tmp_path):
    run, prepare = copied("mmd"), (after, name, signal.raise_signal, signal.SIGTERM)
    output = script("mmd", tmp_path, prepare=prepare).expect(143 if epoch else 0)
    assert (f"Stopped after epoch {epoch} of {EPOCHS}." in output) == bool(epoch)
    assert "Once more" not in output
    if epoch == EPOCHS:
        assert state(run) == state(folder(whole, "mmd"))


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_other_script_is_not(tmp_path):
    first = script("mmd", tmp_path, "--epochs", 1000, "--plot-every", 1000)
    first.wait_for("(epoch): 1:")
    output = script("mmd", tmp_path, "--epochs", 1000).expect(2)
    assert "another process" in output
    assert len(output.splitlines()) == 2
    script("cvae", tmp_path, "--epochs", 1).expect(0)
    assert first.process.is_alive()
    first.end(signal.SIGKILL)
    third = script("mmd", tmp_path, "--epochs", 1000)  # the lock died with its owner
    third.wait_for("Going on after")
    assert "Going on after epoch" in third.end(signal.SIGTERM)[1]


def test_a_file_system_that_lacks_locks(here, tmp_path, monkeypatch):
    error = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=error))
    output = here("mmd", status=2)
    assert f"{folder(tmp_path, 'mmd')}/.lock cannot be locked: No locks available" in output
    assert "--output-dir" in output
    assert len(output.splitlines()) == 2


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_truncated_and_foreign_checkpoints_are_passed_over_aloud(suffix, whole, copied, here):
    run = copied("mmd")
    for path in run.glob("checkpoints/ckpt-2.*"):  # of another epoch
        shutil.copy(path, path.with_name(path.name.replace("2", "7", 1)))
    tf.train.Checkpoint(x=tf.Variable(1)).write(str(run / "checkpoints" / "ckpt-5"))  # of no run
    cut(run / "checkpoints" / f"ckpt-2{suffix}")
    output = here("mmd")
    assert re.findall(r"ckpt-(\d) is damaged", output) == ["7", "5", "2"]
    assert "Going on after epoch 1" in output
    for path in run.glob("checkpoints/ckpt-[57].*"):
        path.unlink()
    assert state(run) == state(folder(whole, "mmd"))


def test_models_of_an_end_whose_checkpoint_is_damaged_go(copied, here, monkeypatch):
    run = copied("mmd", done=True)
    cut(run / "checkpoints" / f"ckpt-{EPOCHS}.index")
    monkeypatch.setattr("common.run.Run.epochs", lambda _: [])  # as if stopped at once
    here("mmd", "--epochs", 9)
    assert not list(run.glob("*.keras"))


def leave(run, name):
    for path in run.rglob("*"):
        if path.is_file() and path.name not in (name, ".lock"):
            path.unlink()


DATA = "ckpt-2.data-00000-of-00001"
REFUSALS = {
    "no checkpoint there is whole": lambda run, _: [*map(cut, run.glob("checkpoints/*.data*"))],
    "no checkpoint, but settings.json": lambda run, _: leave(run, "settings.json"),
    "no checkpoint, but mmd_grid_epoch_2.png": lambda run, _: leave(run, "mmd_grid_epoch_2.png"),
    "model cvae there, mmd now": lambda run, whole: shutil.copytree(
        folder(whole, "cvae") / "checkpoints", run / "checkpoints", dirs_exist_ok=True
    ),
    "ckpt-2.index is there, but": lambda run, _: put(run / "checkpoints/ckpt-2.index", os.mkfifo),
    f"{DATA} is there, but is no regular": lambda run, _: put(run / "checkpoints" / DATA, os.mkdir),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_what_cannot_be_gone_on_from_is_refused_and_left_alone(named, here, whole, copied):
    run = copied("mmd")
    REFUSALS[named](run, whole)
    before = snapshot(run)
    output = here("mmd", status=2)
    assert named in output
    assert len([line for line in output.splitlines() if "is damaged" not in line]) <= 2
    assert snapshot(run) == before


def limit_file_size(name, size):
    """While a method of Run is at work no file can grow past `size`, like a disk that is full."""
    import resource

    def limited(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        function(self)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    before, function = resource.getrlimit(resource.RLIMIT_FSIZE), getattr(Run, name)
    setattr(Run, name, limited)


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(whole, tmp_path):
    full = {"clothes_epoch_0.png": ("_export", 20_000), "checkpoints": ("_save", 600_000)}
    for named, limits in full.items():
        prepare = (limit_file_size, *limits)
        output = script("mmd", tmp_path, "--fresh", prepare=prepare).expect(2)
        error = output[output.index("error:") :]
        assert named in error
        assert len(error.splitlines()) <= 2
        assert "Traceback" not in output
        check_whole_files(folder(tmp_path, "mmd"))
        assert not list(tmp_path.rglob(".*.partial*"))
    check_end("mmd", tmp_path, whole)


@pytest.mark.parametrize(("model", "flag", "advice"), [
    ("cvae", "--learning-rate=100", "a smaller --learning-rate than 100 or"),
    ("mmd", "--learning-rate=1e30", "a smaller --learning-rate than 1e+30 or"),
    ("cvae", "--beta=1e37", "a smaller --beta than 1e+37, a smaller --learning-rate"),
])  # fmt: skip
def test_diverging_stops_the_run(model, flag, advice, here, tmp_path):
    output = here(model, flag, status=1)
    assert "in epoch 1: the training diverged; what epoch 0 left is kept." in output
    assert f"Try --fresh with {advice}" in output
    assert not (folder(tmp_path, model) / "losses.csv").exists()


def infinite_weight(x, encoder, *_):
    encoder.dense.bias.assign(np.full(2, np.inf))
    return tf.ones(3, "float64")


@pytest.mark.parametrize(("model", "train_step", "named"), [
    ("cvae", lambda *_: tf.constant([np.nan, 1, 1, 1], "float64"), "logpx_z_total"),
    ("mmd", infinite_weight, "dense/bias"),
])  # fmt: skip
def test_the_last_good_checkpoint_stays(model, train_step, named, here, whole, copied):
    run = copied(model)
    before = snapshot(run / "checkpoints")
    with pytest.MonkeyPatch.context() as change:
        change.setattr(SCRIPTS[model], "train_step", train_step)
        output = here(model, status=1)
    assert f"{named} is infinite or not a number in epoch {EPOCHS}" in output
    assert snapshot(run / "checkpoints") == before
    here(model)
    assert state(run) == state(folder(whole, model))
