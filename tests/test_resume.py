"""Stop anywhere, go on exactly: kills, signals, locks, damage, full disks, bad numbers."""

import csv
import errno
import fcntl
import io
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

import mmd_cvae
from common.run import Run
from common.trained import load_run

import h5py
import numpy as np
import pytest
import tensorflow as tf
from conftest import SCRIPTS, SIGNALS, Script, both, call, environment, few_digits, losses, snapshot

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and forks")

EPOCHS = 3
FLAGS = ("--dataset", "digits", "--epochs", EPOCHS, "--plot-every", 2, "--batch-size", 20)
FLAGS += ("--tensorboard",)


def script(model, out, *flags, **kwargs):
    return Script(model, out, *FLAGS, *flags, **kwargs)


def folder(out, model):
    return out / "digits" / model


@pytest.fixture
def here(monkeypatch, short_epochs, capsys):
    """A function that does in this process what `script` does in one of its own."""

    def here(model, out, *flags):
        monkeypatch.setattr(SCRIPTS[model], "load_dataset_or_digits", few_digits)
        status = call(model, *FLAGS, "--output-dir", out, *flags)
        return status, "".join(capsys.readouterr())

    return here


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of each script that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    for status, output in [one.end() for one in [script(model, out) for model in SCRIPTS]]:
        assert status == 0, output
    return out


@pytest.fixture
def finished(whole, tmp_path):
    """A function from a model to a copy of its run: where, and the run's folder."""

    def finished(model):
        shutil.copytree(folder(whole, model), folder(tmp_path, model))
        return tmp_path, folder(tmp_path, model)

    return finished


@pytest.fixture
def stopped(finished):
    """`finished`, but as the run was when it had written its last checkpoint but one."""

    def stopped(model):
        out, run = finished(model)
        for path in [*run.glob(f"checkpoints/ckpt-{EPOCHS}.*"), *run.glob("*.keras")]:
            path.unlink()
        return out, run

    return stopped


# What has to be the same ------------------------------------------------------


def read_checkpoint(run, epoch):
    """What a checkpoint holds: its document, and the bytes of all else by name."""
    reader = tf.train.load_checkpoint(run / "checkpoints" / f"ckpt-{epoch}")
    values = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if n[0] != "_"}
    document = json.loads(values.pop("document/.ATTRIBUTES/VARIABLE_VALUE"))
    return document, {name: np.asarray(value).tobytes() for name, value in values.items()}


def read_weights(file):
    """The bytes of the weights in a .keras file."""
    with zipfile.ZipFile(file) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    names = []
    weights.visit(names.append)
    return [weights[name][()].tobytes() for name in names if hasattr(weights[name], "dtype")]


def state(run):
    """All that has to be the same in the end, but for place and time; after checks of what is told.

    That is what losses.csv, settings.json and the models tell of what the checkpoint holds.
    """
    rows = losses(run)
    document, values = read_checkpoint(run, len(rows))
    with (run / "losses.csv").open() as stream:
        table = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    settings = json.loads((run / "settings.json").read_text())
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


def check_end(model, out, whole):
    """The run in `out`, let run to its end, is then as if it had never been stopped."""
    status, output = script(model, out).end()
    assert status == 0, output
    assert state(folder(out, model)) == state(folder(whole, model))
    assert not list(out.rglob("*.partial*"))
    assert not list(out.rglob("*_temp*"))


# Exact ------------------------------------------------------------------------


def test_one_seed_gives_identical_runs(tmp_path):
    flags = ("--batch-size", 60, "--epochs", 2)  # such a batch goes through in parts
    for out in (tmp_path / "0", tmp_path / "1"):
        for one in [script(model, out, *flags) for model in SCRIPTS]:
            assert one.end()[0] == 0
    for model in SCRIPTS:
        assert state(folder(tmp_path / "0", model)) == state(folder(tmp_path / "1", model))


