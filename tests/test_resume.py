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
from pathlib import Path

import eager_cvae
import mmd_cvae
from common.data import load_dataset
from common.run import Interrupted, Run, run_script

import keras
import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and forks")

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
EPOCHS = 5
FLAGS = ("--dataset", "digits", "--epochs", str(EPOCHS), "--plot-every", "5", "--batch-size", "20")
FLAGS += ("--tensorboard",)
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
    """All that has to be the same in the end: losses, figures, weights, moments, random state.

    And what TensorBoard is told, but for the time.
    """
    folder = out / "digits"
    lines = (folder / f"{model}_losses.csv").read_text().splitlines()
    losses = [line.rsplit(",", 1)[0] for line in lines]  # without the seconds
    figures = {path.name: path.read_bytes() for path in folder.glob(f"{model}_*.png")}
    reader = tf.train.load_checkpoint(folder / f"checkpoints_{model}" / f"ckpt-{len(lines) - 1}")
    names = [name for name in reader.get_variable_to_shape_map() if name[0] != "_"]
    values = {name: np.array(reader.get_tensor(name)).tolist() for name in names}
    values = {k: v for k, v in values.items() if "save_counter" not in k}
    return losses, figures, values, events(folder, model)


def events(folder, model):
    """Epochs and values of a model's event files, in order."""
    return [
        (event.step, event.summary.SerializeToString(deterministic=True))
        for file in sorted((folder / "tensorboard" / model).glob("[!.]*"))
        for event in list(tf.compat.v1.train.summary_iterator(str(file)))[1:]
    ]


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """A run of each script that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    for status, log in [script.end() for script in [Script(forks, m, out) for m in SCRIPTS]]:
        assert status == 0, log
    return out


@pytest.fixture
def short(whole, tmp_path):
    """A function from a model to a copy of its run without the last epoch's checkpoint."""

    def short(model):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        folder = tmp_path / "digits"
        for path in folder.glob(f"checkpoints_{model}/ckpt-{EPOCHS}.*"):
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


def test_one_seed_gives_identical_runs(forks, whole, tmp_path):
    for script in [Script(forks, model, tmp_path) for model in SCRIPTS]:
        assert script.end()[0] == 0
    for model in SCRIPTS:
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


WRITERS = [  # in the order of their turns
    (Path, "write_text"),  # settings
    (tf.io.TFRecordWriter, "write"),  # of the epoch to go on after
    (csv.DictWriter, "writerows"),
    (matplotlib.figure.Figure, "savefig"),
    (keras.Model, "save"),
]


def test_killed_with_a_file_half_written(forks, whole, short):
    out, folder = short("mmd")
    for writer in WRITERS:
        status, log = Script(forks, "mmd", out, prepare=(die_writing, *writer)).end()
        assert status == -signal.SIGKILL, log
        check_whole_files(folder)
        assert list(folder.rglob(".*.partial*"))
    assert Script(forks, "mmd", out).end()[0] == 0
    assert state(out, "mmd") == state(whole, "mmd")
    assert not list(folder.rglob(".*.partial*"))


def half_an_index(checkpoints):
    (checkpoints / "ckpt-5.index").write_bytes((checkpoints / "ckpt-4.index").read_bytes()[:50])


def data_without_an_index(checkpoints):
    data = "data-00000-of-00001"
    shutil.copy(checkpoints / f"ckpt-4.{data}", checkpoints / f"ckpt-5.{data}")


@pytest.mark.parametrize("plant", [half_an_index, data_without_an_index])
def test_killed_while_a_checkpoint_was_written(plant, forks, whole, short):
    out, folder = short("mmd")
    checkpoints = folder / "checkpoints_mmd"
    plant(checkpoints)
    (checkpoints / "ckpt-5_temp").mkdir()
    (checkpoints / "ckpt-5_temp" / "part-00000-of-00001.index").write_bytes(b"half")
    (checkpoints / "checkpoint").write_text("nonsense")  # TensorFlow's list of the others
    shutil.copy(checkpoints / "ckpt-4.index", checkpoints / "ckpt-4 copy.index")  # somebody's
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


