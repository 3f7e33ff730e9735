"""--replicas: so many devices train the model that one trains."""

import common.data.batches
from common.trained import load_run

import numpy as np
import pytest
from conftest import SCRIPTS, call, few_digits, losses

OBJECTIVES = [
    ("cvae", ""),
    ("cvae", "--beta 2"),
    ("cvae", "--alpha 0.5 --lambda 3 --vamp-prior 7"),  # which two do not share evenly
    ("mmd", "--lambda 10 --cross-entropy"),
]
STEPS = 20


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    """An epoch is that many steps of 30 images; nothing is drawn."""
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)
    monkeypatch.setattr("common.run.draw_figures", lambda *_: {})
    data = few_digits(train=30 * STEPS)
    for script in SCRIPTS.values():
        monkeypatch.setattr(script, "load_dataset_or_digits", lambda *_: data)


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


@pytest.mark.parametrize(("model", "flags"), OBJECTIVES)
def test_replicas_train_what_one_device_trains(model, flags, tmp_path):
    flags = (*flags.split(), "--dtype", "float64")
    one, two = (train(model, tmp_path / str(n), *flags, "--replicas", n) for n in (1, 2))
    assert_equal(two, one, rtol=1e-9)


def test_a_run_goes_on_with_any_number_of_replicas(tmp_path):
    flags = ("--dtype", "float64")
    whole = train("mmd", tmp_path / "whole", *flags, "--epochs", 3)
    for epoch, n in ((1, 2), (2, 1), (3, 2)):
        parts = train("mmd", tmp_path / "parts", *flags, "--epochs", epoch, "--replicas", n)
    assert_equal(parts, whole, rtol=1e-9)


def test_in_single_precision_the_losses_are_the_same_to_rounding(tmp_path):
    (one, _), (two, _) = (train("cvae", tmp_path / str(n), "--replicas", n) for n in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-5)


def test_what_cannot_be_is_refused(tmp_path, capsys):
    flags = ("--dataset", "digits", "--output-dir", tmp_path)
    assert call("mmd", *flags, "--replicas", 3) == 2
    told = "--batch-size 100 does not divide by 3 replicas: give 99."
    assert told in capsys.readouterr().err
    assert call("mmd", *flags, "--replicas", 4) == 2
    assert "--replicas 4: TensorFlow has begun with 2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