def die_at_file_operation(run, count):
    """SIGKILL this process just before its `count`-th opening, renaming or removal in `run`."""
    left = [count]

    def hook(event, args):
        if event in ("open", "os.rename", "os.remove") and run in str(args[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def patch(name, replacement):
    """Put `replacement(what is there)` in the place of what has this name."""
    owner, name = name.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner)
    setattr(owner, name, replacement(getattr(owner, name)))


def die_writing(run, name):
    """Have the function of this name, which writes a file, die halfway through it."""

    def dying(write):
        def write_half(*args, **kwargs):
            write(*args, **kwargs)
            files = [path for path in run.rglob("*") if ".partial" in str(path) and path.is_file()]
            assert files
            for file in files:
                cut(file)
            os.kill(os.getpid(), signal.SIGKILL)

        return write_half

    patch(name, dying)


WRITERS = [  # in the order of their turns
    "csv.DictWriter.writerows",
    "matplotlib.backends.backend_agg.FigureCanvasAgg.print_png",
    "pathlib.Path.write_text",  # settings
    "keras.Model.save",
]


def test_killed_with_a_file_half_written(whole, stopped):
    out, run = stopped("mmd")
    for writer in WRITERS:
        status, output = script("mmd", out, prepare=(die_writing, run, writer)).end()
        assert status == -signal.SIGKILL, output
        check_whole_files(run)
        assert list(run.rglob(".*.partial*"))
    check_end("mmd", out, whole)


def half_an_index(checkpoints):
    whole = (checkpoints / f"ckpt-{EPOCHS - 1}.index").read_bytes()
    (checkpoints / f"ckpt-{EPOCHS}.index").write_bytes(whole[: len(whole) // 2])


def data_without_an_index(checkpoints):
    data = "data-00000-of-00001"
    shutil.copy(checkpoints / f"ckpt-2.{data}", checkpoints / f"ckpt-3.{data}")


def nothing_but_half_a_first(checkpoints):
    shutil.rmtree(checkpoints.parent)
    checkpoints.mkdir(parents=True)
    (checkpoints / "ckpt-0.index").touch()


@pytest.mark.parametrize("plant", [half_an_index, data_without_an_index, nothing_but_half_a_first])
def test_killed_while_a_checkpoint_was_written(plant, whole, stopped):
    out, run = stopped("mmd")
    checkpoints = run / "checkpoints"
    plant(checkpoints)
    temporary = checkpoints / f"ckpt-{0 if plant is nothing_but_half_a_first else EPOCHS}_temp"
    temporary.mkdir()
    (temporary / "part-00000-of-00001.index").write_bytes(b"half")
    copy = checkpoints / "ckpt-2 copy.index"  # somebody's
    copy.touch()
    check_end("mmd", out, whole)
    assert copy.exists()


def kill_repeatedly(kills, model, whole, out, seed):
    """Kill runs at random file operations and moments, spoil exports in between, let one end."""
    rng, run, spoilt = random.Random(seed), folder(out, model), False
    while kills:
        if rng.random() < 0.6:
            prepare = (die_at_file_operation, str(run), rng.randint(1, 40))
            one = script(model, out, prepare=prepare)
        else:
            one = script(model, out)
            one.started.wait(60)
            time.sleep(rng.uniform(0, 3))
            one.process.kill()
        status, output = one.end()
        spoilt = spoilt and "(epoch)" not in output
        if not spoilt:  # or made whole
            check_whole_files(run)
        assert status in (0, -signal.SIGKILL), output
        if status == 0:  # it was faster: compare, and begin again
            assert state(run) == state(folder(whole, model))
            shutil.rmtree(out)
        else:
            kills -= 1
            if rng.random() < 1 / 3:
                spoil(run, rng)
                spoilt = True
    check_end(model, out, whole)


def soak(seeds):
    """Seeds: one for the usual tests, and others for `-m soak`."""
    return pytest.mark.parametrize(
        "seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in seeds)]
    )


@soak(range(100, 120))
@both
def test_kills(model, seed, whole, tmp_path):
    kill_repeatedly(5, model, whole, tmp_path / "out", seed)


def test_fewer_epochs_end_a_stopped_run_where_it_is(here, stopped, monkeypatch):
    out, run = stopped("mmd")
    assert not list(run.glob("*.keras"))
    for epochs in (EPOCHS - 1, 1):  # exactly the epoch that is done, and less
        status, output = here("mmd", out, "--epochs", epochs)
        assert status == 0, output
        assert f"Nothing left to train: {EPOCHS - 1} epochs are done" in output
        assert load_run(run).flags["epochs"] == EPOCHS - 1
        assert len(losses(run)) == EPOCHS - 1
    weights = load_run(run).fingerprint
    monkeypatch.setattr(Run, "epochs", lambda _: ())  # opened, and left at once
    assert here("mmd", out, "--epochs", 9)[0] == 0
    assert (load_run(run).flags["epochs"], load_run(run).fingerprint) == (EPOCHS - 1, weights)


def weights_told(run):
    """The epoch in the settings, and the models' weights; None where there are no models."""
    files = [run / "encoder.keras", run / "decoder.keras"]
    if not all(file.exists() for file in files):
        return None
    epochs = json.loads((run / "settings.json").read_text())["flags"]["epochs"]
    return epochs, *(hash(tuple(read_weights(file))) for file in files)


def test_a_run_being_extended_is_that_of_its_models(here, finished):
    """Whenever it is killed; looked at just before each of its file operations."""
    out, run = finished("mmd")
    seen, watching = [weights_told(run)], [True]

    def hook(event, args):
        if watching[0] and event in ("open", "os.rename", "os.remove") and str(run) in str(args[0]):
            watching[0] = False
            seen.append(weights_told(run))
            watching[0] = True

    sys.addaudithook(hook)  # for good
    status, output = here("mmd", out, "--epochs", EPOCHS + 2)
    watching[0] = False
    assert status == 0, output
    seen.append(weights_told(run))
    order = list(dict.fromkeys(seen))
    assert order[1:2] == [None]
    assert [told[0] for told in (order[0], *order[2:])] == [EPOCHS, EPOCHS + 2]
    assert len(seen) > 40


# Exports made whole again -----------------------------------------------------

SPOILS = {
    "delete": Path.unlink,
    "truncate": cut,
    "edit": lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"7")),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "pipe": lambda path: path.unlink() or os.mkfifo(path),
}


def exports(run):
    """What is exported of the latest checkpoint's state, and is there."""
    epoch = max([int(path.stem[5:]) for path in run.glob("checkpoints/*.index")], default=0)
    names = ("settings.json", "losses.csv", "*.keras", f"*_epoch_{epoch}.png", "tensorboard/*")
    return sorted(path for name in names for path in run.glob(name))


def spoil(run, rng):
    files = exports(run)
    for path in rng.sample(files, rng.randint(0, len(files))):
        SPOILS[rng.choice(list(SPOILS))](path)


@pytest.mark.parametrize("shift", range(len(SPOILS)))
@pytest.mark.parametrize(("model", "done"), [("cvae", True), ("mmd", False)])
def test_spoilt_exports_are_made_whole(model, done, shift, here, whole, finished, stopped):
    out, run = (finished if done else stopped)(model)
    files = exports(run)
    assert len(files) == (9 if done else 7)
    for i, path in enumerate(files):  # in five turns each file is spoilt in each way
        list(SPOILS.values())[(i + shift) % len(SPOILS)](path)
    status, output = here(model, out)
    assert status == 0, output
    assert ("Nothing left" in output) == done
    assert state(run) == state(folder(whole, model))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"garbage"), None])
