"""Stop anywhere, go on exactly: kills, signals, locks, damage, full disks, bad numbers.

The scripts run as processes of their own. Most are forked from a server that has imported
TensorFlow already, which saves each the start-up.
"""

import contextlib
import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import eager_cvae
import mmd_cvae
from common.data import load_dataset
from common.run import Interrupted, run_script

import keras
import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and forks")

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
EPOCHS = 5
FLAGS = ("--dataset", "digits", "--epochs", str(EPOCHS), "--plot-every", "5", "--batch-size", "20")
both = pytest.mark.parametrize("model", SCRIPTS)


@pytest.fixture(scope="module")
def forks():
    """Where processes are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["eager_cvae", "mmd_cvae"])
    return context


def few_digits(name, data_dir):
    """60 training and 40 test images of the digits: short epochs, for many runs."""
    data = load_dataset(name, data_dir)
    return data._replace(
        train_images=data.train_images[:60],
        train_labels=data.train_labels[:60],
        test_images=data.test_images[:40],
        test_labels=data.test_labels[:40],
    )


def script_process(model, flags, log, prepare):
    """In a process of its own, do what `python SCRIPT FLAGS >> LOG 2>&1` does."""
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.argv = [SCRIPTS[model].__file__, *flags]
    SCRIPTS[model].load_dataset_or_digits = few_digits
    if prepare:
        function, *args = prepare
        function(*args)
    run_script(SCRIPTS[model].main)


class Script:
    """A script on its way, its output in a file beside its folder."""

    def __init__(self, forks, model, out, *flags, prepare=None):
        self.log = out.with_name(f"{out.name}-{model}.log")
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
    lines = (folder / f"{model}_losses.csv").read_text().splitlines()
    losses = [line.rsplit(",", 1)[0] for line in lines]  # without the seconds
    figures = {path.name: path.read_bytes() for path in folder.glob(f"{model}_*.png")}
    reader = tf.train.load_checkpoint(folder / f"checkpoints_{model}" / f"ckpt-{len(lines) - 1}")
    names = [name for name in reader.get_variable_to_shape_map() if name[0] != "_"]
    values = {name: np.array(reader.get_tensor(name)).tolist() for name in names}
    return losses, figures, {k: v for k, v in values.items() if "save_counter" not in k}


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """A run of each script that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    for status, log in [script.end() for script in [Script(forks, m, out) for m in SCRIPTS]]:
        assert status == 0, log
    return out


@pytest.fixture
def short(whole, tmp_path):
    """A function from a model to a copy of its run without the checkpoints of later epochs."""

    def short(model, epochs=4):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "digits"
        for epoch in range(epochs + 1, EPOCHS + 1):
            for path in folder.rglob(f"*{model}/ckpt-{epoch}.*"):
                path.unlink()
        return tmp_path, folder

    return short


def check_whole_files(folder):
    """No file under a final name is half written."""
    for path in folder.glob("[!.]*.png"):
        assert path.read_bytes()[-8:-4] == b"IEND", path
    for path in folder.glob("[!.]*_settings.json"):
        json.loads(path.read_text())
    for path in folder.glob("[!.]*_losses.csv"):
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


def die_writing(owner, name):
    """Have `owner.name`, which writes a file, die halfway through it."""

    def write_half(self, *args, **kwargs):
        write(self, *args, **kwargs)
        partials = list(Path(sys.argv[-1]).rglob(".*.partial*"))
        assert len(partials) == 1, partials
        cut(partials[0])
        os.kill(os.getpid(), signal.SIGKILL)

    write = getattr(owner, name)
    setattr(owner, name, write_half)


WRITERS = [
    (Path, "write_text"),  # settings
    (matplotlib.figure.Figure, "savefig"),
    (csv.DictWriter, "writerows"),
    (keras.Model, "save"),
]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer[1])
def test_killed_with_a_file_half_written(writer, forks, whole, tmp_path):
    status, log = Script(forks, "mmd", tmp_path, prepare=(die_writing, *writer)).end()
    assert status == -signal.SIGKILL, log
    check_whole_files(tmp_path / "digits")
    assert list(tmp_path.rglob(".*.partial*"))
    assert Script(forks, "mmd", tmp_path).end()[0] == 0
    assert state(tmp_path, "mmd") == state(whole, "mmd")
    assert not list(tmp_path.rglob(".*.partial*"))