@both
def test_kills(model, forks, whole, tmp_path):
    kill_repeatedly(10, model, forks, whole, tmp_path, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
@both
def test_kills_soak(model, seed, forks, whole, tmp_path):
    kill_repeatedly(10, model, forks, whole, tmp_path, seed)


def test_signals(forks, whole, tmp_path):
    stops = ((signal.SIGTERM, 143, "seed=0"), (signal.SIGINT, 130, "(epoch): 2:"))
    for number, status, moment in stops:
        script = Script(forks, "mmd", tmp_path, "--fresh")
        script.wait_for(moment)
        os.kill(script.process.pid, number)
        time.sleep(0.002)
        code, log = script.end(number)  # once more, by an impatient hand
        assert code == status, log
        assert "Traceback" not in log
        stopped, command = log.splitlines()[-2:]
        assert command.startswith(sys.executable)
        assert re.search(rf"Stopped after epoch \d of {EPOCHS}\.", stopped)
        assert f"--output-dir {tmp_path}" in command
        assert "--fresh" not in command
        check_whole_files(tmp_path / "digits")
    assert Script(forks, "mmd", tmp_path).end()[0] == 0
    assert state(tmp_path, "mmd") == state(whole, "mmd")


def test_fewer_epochs_end_a_stopped_run_with_models_and_figures(forks, whole, short):
    out, folder = short("mmd")
    for file in folder.glob("mmd_*.keras"):
        file.unlink()
    status, log = Script(forks, "mmd", out, "--epochs", "4").end()
    assert status == 0, log
    assert "Going on after epoch 3" in log
    assert len(list(folder.glob("mmd_*.keras"))) == 2
    assert len(list(folder.glob("mmd_*_epoch_4.png"))) == 4


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


def lose_signal(owner, name):
    """Have SIGTERM arrive in `owner.name`, and Python lose what its handler raises."""
    owner = SCRIPTS.get(owner, owner)

    def lose(*args, **kwargs):
        with contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **kwargs)

    function = getattr(owner, name)
    setattr(owner, name, lose)


@pytest.mark.parametrize(("owner", "name"), [("mmd", "train_step"), (Run, "save_models")])
def test_a_signal_that_python_loses_ends_the_run_within_the_epoch(owner, name, forks, short):
    out, folder = short("mmd")
    rows = (folder / "mmd_losses.csv").read_text().count("\n")
    code, log = Script(forks, "mmd", out, prepare=(lose_signal, owner, name)).end()
    assert code == 143, log
    assert f"Stopped after epoch 4 of {EPOCHS}." in log
    assert ("epoch): 5" in log) == (name == "save_models")
    assert not (folder / "checkpoints_mmd" / "ckpt-5.index").exists()
    assert (folder / "mmd_losses.csv").read_text().count("\n") == rows


