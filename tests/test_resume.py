"""Stop anywhere, go on exactly: kills, signals, locks, damage, full disks, bad numbers.

The scripts run as processes of their own. Most are forked from a server that has imported
TensorFlow already, which saves each the start-up.
"""

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import eager_cvae
import mmd_cvae
from common.run import run_script

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and forks")

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
EPOCHS = 6
FLAGS = ("--dataset", "digits", "--epochs", str(EPOCHS), "--plot-every", "3", "--batch-size", "500")
both = pytest.mark.parametrize("model", SCRIPTS)


@pytest.fixture(scope="module")
def forks():
    """Where processes are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eager_cvae", "mmd_cvae"])
    return context


def script_process(model, flags, log, prepare):
    """In a process of its own, do what `python SCRIPT FLAGS >> LOG 2>&1` does."""
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.argv = [SCRIPTS[model].__file__, *flags]
    if prepare:
        function, *args = prepare
        function(*args)
    run_script(SCRIPTS[model].main)


class Script:
    """A script on its way, its output in a file beside its folder."""

    def __init__(self, forks, model, out, *flags, prepare=None):
        self.log = out.with_name(out.name + ".log")
        self.log.write_text("")
        flags = [*FLAGS, "--output-dir", str(out), *flags]
        self.process = forks.Process(
            target=script_process, args=(model, flags, self.log, prepare), daemon=True
        )
        self.process.start()

    def wait_for(self, text):
        """Until the output holds `text`, or the process has ended."""
        deadline = time.monotonic() + 60
        while text not in self.log.read_text() and self.process.is_alive():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def end(self, number=None):
        """Send a signal, if given; return exit status and output once the process has ended."""
        if number:
            os.kill(self.process.pid, number)
        self.process.join(60)
        return self.process.exitcode, self.log.read_text()


def state(out, model):
    """All that has to be the same in the end: losses, figures, weights, moments, random state."""
    folder = out / "digits"
    with (folder / f"{model}_losses.csv").open() as stream:
        losses = [
            {k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)
        ]
    figures = {path.name: path.read_bytes() for path in folder.glob(f"{model}_*.png")}
    reader = tf.train.load_checkpoint(folder / f"checkpoints_{model}" / f"ckpt-{len(losses)}")
    names = [n for n in reader.get_variable_to_shape_map() if "save_counter" not in n]
    return (
        losses,
        figures,
        {name: reader.get_tensor(name).tobytes() for name in names if name[0] != "_"},
    )


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """A run of each script that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    for model in SCRIPTS:
        status, log = Script(forks, model, out).end()
        assert status == 0, log
    return out


@pytest.fixture
def short(whole, tmp_path):
    """A function from a model to a copy of its run without the checkpoints of later epochs."""

    def short(model, epochs=5):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "digits"
        for epoch in range(epochs + 1, EPOCHS + 1):
            for path in folder.rglob(f"*{model}/ckpt-{epoch}.*"):
                path.unlink()
        return tmp_path, folder

    return short


def check_whole_files(folder):
    """No file under a final name is half written."""
    for path in folder.glob("*.png"):
        assert path.read_bytes()[-8:-4] == b"IEND", path
    for path in folder.glob("*_settings.json"):
        json.loads(path.read_text())
    for path in folder.glob("*_losses.csv"):
        with path.open() as stream:
            assert all(None not in (*row, *row.values()) for row in csv.DictReader(stream))
        assert path.read_bytes().endswith(b"\n")


# Exact ------------------------------------------------------------------------


@both
def test_one_seed_gives_identical_runs(model, forks, whole, tmp_path):
    assert Script(forks, model, tmp_path).end()[0] == 0
    assert state(tmp_path, model) == state(whole, model)


