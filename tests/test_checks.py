"""Checks before, during and after the training."""

from unittest.mock import Mock

from common.trained import active_dimensions

import numpy as np
import pytest
from small_runs import EPOCHS, folder, state
from support import LOSSES, SCRIPTS, losses, snapshot


@pytest.mark.parametrize(("flags", "named"), [
    (["--output-dir", "file"], "file/digits/mmd"),  # `file` is not a folder
    (["--batch-size", 61], "--batch-size 61"),
])  # fmt: skip
def test_invalid_flags_are_refused_before_any_writing(flags, named, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert named in here("mmd", *flags, status=2)
    assert snapshot(tmp_path) == {(tmp_path / "file").relative_to(tmp_path): b"mine"}


@pytest.mark.parametrize(("model", "flags", "advice"), [
    ("cvae", ["--learning-rate", 100], ["--learning-rate than 100"]),
    ("mmd", ["--learning-rate", 1e30], ["--learning-rate than 1e+30"]),
    ("cvae", ["--beta", 1e37], ["--beta than 1e+37", "--learning-rate"]),
])  # fmt: skip
def test_a_run_that_diverges_stops_with_advice(model, flags, advice, here, tmp_path):
    error = here(model, *flags, status=1).partition("error: ")[2]
    for part in ("epoch 1:", "epoch 0", "--fresh", *advice):
        assert part in error
    assert not (folder(tmp_path, model) / "losses.csv").exists()


def nan_loss(*_, **state):
    return dict.fromkeys(LOSSES["cvae"], 1.0) | {"logpx_z_total": np.nan}


def infinite_weight(*_, encoder, **state):
    encoder.dense.bias.assign(np.full(2, np.inf))
    return dict.fromkeys(LOSSES["mmd"], 1.0)


@pytest.mark.parametrize(("model", "step", "named"), [
    ("cvae", nan_loss, "logpx_z_total"),
    ("mmd", infinite_weight, "dense/bias"),
])  # fmt: skip
def test_a_run_that_diverges_keeps_its_last_checkpoint(model, step, named, here, whole, copied):
    run = copied(model)
    before = snapshot(run / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SCRIPTS[model], "train_step", step)
        output = here(model, status=1)
    assert named in output
    assert f"epoch {EPOCHS}" in output
    assert snapshot(run / "checkpoints") == before
    here(model)
    assert state(run) == state(folder(whole, model))


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.usefixtures("no_training")
def test_a_run_stops_if_a_latent_vector_is_not_finite(value, here, tmp_path, monkeypatch):
    good, bad = np.zeros((2, 40, 2))
    bad[5, 1] = value
    # One call for the figures of epoch 0, and one per later epoch
    encode = Mock(side_effect=[good, good, bad])
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    monkeypatch.setattr("common.trained.Trained.encode", encode)
    assert "latent vector" in here("mmd", "--plot-every", 1, status=1)
    assert len(losses(folder(tmp_path, "mmd"))) == 1


@pytest.mark.parametrize("active", [1, 2])
@pytest.mark.usefixtures("no_training")
def test_inactive_dimensions_are_reported(active, here, monkeypatch):
    mean = np.random.default_rng(0).normal(size=(40, 2))
    mean[:, active:] *= 0.05  # a variance of 0.0025
    monkeypatch.setattr("common.trained.Trained.encode", lambda *_: mean)
    assert active_dimensions(mean) == active
    assert (f"{active} of 2 latent dimensions" in here("cvae")) == (active < 2)