def interrupt_checkpoint():
    """Have SIGTERM arrive in the middle of saving a checkpoint."""
    tf.train.CheckpointManager.save = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_tensorflow_is_imported(number, tmp_path):
    (tmp_path / "tensorflow.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    with subprocess.Popen(
        [sys.executable, mmd_cvae.__file__, "--output-dir", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env | {"PYTHONPATH": str(tmp_path)},
    ) as process:
        process.stdout.readline()  # the import has begun
        process.send_signal(number)
        error = process.stderr.read().decode()
    assert process.returncode == 128 + number
    assert error == "Stopped before anything was done.\n"


def test_importing_the_package_leaves_the_importer_alone(tmp_path):
    (tmp_path / "tensorflow.py").touch()  # not what this is about, and slow
    code = (
        "import signal as s; before = s.getsignal(2), s.getsignal(15); import common;"
        "assert before == (s.getsignal(2), s.getsignal(15))"
    )
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
def test_truncated_and_foreign_checkpoints_are_passed_over_aloud(suffix, forks, whole, short):
    out, folder = short("mmd")
    for path in folder.glob("checkpoints_mmd/ckpt-3.*"):  # of another epoch
        shutil.copy(path, path.with_name(path.name.replace("3", "7", 1)))
    for path in folder.glob("checkpoints_cvae/ckpt-5.*"):
        shutil.copy(path, folder / "checkpoints_mmd")
    cut(folder / "checkpoints_mmd" / f"ckpt-4{suffix}")
    status, log = Script(forks, "mmd", out).end()
    assert status == 0, log
    for number in (7, 5, 4):
        assert f"ckpt-{number} is damaged or another run's" in log
    assert "Going on after epoch 3" in log
    assert state(out, "mmd") == state(whole, "mmd")


def cut_all(folder):
    for file in folder.glob("checkpoints_mmd/*.data*"):
        cut(file)


def write_losses_line(folder, line, text):
    file = folder / "mmd_losses.csv"
    lines = file.read_text().splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")


def leave_of_run(folder, *suffixes):
    shutil.rmtree(folder / "checkpoints_mmd")
    for file in folder.glob("mmd_*"):
        if file.suffix not in suffixes:
            file.unlink()


REFUSALS = {
    "mmd_losses.csv, line 1,": lambda f: write_losses_line(f, 1, "epoch,a,b,c,seconds"),
    "no checkpoint in": cut_all,
    "is of 5 epochs": lambda f: shutil.rmtree(f / "checkpoints_mmd"),
    "mmd_losses.csv, line 3,": lambda f: write_losses_line(f, 3, "2,abc,1,1,1"),
    "mmd_losses.csv, line 4,": lambda f: write_losses_line(f, 4, "7,1,1,1,1"),
    "mmd_losses.csv, line 2,": lambda f: write_losses_line(f, 2, "1,1,1"),
    "mmd_losses.csv, line 5,": lambda f: write_losses_line(f, 5, "4,nan,1,1,1"),
    "mmd_settings.json, which": lambda f: (f / "mmd_settings.json").unlink(),
    "mmd_losses.csv is there": lambda f: leave_of_run(f, ".png", ".keras", ".csv"),
    "mmd_decoder.keras is there": lambda f: leave_of_run(f, ".png", ".keras"),
    "it lacks a whole": lambda f: (f / "mmd_settings.json").write_text("{}"),
    "or 'dataset'": lambda f: (f / "mmd_settings.json").write_text('{"flags": {}, "dataset": 5}'),
    "is of 0 epochs": lambda f: (f / "mmd_losses.csv").unlink(),
    "line 1 column 2": lambda f: (f / "mmd_settings.json").write_text("{"),
}


@pytest.mark.parametrize("named", REFUSALS)
def test_what_cannot_be_gone_on_from_is_refused_and_left_alone(named, forks, short):
    out, folder = short("mmd")
    REFUSALS[named](folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, log = Script(forks, "mmd", out).end()
    assert status == 2, log
    assert named in log
    assert "--fresh" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_checkpoints_of_other_settings_are_refused(forks, short):
    out, folder = short("mmd")
    settings = folder / "mmd_settings.json"
    settings.write_text(settings.read_text().replace('"seed": 0', '"seed": 1'))
    status, log = Script(forks, "mmd", out, "--seed", "1").end()
    assert status == 2, log
    assert "ckpt-4 is damaged or another run's" in log
    assert "no checkpoint in" in log


def limit_file_size(size):
    """No file of this process can grow past `size`, like a disk that is full."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(forks, whole, tmp_path):
    sizes = {20_000: "clothes_epoch_0.png", 300_000: "tfevents.0000000", 600_000: "checkpoints_mmd"}
    for size, named in sizes.items():
        prepare = (limit_file_size, size)
        status, log = Script(forks, "mmd", tmp_path, "--fresh", prepare=prepare).end()
        assert status == 2, log
        error = log[log.index("error:") :]
        assert named in error
        assert len(error.splitlines()) == 2
        assert "--fresh" not in error
        assert "Traceback" not in log
        check_whole_files(tmp_path / "digits")
        assert not list(tmp_path.rglob(".*.partial*"))
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


@pytest.mark.parametrize(("model", "rate"), [("cvae", "100"), ("cvae", "1e30"), ("mmd", "1e30")])
def test_diverging_stops_the_run(model, rate, forks, tmp_path):
    status, log = Script(forks, model, tmp_path, "--learning-rate", rate).end()
    assert status == 1, log
    assert "in epoch 1" in log
    assert "--learning-rate" in log
    assert "Traceback" not in log
    assert not (tmp_path / "digits" / f"{model}_losses.csv").exists()


def poison_term():
    """Have every training step report a term that is not a number."""
    eager_cvae.train_step = lambda *_: tf.constant([np.nan, 1, 1, 1], "float64")


def poison_weight():
    """Have every training step report good terms and leave a weight infinite."""

    def train_step(x, encoder, *_):
        encoder.dense.bias.assign(np.full(2, np.inf))
        return tf.ones(3, "float64")

    mmd_cvae.train_step = train_step


@pytest.mark.parametrize(
    ("model", "poison", "named"),
    [("cvae", poison_term, "logpx_z_total"), ("mmd", poison_weight, "dense/bias")],
)
def test_the_last_good_checkpoint_stays(model, poison, named, forks, whole, short):
    out, folder = short(model)
    before = {path: path.read_bytes() for path in folder.glob(f"checkpoints_{model}/*")}
    status, log = Script(forks, model, out, prepare=(poison,)).end()
    assert status == 1, log
    assert f"{named} is infinite or not a number in epoch 5" in log
    assert {path: path.read_bytes() for path in folder.glob(f"checkpoints_{model}/*")} == before
    assert Script(forks, model, out).end()[0] == 0
    assert state(out, model) == state(whole, model)
