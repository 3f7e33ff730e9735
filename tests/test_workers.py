"""Several workers, which find each other through TF_CONFIG."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import common.devices.distribute
import common.devices.workers
import common.training.run
from common.devices.workers import meet, read_tf_config

import numpy as np
import pytest
import tensorflow as tf
from small_runs import Script, folder, shorten
from support import ROOT, call, losses
from tensorflow.python.distribute.multi_worker_util import id_in_cluster

FLAGS = ("--dtype", "float64", "--batch-size", 30)
slow = pytest.mark.slow
FORKS = pytest.mark.skipif(os.name != "posix", reason="needs forks")


@pytest.fixture
def addresses():
    """Return two free addresses."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in (one, two)]


def config(addresses, index=0, **cluster):
    """Return the text of TF_CONFIG."""
    cluster = {"worker": addresses} | cluster
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def prepare(text, wait=100):
    """Set TF_CONFIG and the time to wait, in the process of a worker."""
    os.environ["TF_CONFIG"], common.devices.workers.WAIT = text, wait


def start(addresses, out, flags, prepare=prepare, *args, texts=None):
    """Start two workers. `flags` has one tuple of flags per worker, and `texts` one TF_CONFIG."""
    texts = texts or [config(addresses, k) for k in range(2)]
    return [
        Script("mmd", out / str(k), *FLAGS, *flags[k], prepare=(prepare, text, *args))
        for k, text in enumerate(texts)
    ]


@slow
@FORKS
def test_workers_train_what_one_device_trains_and_resume(addresses, tmp_path, monkeypatch):
    shorten(monkeypatch)
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    assert call("mmd", *FLAGS, "--epochs", 5, "--output-dir", tmp_path) == 0
    chief, other = start(addresses, tmp_path, [("--epochs", 10**6)] * 2)
    chief.wait_for("(epoch): 3:")
    other.end(signal.SIGKILL)
    output = chief.expect(1)
    assert "Stopped after epoch" in output
    assert "Traceback" not in output
    epochs = len(losses(folder(tmp_path / "0", "mmd"))) + 2
    again = start(addresses, tmp_path, [("--epochs", epochs)] * 2)
    assert [each.end()[0] for each in again] == [0, 0]
    assert again[0].output.count("(epoch)") == 2
    assert addresses[0] in again[1].output
    assert "epoch" not in again[1].output  # only the first worker prints
    assert not (tmp_path / "1").exists()
    found, expected = (losses(folder(out, "mmd")) for out in (tmp_path / "0", tmp_path))
    np.testing.assert_allclose(found[:5], expected, rtol=1e-9)


@slow
@FORKS
@pytest.mark.parametrize("asked", [0, 1])
def test_a_signal_to_any_worker_stops_all_after_the_same_epoch(asked, addresses, tmp_path):
    chief, worker = addresses
    text = config([worker], chief={"0": chief}, ps=["never.started:1"])
    texts = [text.replace('e": "worker', 'e": "chief'), text]
    both = start(addresses, tmp_path, [("--epochs", 10**6)] * 2, texts=texts)
    both[0].wait_for("(epoch): 1:")
    both[asked].send(signal.SIGINT)
    assert [each.end()[0] for each in both] == [130, 130]
    stopped = [each.output.split("Stopped after ")[1].split(" of")[0] for each in both]
    assert stopped[0] == stopped[1]


@FORKS
def test_a_worker_that_does_not_start_and_an_address_in_use_are_named(addresses, tmp_path):
    text = config(addresses)
    output = Script("mmd", tmp_path, *FLAGS, prepare=(prepare, text, 3)).expect(2)
    assert addresses[1] in output.partition("error:")[2]
    with socket.create_server(("", int(addresses[0].split(":")[1]))):
        output = Script("mmd", tmp_path, *FLAGS, prepare=(prepare, text, 3)).expect(2)
    assert addresses[0] in output.partition("error:")[2]
    assert not (tmp_path / "digits").exists()


def prepare_late(text, file, k):
    """Let worker `k` be the last to know that all workers end, and create a file when it knows."""
    prepare(text)
    if f'"index": {k}' not in text:
        return
    wait = common.devices.workers.wait_for_all_workers

    def late():
        time.sleep(2)
        file.touch()
        wait()

    for module in (common.devices.distribute, common.training.run):
        module.wait_for_all_workers = late


@FORKS
@pytest.mark.parametrize(("flags", "status"), [
    ([("--latent-dim", 3), ()], 2),
    pytest.param([("--epochs", 1)] * 2, 0, marks=slow),
    pytest.param([("--dtype", "float32", "--learning-rate", 1e30)] * 2, 1, marks=slow),
])  # fmt: skip
@pytest.mark.parametrize("last", [0, 1])
def test_no_worker_ends_before_all_know(last, flags, status, addresses, tmp_path):
    """All workers train, diverge, or are refused because their flags are different."""
    file = tmp_path / "the last one knows"
    both = start(addresses, tmp_path, flags, prepare_late, file, last)
    output = both[1 - last].expect(status)
    assert file.exists()
    output += both[last].expect(status)
    assert output.count("different flags") == (2 if status == 2 else 0)
    assert (tmp_path / "0").exists() == (status != 2)


