"""Stop runs with SIGINT and SIGTERM."""

import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mmd_cvae
from common.data.sources import load_dataset

import pytest
from small_runs import after, check_end, check_files, folder, script, soak, state
from support import LOSSES, SCRIPTS, SIGNALS, call, environment

pytest.importorskip("fcntl", reason="needs forks")  # not on Windows


def check_interrupted(out, number, status, output):
    """Check the exit status and the printed command of a run that got a signal."""
    assert "Traceback" not in output, output
    if status == 0:  # the run ended before the signal
        return
    assert status == 128 + number, output
    *_, line, command = re.split(r"[\r\n]+", output.strip())
    assert re.search(r"_cvae\.py: Stopped", line), output
    python, program, *words = shlex.split(command)
    assert python == sys.executable
    assert program.endswith("_cvae.py")
    assert str(out) in words
    assert "--fresh" not in words


@soak(range(100, 127), pytest.mark.slow)
@pytest.mark.parametrize("model", SCRIPTS)
def test_runs_stop_at_signals_and_resume(model, seed, rounds, whole, tmp_path):
    """Send signals at random moments, sometimes twice, to a terminal and a pipe."""
    rng = random.Random(seed)
    for i in range(rounds):
        number = rng.choice([*SIGNALS])
        one = script(model, tmp_path, terminal=i % 2)
        one.started.wait(60)
        time.sleep(rng.uniform(0, 3))
        if rng.random() < 0.3:
            one.send(number)
            time.sleep(rng.uniform(0, 0.01))
        status, output = one.end(number)
        check_interrupted(tmp_path, number, status, output)
        check_files(folder(tmp_path, model))
        if status == 0:
            shutil.rmtree(folder(tmp_path, model))
    check_end(model, tmp_path, whole)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@soak(range(100, 115), pytest.mark.slow)
def test_a_program_stops_at_signals(seed, rounds, tmp_path):
    """Send signals to `python mmd_cvae.py`, once it has set its handlers."""
    rng, pipe = random.Random(seed), {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, mmd_cvae.__file__, "--dataset", "digits", "--output-dir", tmp_path]
    for _ in range(min(2, rounds)):
        with subprocess.Popen(command, env=environment(), text=True, **pipe) as process:
            caught, mask = 0, 1 << signal.SIGTERM - 1
            while process.poll() is None and not caught & mask:
                time.sleep(0.001)
                status = Path(f"/proc/{process.pid}/status").read_text()
                caught = int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16)
            time.sleep(rng.choice([rng.uniform(0, 0.5), rng.uniform(0, 9)]))
            number = rng.choice([*SIGNALS])
            process.send_signal(number)
            output = process.stdout.read()
        assert process.returncode
        check_interrupted(tmp_path, number, process.returncode, output)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epoch"), [
    ("common.training.checkpoints.Checkpoints.restore", 2),  # the epoch after which it stops
    ("mmd_cvae.train_step", 2),
    ("tensorflow.train.Checkpoint.write", 3),
    ("keras.Model.save", 3),
    ("common.training.run.Run.__exit__", None),  # nothing is left to stop
])  # fmt: skip
def test_a_signal_waits_for_the_end_of_the_current_step(name, epoch, whole, copied, tmp_path):
    run, prepare = copied("mmd"), (after, name, signal.raise_signal, signal.SIGTERM)
    output = script("mmd", tmp_path, prepare=prepare).expect(143 if epoch else 0)
    assert re.findall(r"Stopped after epoch (\d) of 3", output) == [str(epoch)] * bool(epoch)
    if epoch == 3:
        assert state(run) == state(folder(whole, "mmd"))


@pytest.mark.parametrize(("size", "at", "last"), [(100, 1, 10), (100, 11, 15), (700, 2, 2)])
def test_signals_are_checked_every_1000_images_and_after_an_epoch(
    size, at, last, tmp_path, monkeypatch, short_epochs
):
    steps = []

    def train_step(*_, **state):
        steps.append(len(steps) + 1)
        if steps[-1] == at:
            signal.raise_signal(signal.SIGTERM)
        return dict.fromkeys(LOSSES["mmd"], 1.0)

    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    monkeypatch.setattr(mmd_cvae, "load_data", lambda _: load_dataset("digits"))
    monkeypatch.setattr(mmd_cvae, "train_step", train_step)
    assert call("mmd", "--batch-size", size, "--output-dir", tmp_path) == 143
    assert steps[-1] == last
