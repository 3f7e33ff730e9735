"""--replicas and TF_CONFIG: so many devices and workers train the model that one device trains."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import common.data.batches
import common.devices
from common.load import load_run

import common.workers
import numpy as np
import pytest
from support import ROOT, SCRIPTS, Script, call, few_digits, losses

FORKS = pytest.mark.skipif(os.name != "posix", reason="forks")
OBJECTIVES = [
    "",
    "--alpha 0.5 --lambda 3 --vamp-prior 7",  # which two do not share evenly
    pytest.param("--beta 2", marks=pytest.mark.slow),
    pytest.param("--alpha 0.5 --lambda 3", marks=pytest.mark.slow),
]
STEPS = 20


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """An epoch is that many steps of 30 images; nothing is drawn."""
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    data = few_digits(train=30 * STEPS)
    for script in SCRIPTS.values():
        monkeypatch.setattr(script, "load_data", lambda *_: data)


def train(model, out, *flags):
    """The losses of a run, and all its weights in a row."""
    flags = ("--dataset", "digits", "--epochs", 1, "--batch-size", 30, *flags)
    assert call(model, *flags, "--learning-rate", 1e-3, "--output-dir", out) == 0
    run = load_run(out / "digits" / model)
    models = [each for each in (run.encoder, run.decoder, run.prior) if each]
    weights = [weight.numpy().ravel() for each in models for weight in each.weights]
    return np.array(losses(run.folder)), np.concatenate(weights)


def assert_equal(found, expected, rtol):
    """Losses and weights, these with respect to how far they went at most."""
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=rtol * STEPS * 1e-3)


@pytest.mark.parametrize("flags", OBJECTIVES)
def test_replicas_train_what_one_device_trains(flags, tmp_path):
    flags = (*flags.split(), "--dtype", "float64")
    one, two = (train("cvae", tmp_path / str(n), *flags, "--replicas", n) for n in (1, 2))
    assert_equal(two, one, rtol=1e-9)


@pytest.mark.slow
def test_a_run_goes_on_with_any_number_of_replicas(tmp_path):
    flags = ("--dtype", "float64", "--lambda", 10, "--cross-entropy")
    whole = train("mmd", tmp_path / "whole", *flags, "--epochs", 2)
    for epoch, n in ((1, 2), (2, 1)):
        parts = train("mmd", tmp_path / "parts", *flags, "--epochs", epoch, "--replicas", n)
    assert_equal(parts, whole, rtol=1e-9)


@pytest.mark.slow
def test_in_single_precision_the_losses_are_the_same_to_rounding(tmp_path):
    (one, _), (two, _) = (train("cvae", tmp_path / str(n), "--replicas", n) for n in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-5)


def test_an_empty_tf_config_is_none(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", " ")
    assert common.workers.read_tf_config() == ((), None)
    assert "TF_CONFIG" not in os.environ


@pytest.mark.skipif(os.name == "nt", reason="a killed process has no status there")
def test_a_process_that_tensorflow_holds_is_ended_with_a_line(addresses):
    code = f"""
import ctypes, common.workers as w
w.WAIT = 0.5
with w.meet(({addresses[0]!r},), {addresses[0]!r}):
    ctypes.PyDLL(None).sleep(60)  # with Python's lock held
"""
    words = [sys.executable, "-c", code]
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert process.returncode == -signal.SIGKILL
    assert "The workers came, and within 0.5 seconds TensorFlow could not join" in process.stderr


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process there")
def test_ctrl_c_leaves_the_watchdog_to_the_worker_that_it_watches():
    code = common.workers.WATCHDOG.replace(
        "sys.stdin.read()", "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(os.getpid()), "50", "too late"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, **pipes) as watchdog:
        watchdog.stdout.readline()
        watchdog.send_signal(signal.SIGINT)
        _, error = watchdog.communicate(timeout=20)  # closes its stdin
    assert (watchdog.returncode, error) == (0, b"")


def test_what_cannot_be_is_refused(tmp_path, capsys):
    flags = ("--dataset", "digits", "--output-dir", tmp_path)
    assert call("mmd", *flags, "--replicas", 3) == 2
    told = "--batch-size 100 does not divide by 3 replicas: give 99."
    assert told in capsys.readouterr().err
    assert call("mmd", *flags, "--replicas", 4) == 2
    assert "--replicas 4: TensorFlow has begun with 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# Workers ----------------------------------------------------------------------

FLAGS = ("--dtype", "float64", "--batch-size", 30)


@pytest.fixture
def addresses():
    """Two that are free."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in (one, two)]


def config(addresses, index=0, **cluster):
    """TF_CONFIG's text."""
    cluster = {"worker": addresses} | cluster
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def prepare(text, wait):
    """In a worker's process."""
    os.environ["TF_CONFIG"], common.workers.WAIT = text, wait


def workers(addresses, out, *flags):
    """Two workers, started."""
    return [
        Script("mmd", out / str(k), *FLAGS, *flags, prepare=(prepare, config(addresses, k), 100))
        for k in range(2)
    ]