def test_event_files_are_made_anew_without_figures_that_are_gone(make, here, finished):
    out, run = finished("mmd")
    before = events(run)
    shutil.rmtree(run / "tensorboard")
    figure = run / "mmd_grid_epoch_0.png"
    figure.unlink()
    if make:
        make(figure)
    status, output = here("mmd", out)
    assert status == 0, output
    gone = [one for one in before if one[0] == 0 and b"figures/grid" in one[1]]
    assert len(gone) == 1
    assert events(run) == [one for one in before if one not in gone]


# Signals ----------------------------------------------------------------------


def check_interrupted(out, number, status, output, epochs=EPOCHS):
    """What a run promises that got a signal: status, how far it is, and how to go on."""
    assert "Traceback" not in output, output
    if status == 0:  # it was faster
        assert "Nothing left" in output or f"(epoch): {epochs}:" in output
        return
    assert status == SIGNALS[number], output
    *_, line, command = re.split(r"[\r\n]+", output.strip())
    assert re.search(
        rf"_cvae.py: (Stopped after epoch \d of {epochs}. To go on:|"
        r"Stopped before anything was written. Once more:)$",
        line,
    ), output
    words = shlex.split(command)
    assert words[0] == sys.executable
    assert words[1].endswith("_cvae.py")
    assert str(out) in words
    assert ("--fresh" in words) == ("before" in line and "--fresh" in output)