def test_an_empty_tf_config_is_ignored(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", " ")
    assert read_tf_config() == ((), None)
    assert "TF_CONFIG" not in os.environ


A, B, C = "a:1", "b:2", "c:3"
CLUSTERS = [  # a cluster, the task of this process, and the addresses of the workers
    (None, None, ()),
    ({}, ("worker", 0), ()),
    ({"chief": [A]}, ("chief", 0), ()),
    ({"chief": [A]}, None, ()),
    ({"chief": [A], "worker": []}, ("chief", "0"), ()),
    ({"worker": {"0": A}}, ("worker", 0), ()),
    ({"worker": [A], "ps": [B], "evaluator": [C]}, ("worker", 0), ()),
    ({"worker": [A, B]}, ("worker", 1), (A, B)),
    ({"worker": [C], "chief": [A]}, ("worker", 0), (A, C)),
    ({"worker": {"1": B, "0": A}}, ("worker", 1), (A, B)),
    ({"worker": ["[::1]:7", "[::1]:8"]}, ("worker", 0), ("[::1]:7", "[::1]:8")),
    ({"worker": [B], "chief": {"0": A}, "ps": [C]}, ("chief", 0), (A, B)),
    ({"worker": [A, B], "evaluator": [C]}, ("worker", 0), (A, B)),
]


@pytest.mark.parametrize(("cluster", "task", "workers"), CLUSTERS)
def test_clusters_of_tensorflow_are_accepted(cluster, task, workers, monkeypatch):
    content = {"environment": "cloud"} | ({} if cluster is None else {"cluster": cluster})
    content |= {"task": dict(zip(("type", "index"), task, strict=True))} if task else {}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    address = workers and resolver.cluster_spec().task_address(task[0], int(task[1]))
    for _ in range(2):  # TF_CONFIG may be read again
        assert read_tf_config() == (workers, address or None)
    if workers:
        assert {*resolver.cluster_spec().jobs} <= {"chief", "worker"}
        assert resolver.cluster_spec().task_address(task[0], task[1]) == address
        assert id_in_cluster(resolver.cluster_spec(), *task) == workers.index(address)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
def test_workers_with_ipv6_addresses_meet():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as this:
        other = socket.create_server(("::1", 0), family=socket.AF_INET6)
        pair = [f"[::1]:{one.getsockname()[1]}" for one in (this, other)]
    with other, meet(pair, pair[0]):
        pass


@pytest.mark.skipif(os.name == "nt", reason="a killed process has no status on Windows")
def test_a_process_in_which_tensorflow_hangs_is_killed_with_a_message(addresses):
    code = f"""
import ctypes, common.devices.workers as w
w.WAIT = 0.5
with w.meet(({addresses[0]!r},), {addresses[0]!r}):
    ctypes.PyDLL(None).sleep(60)  # holds Python's lock
"""
    words = [sys.executable, "-c", code]
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert process.returncode == -signal.SIGKILL
    assert "0.5 seconds" in process.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to another process")
def test_ctrl_c_does_not_end_the_watchdog():
    code = common.devices.workers.WATCHDOG.replace(
        "sys.stdin.read()", "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(os.getpid()), "50", "too late"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(words, **pipes) as watchdog:
        watchdog.stdout.readline()
        watchdog.send_signal(signal.SIGINT)
        _, error = watchdog.communicate(timeout=20)  # closes its stdin
    assert (watchdog.returncode, error) == (0, b"")


@pytest.mark.parametrize(("text", "named"), [
    ("{", ""),
    ("7", ""),
    (config(["here:1"], 1), "task"),
    (config([A, B], -1), "task"),
    (json.dumps({"cluster": {"worker": [A, B]}}), "task"),
    (json.dumps({"cluster": {"worker": [A]}, "task": {"type": "worker"}}), "task"),
    (config([A, "here"]), "'here'"),
    (config([7]), ""),
    (config(["here:99999", A]), "'here:99999'"),
    (config([C], chief=[A, B]), "chief"),
    (config({"0": A, "2": B}), "'worker'"),
    (config({"1": A}, 1), "'worker'"),
    (config([A], master=[B]), "'master'"),
    (config([A, B], ps=[C]).replace('e": "worker', 'e": "ps'), "'ps'"),
    (config([A]).replace('e": "worker', 'e": "evaluator'), "'evaluator'"),
    ("[" * 100_000, ""),
    (config(["here:1", "here:1"]), "own address"),
    (config(["here:1", "there:1", "where:1"]), "--batch-size"),
])  # fmt: skip
def test_an_invalid_tf_config_is_refused(text, named, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", text)
    assert call("mmd", "--output-dir", tmp_path) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "TF_CONFIG" in error or named == "--batch-size"
    assert not list(tmp_path.iterdir())