@pytest.mark.slow
def test_workers_train_what_one_device_trains_and_go_on_after_a_kill(
    addresses, tmp_path, monkeypatch
):
    monkeypatch.setattr("mmd_cvae.load_data", few_digits)
    assert call("mmd", *FLAGS, "--epochs", 5, "--output-dir", tmp_path) == 0
    chief, other = workers(addresses, tmp_path, "--epochs", 10**6)
    chief.wait_for("(epoch): 3:")
    other.end(signal.SIGKILL)
    output = chief.expect(1)
    assert "one has ended, or has other images. Stopped after epoch" in output
    assert "Traceback" not in output
    epochs = len(losses(tmp_path / "0" / "digits" / "mmd")) + 2
    again = workers(addresses, tmp_path, "--epochs", epochs)
    assert [each.end()[0] for each in again] == [0, 0]
    assert "Going on after" in again[0].output
    assert again[1].output.splitlines() == [
        f"Waiting for {addresses[0]}.",
        "The first worker prints and writes for all.",
    ]
    assert not (tmp_path / "1").exists()
    found, expected = (losses(out / "digits" / "mmd") for out in (tmp_path / "0", tmp_path))
    np.testing.assert_allclose(found[:5], expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_a_signal_to_any_worker_stops_all_after_the_same_epoch(asked, addresses, tmp_path):
    both = workers(addresses, tmp_path, "--epochs", 10**6)
    both[0].wait_for("(epoch): 1:")
    both[asked].send(signal.SIGINT)
    assert [each.end()[0] for each in both] == [130, 130]
    stopped = [each.output.split("Stopped after ")[1].split(" of")[0] for each in both]
    assert stopped[0] == stopped[1]


@FORKS
def test_a_worker_that_never_comes_and_an_address_that_is_taken(addresses, tmp_path):
    text = config(addresses)
    output = Script("mmd", tmp_path, *FLAGS, prepare=(prepare, text, 3)).expect(2)
    assert f"Of TF_CONFIG's workers {addresses[1]} did not come within 3 seconds" in output
    with socket.create_server(("", int(addresses[0].split(":")[1]))):
        output = Script("mmd", tmp_path, *FLAGS, prepare=(prepare, text, 3)).expect(2)
    assert (
        f"TF_CONFIG has this worker at {addresses[0]}, which cannot be listened at: Address"
        in output
    )
    assert not (tmp_path / "digits").exists()


@FORKS
def test_workers_with_different_flags_all_say_so(addresses, tmp_path):
    texts = [config(addresses, k) for k in range(2)]
    both = [
        Script(
            "mmd", tmp_path / str(k), *FLAGS, "--latent-dim", 2 + k, prepare=(prepare, text, 100)
        )
        for k, text in enumerate(texts)
    ]
    for each in both:
        assert "different flags: start all with the same" in each.expect(2)
    assert not list(tmp_path.iterdir())


def prepare_late(text, file):
    """In a worker's process, which is the last to know that all end, and notes when."""
    prepare(text, 100)
    wait = common.devices.wait_for_all_workers

    def late():
        time.sleep(2)
        file.touch()
        wait()

    common.devices.wait_for_all_workers = late


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        pytest.param([(), ("--seed", 7)], 2, marks=FORKS),
        pytest.param([("--epochs", 1)] * 2, 0, marks=pytest.mark.slow),
        pytest.param(
            [("--dtype", "float32", "--learning-rate", 1e30)] * 2, 1, marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.parametrize("last", [0, 1])
def test_no_worker_ends_before_all_know(last, flags, status, addresses, tmp_path):
    file, both = tmp_path / "the last one knows", []
    for k in range(2):
        text = config(addresses, k)
        how = (prepare_late, text, file) if k == last else (prepare, text, 100)
        both.append(Script("mmd", tmp_path / str(k), *FLAGS, *flags[k], prepare=how))
    both[1 - last].expect(status)
    assert file.exists()
    both[last].expect(status)


@pytest.mark.parametrize(("text", "told"), [
    ("{", "Expecting property name"),
    ("[]", "list indices"),
    ("{}", "'cluster' is missing"),
    (config(["here:1"], 1), "there is no worker with the number 1"),
    (config(["here:1"], -1), "there is no worker with the number -1"),
    (config(["here"]), "'here' is not HOST:PORT"),
    (config([7]), "expected string"),
    (config("here:1"), "addresses come in a list"),
    (config(["here:1"], "0"), "with the number '0'"),
    (config(["here:99999"]), "no port from 1 to 65535"),
    (config(["a b:1"]), "is not HOST:PORT"),
    (config(["here:1"], chief=[]), "there is one chief"),
    ("[" * 100_000, "recursion"),
    (config(["here:1", "here:1"]), "two workers have one address"),
    (config(["here:1"], ps=["there:1"]), "a cluster is of workers"),
    (config(["here:1", "there:1", "where:1"]), "does not divide by 3 replicas"),
])  # fmt: skip
def test_a_wrong_tf_config_is_answered_in_a_line(text, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", text)
    assert call("mmd", "--output-dir", tmp_path) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