def die_at_file_operation(folder, count):
    """SIGKILL this process just before its `count`-th opening, renaming or removal in `folder`."""
    left = [count]

    def hook(event, args):
        if event in ("open", "os.rename", "os.remove") and folder in str(args[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_repeatedly(kills, model, forks, whole, out, seed):
    """Kill runs at random file operations and at random moments, then let one end."""
    rng = random.Random(seed)
    folder = out / "digits"
    while kills:
        if rng.random() < 0.6:
            prepare = (die_at_file_operation, str(folder), rng.randint(1, 30))
            script = Script(forks, model, out, prepare=prepare)
        else:
            script = Script(forks, model, out)
            script.wait_for("seed=0")  # the folder is open
            time.sleep(rng.uniform(0, 3))
            script.process.kill()
        status, log = script.end()
        check_whole_files(folder)
        assert status in (0, -signal.SIGKILL), log
        if status == 0:  # it was faster: compare, and begin again
            assert state(out, model) == state(whole, model)
            shutil.rmtree(out)
        else:
            kills -= 1
    status, log = Script(forks, model, out).end()
    assert status == 0, log
    assert state(out, model) == state(whole, model)
    assert not list(folder.rglob("*.partial*"))


@both
def test_kills(model, forks, whole, tmp_path):
    kill_repeatedly(10, model, forks, whole, tmp_path / "out", seed=1)


@pytest.mark.soak
@both
def test_kills_soak(model, forks, whole, tmp_path):
    for round_ in range(10):
        kill_repeatedly(10, model, forks, whole, tmp_path / f"out{round_}", seed=100 + round_)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number, status, forks, whole, tmp_path):
    script = Script(forks, "mmd", tmp_path, "--fresh")
    script.wait_for("(epoch): 2:")
    code, log = script.end(number)
    assert code == status
    assert "Traceback" not in log
    command = log.splitlines()[-1]
    assert "stopped after epoch" in log
    assert f"of {EPOCHS}" in log
    assert f"--output-dir {tmp_path}" in command
    assert "--fresh" not in command
    check_whole_files(tmp_path / "digits")
    assert Script(forks, "mmd", tmp_path).end()[0] == 0
    assert state(tmp_path, "mmd") == state(whole, "mmd")


def test_ctrl_c_while_tensorflow_is_imported():
    with subprocess.Popen([sys.executable, mmd_cvae.__file__], stderr=subprocess.PIPE) as process:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in error


# Two at once ------------------------------------------------------------------


def test_a_second_process_is_refused_and_the_other_script_is_not(forks, tmp_path):
    first = Script(forks, "mmd", tmp_path, "--epochs", "1000")
    first.wait_for("(epoch): 1:")
    first.log = first.log.rename(tmp_path / "first.log")
    second = Script(forks, "mmd", tmp_path, "--epochs", "1000")
    status, log = second.end()
    assert status == 2
    assert "another process" in log
    assert len(log.splitlines()) == 2
    assert Script(forks, "cvae", tmp_path, "--epochs", "1").end()[0] == 0
    assert first.process.is_alive()
    first.end(signal.SIGKILL)
    third = Script(forks, "mmd", tmp_path, "--epochs", "1000")  # the lock died with its owner
    third.wait_for("Going on after")
    assert "Going on after epoch" in third.end(signal.SIGTERM)[1]


# Bad state on disk ------------------------------------------------------------


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_truncated_checkpoint_is_passed_over_aloud(suffix, forks, whole, short):
    out, folder = short("mmd", epochs=5)
    cut(folder / "checkpoints_mmd" / f"ckpt-5{suffix}")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "ckpt-5 is damaged" in log
    assert "Going on after epoch 4" in log
    assert state(out, "mmd") == state(whole, "mmd")


def test_a_foreign_checkpoint_is_passed_over_aloud(forks, whole, short):
    out, folder = short("mmd", epochs=5)
    for path in folder.glob("checkpoints_cvae/ckpt-5.*"):
        shutil.copy(path, folder / "checkpoints_mmd")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "ckpt-5 is damaged or another model's" in log
    assert state(out, "mmd") == state(whole, "mmd")


def test_a_lost_state_file_is_not_missed(forks, whole, short):
    out, folder = short("mmd", epochs=5)
    (folder / "checkpoints_mmd" / "checkpoint").write_text("nonsense")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "Going on after epoch 5" in log
    assert state(out, "mmd") == state(whole, "mmd")


def cut_all(folder):
    for file in folder.glob("checkpoints_mmd/*.data*"):
        cut(file)


def write_losses_line(folder, line, text):
    file = folder / "mmd_losses.csv"
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")


REFUSALS = {
    "mmd_losses.csv, line 1,": lambda f: write_losses_line(f, 1, "epoch,a,b,c,seconds"),
    "no checkpoint in": cut_all,
    "is of 6 epochs": lambda f: shutil.rmtree(f / "checkpoints_mmd"),
    "mmd_losses.csv, line 3,": lambda f: write_losses_line(f, 3, "2,abc,1,1,1"),
    "mmd_losses.csv, line 4,": lambda f: write_losses_line(f, 4, "7,1,1,1,1"),
    "mmd_losses.csv, line 2,": lambda f: write_losses_line(f, 2, "1,1,1"),
    "mmd_losses.csv, line 5,": lambda f: write_losses_line(f, 5, "4,nan,1,1,1"),
    "line 1 column 2": lambda f: (f / "mmd_settings.json").write_text("{"),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_what_cannot_be_gone_on_from_is_refused_and_left_alone(named, forks, short):
    out, folder = short("mmd", epochs=5)
    REFUSALS[named](folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, log = Script(forks, "mmd", out).end()
    assert status == 2, log
    assert named in log
    assert "--fresh" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def limit_file_size(size):
    """No file of this process can grow past `size`, like a disk that is full."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("size", "named"),
    [(20_000, "mmd_clothes_epoch_0.png"), (150_000, "mmd_decoder.keras"), (300_000, "checkpoints")],
)
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    size, named, forks, whole, tmp_path
):
    prepare = (limit_file_size, size)
    script = Script(forks, "mmd", tmp_path, prepare=prepare)
    status, log = script.end()
    assert status == 2, log
    error = log[log.index("error:") :]
    assert named in error
    assert len(error.splitlines()) == 2
    assert "Traceback" not in log
    check_whole_files(tmp_path / "digits")
    assert Script(forks, "mmd", tmp_path).end()[0] == 0
    assert state(tmp_path, "mmd") == state(whole, "mmd")


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(forks, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    status, log = Script(forks, "mmd", tmp_path / "out").end()
    assert status == 2
    assert str(tmp_path / "out") in log


# Bad numbers ------------------------------------------------------------------


@both
def test_diverging_stops_the_run(model, forks, tmp_path):
    status, log = Script(forks, model, tmp_path, "--learning-rate", "1e30").end()
    assert status == 1, log
    assert "in epoch 1" in log
    assert "--learning-rate" in log
    assert "Traceback" not in log
    assert not (tmp_path / "digits" / f"{model}_losses.csv").exists()


def poison(model):
    """Have every training step from now on report a term that is not a number."""
    script = SCRIPTS[model]
    script.train_step = lambda *_: tf.constant(
        [np.nan] + [1.0] * (len(script.LOSSES) - 1), "float64"
    )


@both
def test_the_last_good_checkpoint_stays(model, forks, whole, short):
    out, folder = short(model)
    before = {path: path.read_bytes() for path in folder.glob(f"checkpoints_{model}/*")}
    status, log = Script(forks, model, out, prepare=(poison, model)).end()
    assert status == 1, log
    assert f"{SCRIPTS[model].LOSSES[0]} is infinite or not a number in epoch 6" in log
    assert {path: path.read_bytes() for path in folder.glob(f"checkpoints_{model}/*")} == before
    assert Script(forks, model, out).end()[0] == 0
    assert state(out, model) == state(whole, model)