def interrupt_repeatedly(times, model, out, seed):
    """SIGINT and SIGTERM at random moments, in a terminal and piped; some more than once."""
    rng = random.Random(seed)
    for i in range(times):
        one, number = script(model, out, terminal=i % 2), rng.choice(list(SIGNALS))
        one.started.wait(60)
        time.sleep(rng.uniform(0, 3))
        if rng.random() < 0.3:  # an impatient hand
            one.send(number)
            time.sleep(rng.uniform(0, 0.01))
        status, output = one.end(number)
        check_interrupted(out, number, status, output)
        check_whole_files(folder(out, model))
        if status == 0:
            shutil.rmtree(out)


def interrupt_real(times, out, seed):
    """The same for `python mmd_cvae.py`, from the moment on when it has set its handlers."""
    rng = random.Random(seed)
    for _ in range(times):
        command = [sys.executable, mmd_cvae.__file__, "--dataset", "digits", "--output-dir", out]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(), text=True
        ) as process:
            while not handles_signals(process.pid):
                time.sleep(0.001)
            time.sleep(rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 15)]))
            number = rng.choice(list(SIGNALS))
            process.send_signal(number)
            output = process.stdout.read()
        assert process.returncode
        check_interrupted(out, number, process.returncode, output, epochs=50)


