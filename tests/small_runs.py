"""Short runs on 60 digits, in this process or in forked processes, and the state they end in."""

import contextlib
import csv
import io
import json
import multiprocessing.connection
import os
import pkgutil
import re
import shutil
import signal
import sys
import threading
import time
import zipfile

import common.data.batches
from common.program.files import read_json
from common.program.startup import run_script

import h5py
import numpy as np
import pytest
import tensorflow as tf
from support import LOSSES, SCRIPTS, SIGNALS, call, cut, few_digits, losses, small_figures

EPOCHS = 3
FLAGS = f"--dataset digits --epochs {EPOCHS} --plot-every 2 --batch-size 20 --tensorboard".split()
FLAGS += ["--learning-rate", "1e-3"]


def shorten(patch):
    """Make runs short: an epoch is two passes over 60 digits, and figures are small."""
    patch.setattr("common.program.files.WAITS", (0, 0))
    patch.setattr(common.data.batches, "EPOCH", 120)
    patch.setattr("common.training.exports.draw_figures", small_figures)
    for script in SCRIPTS.values():
        patch.setattr(script, "load_data", few_digits)


def folder(out, model):
    return out / "digits" / model


@pytest.fixture
def no_training(monkeypatch):
    """Replace the training steps, whose graphs take long to build, in tests of the code around."""
    for model, script in SCRIPTS.items():
        ones = dict.fromkeys(LOSSES[model], 1.0)
        monkeypatch.setattr(script, "train_step", lambda *_, ones=ones, **state: ones)


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Return a function that runs a script in this process and returns what it printed."""
    shorten(monkeypatch)

    def here(model, *flags, status=0):
        found = call(model, *FLAGS, "--output-dir", tmp_path, *flags)
        output = "".join(capsys.readouterr())
        assert found == status, output
        return output

    return here


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return a folder with a run of each script, what they printed, and what main returned."""
    out, printed, returned = tmp_path_factory.mktemp("runs") / "new" / "folder", {}, {}
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        for model, script in SCRIPTS.items():
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                returned[model] = script.main([*FLAGS, "--output-dir", str(out)])
            printed[model] = stdout.getvalue().splitlines()
    return out, printed, returned


@pytest.fixture
def whole(trained):
    """Return a folder with a run of each script that was never stopped."""
    return trained[0]


@pytest.fixture
def copied(whole, tmp_path):
    """Return a function that copies a run, either stopped before its last epoch or finished."""

    def copied(model, done=False):
        run = shutil.copytree(folder(whole, model), folder(tmp_path, model))
        for path in [*run.glob(f"checkpoints/ckpt-{EPOCHS}.*"), *run.glob("*.keras")]:
            if not done:
                path.unlink()
        return run

    return copied


# Forked processes -------------------------------------------------------------


