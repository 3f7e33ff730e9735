"""Several replicas train the model that one device trains."""

import common.data.batches
from common.load import load_run

import numpy as np
import pytest
from small_runs import folder
from support import SCRIPTS, call, few_digits, losses

slow = pytest.mark.slow
STEPS = 20


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """Make an epoch `STEPS` batches of 30 images, and draw nothing."""
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    data = few_digits(train=30 * STEPS)
    for script in SCRIPTS.values():
        monkeypatch.setattr(script, "load_data", lambda *_: data)


def train(model, out, *flags):
    """Return the losses of a run, and all its weights in one array."""
    flags = ("--dataset", "digits", "--epochs", 1, "--batch-size", 30, *flags)
    assert call(model, *flags, "--learning-rate", 1e-3, "--output-dir", out) == 0
    run = load_run(folder(out, model))
    weights = run.encoder.weights + run.decoder.weights + getattr(run.prior, "weights", [])
    return np.array(losses(run.folder)), np.concatenate([w.numpy().ravel() for w in weights])


def assert_equal(found, expected, rtol):
    """Compare losses, and weights relative to the largest distance that training can move them."""
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=rtol * STEPS * 1e-3)


@pytest.mark.parametrize("flags", [
    "",
    "--alpha 0.5 --lambda 3 --vamp-prior 7",  # two replicas do not share 7 evenly
    pytest.param("--beta 2", marks=slow),
    pytest.param("--alpha 0.5 --lambda 3", marks=slow),
])  # fmt: skip
def test_replicas_train_what_one_device_trains(flags, tmp_path):
    flags = (*flags.split(), "--dtype", "float64")
    one, two = (train("cvae", tmp_path / str(n), *flags, "--replicas", n) for n in (1, 2))
    assert_equal(two, one, rtol=1e-9)


@slow
def test_a_run_can_be_resumed_with_another_number_of_replicas(tmp_path):
    flags = ("--dtype", "float64", "--lambda", 10, "--cross-entropy")
    whole = train("mmd", tmp_path / "whole", *flags, "--epochs", 2)
    for epoch, n in ((1, 2), (2, 1)):
        parts = train("mmd", tmp_path / "parts", *flags, "--epochs", epoch, "--replicas", n)
    assert_equal(parts, whole, rtol=1e-9)


@slow
def test_in_single_precision_the_losses_are_equal_within_rounding(tmp_path):
    (one, _), (two, _) = (train("cvae", tmp_path / str(n), "--replicas", n) for n in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.parametrize(("replicas", "named"), [
    (3, ["--batch-size", "100", "99", "102"]),
    (4, ["--replicas 4"]),  # TensorFlow has already started with 2
])  # fmt: skip
def test_invalid_numbers_of_replicas_are_refused(replicas, named, tmp_path, capsys):
    flags = ("--dataset", "digits", "--output-dir", tmp_path)
    assert call("mmd", *flags, "--replicas", replicas) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in named)
    assert not list(tmp_path.iterdir())