def handles_signals(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
    return caught >> signal.SIGTERM - 1 & 1


@soak(range(100, 127))
@both
def test_signals(model, seed, whole, tmp_path):
    interrupt_repeatedly(5, model, tmp_path / "out", seed)
    check_end(model, tmp_path / "out", whole)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
@soak(range(100, 115))
def test_signals_to_a_program(seed, tmp_path):
    interrupt_real(2, tmp_path, seed)


def interrupt(name):
    """Have SIGTERM arrive at the end of the function of this name."""

    def interrupting(function):
        def interrupted(*args, **kwargs):
            result = function(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGTERM)
            return result

        return interrupted

    patch(name, interrupting)


MOMENTS = {  # and after which epoch the run has stopped then
    "common.run.Run._restore": 2,
    "mmd_cvae.train_step": 2,
    "tensorflow.train.Checkpoint.write": 3,
    "keras.Model.save": 3,
    "common.run.Run.__exit__": None,  # never: it is done
}


@pytest.mark.parametrize(("name", "epoch"), MOMENTS.items())
def test_a_signal_waits_for_the_end_of_what_is_being_done(name, epoch, whole, stopped):
    out, _ = stopped("mmd")
    status, output = script("mmd", out, prepare=(interrupt, name)).end()
    assert status == (143 if epoch else 0), output
    assert (f"Stopped after epoch {epoch} of {EPOCHS}." in output) == bool(epoch)
    assert "before anything" not in output
    if epoch == EPOCHS:
        assert state(folder(out, "mmd")) == state(folder(whole, "mmd"))


# Two at once ------------------------------------------------------------------


def test_a_second_process_is_refused_and_the_other_script_is_not(tmp_path):
    first = script("mmd", tmp_path, "--epochs", 1000, "--plot-every", 1000)
    first.wait_for("(epoch): 1:")
    status, output = script("mmd", tmp_path, "--epochs", 1000).end()
    assert status == 2
    assert "another process" in output
    assert len(output.splitlines()) == 2
    assert script("cvae", tmp_path, "--epochs", 1).end()[0] == 0
    assert first.process.is_alive()
    first.end(signal.SIGKILL)
    third = script("mmd", tmp_path, "--epochs", 1000)  # the lock died with its owner
    third.wait_for("Going on after")
    assert "Going on after epoch" in third.end(signal.SIGTERM)[1]


def test_a_file_system_that_lacks_locks(here, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    status, output = here("mmd", tmp_path)
    assert status == 2
    assert f"{folder(tmp_path, 'mmd')}/.lock cannot be locked: No locks available" in output
    assert "--output-dir" in output
    assert len(output.splitlines()) == 2


# Bad state on disk ------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_truncated_and_foreign_checkpoints_are_passed_over_aloud(suffix, whole, stopped, here):
    out, run = stopped("mmd")
    for path in run.glob("checkpoints/ckpt-2.*"):  # of another epoch
        shutil.copy(path, path.with_name(path.name.replace("2", "7", 1)))
    tf.train.Checkpoint(x=tf.Variable(1)).write(str(run / "checkpoints" / "ckpt-5"))  # of no run
    cut(run / "checkpoints" / f"ckpt-2{suffix}")
    status, output = here("mmd", out)
    assert status == 0, output
    for number in (7, 5, 2):
        assert f"ckpt-{number} is damaged" in output
    assert "Going on after epoch 1" in output
    for path in [*run.glob("checkpoints/ckpt-5.*"), *run.glob("checkpoints/ckpt-7.*")]:
        path.unlink()
    assert state(run) == state(folder(whole, "mmd"))


def of_the_other_script(run, whole):
    for path in folder(whole, "cvae").glob("checkpoints/ckpt-3.*"):
        shutil.copy(path, run / "checkpoints")


def cut_all(run, _):
    for file in run.glob("checkpoints/*.data*"):
        cut(file)


def leave(name):
    def leave(run, _):
        shutil.rmtree(run / "checkpoints")
        for path in run.rglob("*"):
            if path.is_file() and path.name not in (name, ".lock"):
                path.unlink()

    return leave


def replace(name, make):
    def replace(run, _):
        (run / "checkpoints" / name).unlink()
        make(run / "checkpoints" / name)

    return replace


DATA = "ckpt-2.data-00000-of-00001"
REFUSALS = {
    "no checkpoint there is whole": cut_all,
    "no checkpoint, but settings.json": leave("settings.json"),
    "no checkpoint, but mmd_grid_epoch_2.png": leave("mmd_grid_epoch_2.png"),
    "model cvae there, mmd now": of_the_other_script,
    "ckpt-2.index is there, but is no regular": replace("ckpt-2.index", os.mkfifo),
    f"{DATA} is there, but is no regular": replace(DATA, os.mkdir),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_what_cannot_be_gone_on_from_is_refused_and_left_alone(named, here, whole, stopped):
    out, run = stopped("mmd")
    REFUSALS[named](run, whole)
    before = snapshot(run)
    status, output = here("mmd", out)
    assert status == 2, output
    assert named in output
    assert len([line for line in output.splitlines() if "is damaged" not in line]) <= 2
    assert "Traceback" not in output
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
    full = {
        "clothes_epoch_0.png": ("_export", 20_000),
        "checkpoints": ("_save", 600_000),
    }
    for named, limits in full.items():
        prepare = (limit_file_size, *limits)
        status, output = script("mmd", tmp_path, "--fresh", prepare=prepare).end()
        assert status == 2, output
        error = output[output.index("error:") :]
        assert named in error
        assert len(error.splitlines()) <= 2
        assert "Traceback" not in output
        check_whole_files(folder(tmp_path, "mmd"))
        assert not list(tmp_path.rglob(".*.partial*"))
    check_end("mmd", tmp_path, whole)


# Bad numbers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "flags", "advice"),
    [
        ("cvae", ["--learning-rate", "100"], "a smaller --learning-rate than 100 or"),
        ("mmd", ["--learning-rate", "1e30"], "a smaller --learning-rate than 1e+30 or"),
        ("cvae", ["--beta", "1e37"], "a smaller --beta than 1e+37, a smaller --learning-rate"),
    ],
)
def test_diverging_stops_the_run(model, flags, advice, here, tmp_path):
    status, output = here(model, tmp_path, *flags)
    assert status == 1, output
    assert "in epoch 1: the training diverged; what epoch 0 left is kept." in output
    assert f"Try --fresh with {advice}" in output
    assert not (folder(tmp_path, model) / "losses.csv").exists()


def bad_weight(x, encoder, *_):
    """Good terms, and a weight that is infinite."""
    encoder.dense.bias.assign(np.full(2, np.inf))
    return tf.ones(3, "float64")


@pytest.mark.parametrize(
    ("model", "train_step", "named"),
    [
        ("cvae", lambda *_: tf.constant([np.nan, 1, 1, 1], "float64"), "logpx_z_total"),
        ("mmd", bad_weight, "dense/bias"),
    ],
)
def test_the_last_good_checkpoint_stays(model, train_step, named, here, whole, stopped):
    out, run = stopped(model)
    before = snapshot(run / "checkpoints")
    with pytest.MonkeyPatch.context() as change:
        change.setattr(SCRIPTS[model], "train_step", train_step)
        status, output = here(model, out)
    assert status == 1, output
    assert f"{named} is infinite or not a number in epoch {EPOCHS}" in output
    assert snapshot(run / "checkpoints") == before
    assert here(model, out)[0] == 0
    assert state(run) == state(folder(whole, model))