class Script:
    """Run a script on 60 digits in a forked process that writes to a pipe or a terminal."""

    def __init__(self, model, out, *flags, prepare=(), terminal=False):
        """Start a script with flags. `prepare` is a function to call first, and its arguments."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support"])  # the working directory is the root
        flags = [str(word) for word in ("--output-dir", out, *flags)]
        ours, theirs = os.openpty() if terminal else os.pipe()
        if terminal:
            import termios  # not available on all systems

            termios.tcsetwinsize(theirs, (24, 100))
        theirs = multiprocessing.connection.Connection(theirs)
        self.chunks, self.started = [], context.Event()
        args = (model, flags, theirs, self.started, prepare)
        self.process = context.Process(target=_script, args=args, daemon=True)
        self.process.start()
        theirs.close()
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, ours):
        with contextlib.suppress(OSError):  # on Linux, the terminal was closed
            while chunk := os.read(ours, 10_000):
                self.chunks.append(chunk)
        os.close(ours)

    @property
    def output(self):
        """Return what the process has printed so far."""
        return b"".join(self.chunks).decode().replace("\r\n", "\n")

    def wait_for(self, text):
        """Wait until the output contains `text` or the process has ended."""
        deadline = time.monotonic() + 120
        while text not in self.output and self.process.is_alive():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def send(self, number):
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self, number=None):
        """Send a signal, if given. Wait for the end, and return the exit status and the output."""
        if number:
            self.send(number)
        self.process.join(120)
        self._reader.join(10)
        return self.process.exitcode, self.output

    def expect(self, status):
        """Wait for the end with this exit status, and return the output."""
        found, output = self.end()
        assert found == status, output
        return output


def _script(model, flags, theirs, started, prepare):
    os.dup2(theirs.fileno(), 1)
    os.dup2(theirs.fileno(), 2)
    theirs.close()
    sys.orig_argv = [sys.executable, SCRIPTS[model].__file__, *flags]
    sys.argv = sys.orig_argv[1:]
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)  # after the run, there is nothing to stop
    shorten(pytest.MonkeyPatch())
    if prepare:
        function, *args = prepare
        function(*args)
    run_script(lambda: started.set() or SCRIPTS[model].main(flags))


def script(model, out, *flags, **kwargs):
    """Start a script with FLAGS and more flags in a forked process."""
    return Script(model, out, *FLAGS, *flags, **kwargs)


def after(name, then, *arguments):
    """Replace the function with this name by one that also calls `then(*arguments)` at its end."""
    function = pkgutil.resolve_name(name)

    def followed(*args, **kwargs):
        result = function(*args, **kwargs)
        then(*arguments)
        return result

    pytest.MonkeyPatch().setattr(name, followed)


def soak(seeds, *marks):
    """Parametrize `seed` and `rounds`: 1 and 2 in usual tests with these marks, more in soaks."""
    others = [pytest.param(seed, 5, marks=pytest.mark.soak) for seed in seeds]
    return pytest.mark.parametrize(("seed", "rounds"), [pytest.param(1, 2, marks=marks), *others])


# The files of a run -----------------------------------------------------------

SPOILS = [  # functions that damage or replace a file
    lambda path: path.unlink(),
    cut,
    lambda path: path.write_bytes(path.read_bytes().replace(b"1", b"7")),
    lambda path: path.write_bytes(bytes(range(256))),
]


def exports(run):
    """Return the existing files that are exported from the latest checkpoint."""
    epoch = max([int(path.stem[5:]) for path in run.glob("checkpoints/*.index")], default=0)
    names = ("settings.json", "losses.csv", "*.keras", f"*_epoch_{epoch}.png", "tensorboard/*")
    return sorted(path for name in names for path in run.glob(name))


def read_weights(file):
    """Return the bytes of the weights in a .keras file."""
    with zipfile.ZipFile(file) as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    names = []
    weights.visit(names.append)
    return [weights[name][()].tobytes() for name in names if hasattr(weights[name], "dtype")]


def state(run):
    """Return everything in a run's folder that does not depend on place and time.

    It also checks that the checkpoint and the exported files agree.
    """
    rows = losses(run)
    prefix = run / "checkpoints" / f"ckpt-{len(rows)}"
    reader = tf.compat.v1.train.NewCheckpointReader(str(prefix))
    values = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map() if n[0] != "_"}
    document = json.loads(values.pop("document/.ATTRIBUTES/py_state"))
    values = {name: np.asarray(value).tobytes() for name, value in values.items()}
    with (run / "losses.csv").open() as stream:
        table = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    settings = read_json(run / "settings.json")
    for one in (settings, document["settings"]):
        del one["flags"]["output_dir"]  # the folder may have been copied
    assert document == {"settings": settings, "losses": table}
    models = [sorted(read_weights(run / f"{name}.keras")) for name in ("encoder", "decoder")]
    for name, weights in zip(("encoder", "decoder"), models, strict=True):
        assert weights == sorted(v for k, v in values.items() if re.match(rf"{name}/.*VALUE$", k))
    figures = {path.name: path.read_bytes() for path in run.glob("*.png")}
    return rows, settings, values, models, figures, events(run)


def events(run):
    """Return the epochs and values in the files of TensorBoard."""
    return sorted(
        (event.step, event.summary.SerializeToString(deterministic=True))
        for file in (run / "tensorboard").iterdir()
        for event in list(tf.compat.v1.train.summary_iterator(str(file)))[1:]
    )


def check_files(run):
    """Check that every exported file is complete."""
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
    """Check that the run in `out`, trained to its end, is as if it had never been stopped."""
    script(model, out).expect(0)
    assert state(folder(out, model)) == state(folder(whole, model))
    left = [path for name in ("*.partial*", "*_temp*", "*.tempstate*") for path in out.rglob(name)]
    assert sorted(left) == sorted(others)  # the user's files