def half_index(checkpoints):
    (checkpoints / "ckpt-5.index").write_bytes((checkpoints / "ckpt-4.index").read_bytes()[:50])


def data_without_index(checkpoints):
    data = "data-00000-of-00001"
    shutil.copy(checkpoints / f"ckpt-4.{data}", checkpoints / f"ckpt-5.{data}")


def temporary_folder(checkpoints):
    (checkpoints / "ckpt-5_temp").mkdir()
    (checkpoints / "ckpt-5_temp" / "part-00000-of-00001.index").write_bytes(b"half")


def copy_by_a_file_manager(checkpoints):
    shutil.copy(checkpoints / "ckpt-4.index", checkpoints / "ckpt-4 copy.index")


@pytest.mark.parametrize(
    "plant", [half_index, data_without_index, temporary_folder, copy_by_a_file_manager]
)
def test_killed_while_a_checkpoint_was_written(plant, forks, whole, short):
    out, folder = short("mmd")
    plant(folder / "checkpoints_mmd")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "Going on after epoch 4" in log
    assert state(out, "mmd") == state(whole, "mmd")


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
            time.sleep(rng.uniform(0, 2.5))
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


def kill_both(forks, whole, tmp_path, seed):
    """Ten kills of either script, side by side."""
    with ThreadPoolExecutor() as pool:
        outcomes = [
            pool.submit(kill_repeatedly, 10, model, forks, whole, tmp_path / model, seed)
            for model in SCRIPTS
        ]
        for outcome in outcomes:
            outcome.result()


def test_kills(forks, whole, tmp_path):
    kill_both(forks, whole, tmp_path, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
def test_kills_soak(seed, forks, whole, tmp_path):
    kill_both(forks, whole, tmp_path, seed)


@pytest.mark.parametrize(
    ("model", "number", "status", "moment"),
    [
        ("mmd", signal.SIGINT, 130, "(epoch): 2:"),
        ("cvae", signal.SIGTERM, 143, "(epoch): 1:"),
        ("mmd", signal.SIGTERM, 143, "seed=0"),
    ],
)
def test_signals(model, number, status, moment, forks, whole, tmp_path):
    script = Script(forks, model, tmp_path, "--fresh")
    script.wait_for(moment)
    code, log = script.end(number)
    assert code == status, log
    assert "Traceback" not in log
    stopped, command = log.splitlines()[-2:]
    assert command.startswith(sys.executable)
    assert re.search(rf"Stopped after epoch \d of {EPOCHS}\.", stopped)
    assert f"--output-dir {tmp_path}" in command
    assert "--fresh" not in command
    check_whole_files(tmp_path / "digits")
    assert Script(forks, model, tmp_path).end()[0] == 0
    assert state(tmp_path, model) == state(whole, model)


def test_a_signal_that_python_loses_is_not_lost(capsys):
    def main():
        with contextlib.suppress(Interrupted):  # as Python does around __del__
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 143


def test_interrupted_in_the_middle_of_a_checkpoint(forks, whole, short):
    out, _ = short("mmd")
    code, log = Script(forks, "mmd", out, prepare=(interrupt_checkpoint,)).end()
    assert code == 143
    assert f"Stopped after epoch 4 of {EPOCHS}." in log
    assert Script(forks, "mmd", out).end()[0] == 0
    assert state(out, "mmd") == state(whole, "mmd")


def interrupt_checkpoint():
    """Have SIGTERM arrive in the middle of saving a checkpoint."""
    tf.train.CheckpointManager.save = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)


def test_ctrl_c_while_tensorflow_is_imported(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    with subprocess.Popen(
        [sys.executable, mmd_cvae.__file__, "--output-dir", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env | {"PYTHONPATH": str(tmp_path)},
    ) as process:
        process.stdout.readline()  # the import has begun
        process.send_signal(signal.SIGINT)
        error = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in error


def test_importing_the_package_leaves_the_importer_alone(tmp_path):
    (tmp_path / "tensorflow.py").touch()  # not what this is about, and slow
    code = "import sys, common; assert sys.excepthook is sys.__excepthook__"
    root = Path(mmd_cvae.__file__).parent
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=env)


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
    out, folder = short("mmd", epochs=4)
    cut(folder / "checkpoints_mmd" / f"ckpt-4{suffix}")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "ckpt-4 is damaged" in log
    assert "Going on after epoch 3" in log
    assert state(out, "mmd") == state(whole, "mmd")


def test_a_foreign_checkpoint_is_passed_over_aloud(forks, whole, short):
    out, folder = short("mmd", epochs=4)
    for path in folder.glob("checkpoints_cvae/ckpt-4.*"):
        shutil.copy(path, folder / "checkpoints_mmd")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "ckpt-4 is damaged or another run's" in log
    assert state(out, "mmd") == state(whole, "mmd")


def rewrite_number(folder, out, forks):
    """The checkpoint of epoch 3 under the number 5."""
    for path in folder.glob("checkpoints_mmd/ckpt-3.*"):
        shutil.copy(path, path.with_name(path.name.replace("3", "5", 1)))
    return 5


def from_another_seed(folder, out, forks):
    """The checkpoint of epoch 5 of a run with another seed."""
    other = out.with_name("other")
    assert Script(forks, "mmd", other, "--seed", "1").end()[0] == 0
    for path in other.glob("digits/checkpoints_mmd/ckpt-5.*"):
        shutil.copy(path, folder / "checkpoints_mmd")
    return 5


@pytest.mark.parametrize("plant", [rewrite_number, from_another_seed])
def test_a_checkpoint_of_other_settings_or_epoch_is_passed_over_aloud(plant, forks, whole, short):
    out, folder = short("mmd")
    number = plant(folder, out, forks)
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert f"ckpt-{number} is damaged or another run's" in log
    assert state(out, "mmd") == state(whole, "mmd")


def test_a_lost_state_file_is_not_missed(forks, whole, short):
    out, folder = short("mmd", epochs=4)
    (folder / "checkpoints_mmd" / "checkpoint").write_text("nonsense")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    assert "Going on after epoch 4" in log
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
    "is of 5 epochs": lambda f: shutil.rmtree(f / "checkpoints_mmd"),
    "mmd_losses.csv, line 3,": lambda f: write_losses_line(f, 3, "2,abc,1,1,1"),
    "mmd_losses.csv, line 4,": lambda f: write_losses_line(f, 4, "7,1,1,1,1"),
    "mmd_losses.csv, line 2,": lambda f: write_losses_line(f, 2, "1,1,1"),
    "mmd_losses.csv, line 5,": lambda f: write_losses_line(f, 5, "4,nan,1,1,1"),
    "mmd_settings.json, which": lambda f: (f / "mmd_settings.json").unlink(),
    "it lacks 'flags'": lambda f: (f / "mmd_settings.json").write_text("{}"),
    "is of 0 epochs": lambda f: (f / "mmd_losses.csv").unlink(),
    "line 1 column 2": lambda f: (f / "mmd_settings.json").write_text("{"),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_what_cannot_be_gone_on_from_is_refused_and_left_alone(named, forks, short):
    out, folder = short("mmd", epochs=4)
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
    [(20_000, "mmd_clothes_epoch_0.png"), (300_000, "checkpoints_mmd")],
)
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    size, named, forks, whole, tmp_path
):
    prepare = (limit_file_size, size)
    status, log = Script(forks, "mmd", tmp_path, "--fresh", prepare=prepare).end()
    assert status == 2, log
    error = log[log.index("error:") :]
    assert named in error
    assert len(error.splitlines()) == 2
    assert "--fresh" not in error
    assert "Traceback" not in log
    check_whole_files(tmp_path / "digits")
    assert Script(forks, "mmd", tmp_path).end()[0] == 0
    assert state(tmp_path, "mmd") == state(whole, "mmd")


@pytest.mark.skipif(not Path("/proc").exists(), reason="a folder in which even root cannot write")
def test_a_folder_that_is_not_writable(forks, tmp_path):
    script = Script(forks, "mmd", tmp_path, "--output-dir", "/proc/mmd_vae")
    status, log = script.end()
    assert status == 2
    assert "error: /proc/mmd_vae" in log
    assert len(log.splitlines()) == 1


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
    assert f"{SCRIPTS[model].LOSSES[0]} is infinite or not a number in epoch 5" in log
    assert {path: path.read_bytes() for path in folder.glob(f"checkpoints_{model}/*")} == before
    assert Script(forks, model, out).end()[0] == 0
    assert state(out, model) == state(whole, model)
