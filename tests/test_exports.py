"""The files that a run exports from its checkpoints."""

import errno
import importlib.metadata
import io
import json
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import DEFAULT, Mock

from common.load import load_run
from common.program.errors import UserError
from common.program.files import read_json
from common.trained import Trained

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from small_runs import EPOCHS, SPOILS, events, exports, folder, read_weights, state
from support import LOSSES, both, few_digits, losses

OWN_FLAGS = {
    "cvae": dict.fromkeys(("beta", "alpha", "lambda", "vamp_prior", "kernel")),
    "mmd": {"lambda": None, "cross_entropy": False, "kernel": None},
}


@both
def test_settings_have_all_flags_the_data_set_and_the_environment(model, whole):
    settings = read_json(folder(whole, model) / "settings.json")
    assert settings["device"]
    assert settings["model"] == model
    assert settings["flags"] == OWN_FLAGS[model] | {
        "epochs": EPOCHS, "batch_size": 20, "learning_rate": 1e-3, "latent_dim": 2,
        "dataset": "digits", "data_dir": None, "output_dir": str(whole), "seed": 0,
        "plot_every": 2, "dtype": "float32", "tensorboard": True, "fresh": False,
        "images": None, "image_size": None, "skip_unreadable": False, "replicas": 1,
        "filters": [32, 64],
    }  # fmt: skip
    assert settings["trained_epochs"] == EPOCHS
    assert settings["dataset"] == {
        "name": "digits", "title": "digits (scikit-learn)", "train_images": 60, "test_images": 40,
        "image_shape": [28, 28, 1], "fingerprint": few_digits().fingerprint,
    }  # fmt: skip
    assert settings["epoch"] == {"batches": 6, "passes": 2}
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    assert versions.items() <= settings["versions"].items()
    found = settings["environment"]
    assert found["TF_NUM_INTRAOP_THREADS"] == os.environ["TF_NUM_INTRAOP_THREADS"]
    assert found["TF_ENABLE_ONEDNN_OPTS"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    assert found["processor"]


@pytest.mark.usefixtures("no_training")
def test_a_package_that_is_replaced_by_another_has_no_version(here, tmp_path, monkeypatch):
    def version(name, version=importlib.metadata.version):
        return version("no tensorflow" if name == "tensorflow" else name)  # as tensorflow-cpu

    monkeypatch.setattr(importlib.metadata, "version", version)
    here("mmd", "--epochs", 1)
    versions = json.loads((folder(tmp_path, "mmd") / "settings.json").read_text())["versions"]
    assert versions["tensorflow"] is None
    assert versions["numpy"] == np.__version__


def test_the_decoder_is_deleted_first_and_written_last(here, tmp_path, monkeypatch):
    """Whenever the run is killed, three models in its folder are of the same epoch."""
    replace = Mock(wraps=os.replace)
    monkeypatch.setattr(os, "replace", replace)
    here("cvae", "--vamp-prior", 7, "--epochs", 1)
    names = [new.name for (_, new), _ in replace.call_args_list]
    assert names[-4:] == ["settings.json", "encoder.keras", "prior.keras", "decoder.keras"]


def test_the_settings_of_an_extended_run_describe_its_models_at_any_time(here, copied):
    """Compare settings.json with the models just before each file operation of the run."""
    run = copied("mmd", done=True)
    models, seen, watching = [run / "encoder.keras", run / "decoder.keras"], [], [True]

    def look(event, args):
        if watching[0] and event in ("open", "os.rename", "os.remove") and str(run) in str(args[0]):
            watching[0] = False
            weights = [hash(tuple(read_weights(file))) for file in models if file.exists()]
            epochs = json.loads((run / "settings.json").read_text())["trained_epochs"]
            seen.append((epochs, *weights) if len(weights) == 2 else None)
            watching[0] = True

    look("open", [run])
    sys.addaudithook(look)  # cannot be removed
    here("mmd", "--epochs", EPOCHS + 2)
    look("open", [run])
    watching[0] = False
    first, gap, *others = dict.fromkeys(seen)
    assert gap is None
    assert [epochs for epochs, *_ in (first, *others)] == [EPOCHS, EPOCHS + 2]
    assert len(seen) > 40


@pytest.mark.parametrize(("model", "done", "shift"), [
    *(("mmd", True, i) for i in range(len(SPOILS))), ("cvae", True, 0), ("cvae", False, 0)
])  # fmt: skip
def test_damaged_exports_are_written_again(model, done, shift, here, whole, copied):
    run = copied(model, done)
    files = exports(run)
    assert len(files) == (9 if done else 7)
    for i, path in enumerate(files):  # in four tests, each file is damaged in each way
        SPOILS[(i + shift) % len(SPOILS)](path)
    output = here(model)
    assert ("Losses (epoch)" in output) != done
    assert ("--epochs is 3" in output) == ("--fresh" in output) == done
    assert state(run) == state(folder(whole, model))


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"garbage"), None])
def test_tensorboard_files_are_written_again_without_missing_figures(make, here, copied):
    run = copied("mmd", done=True)
    before = events(run)
    shutil.rmtree(run / "tensorboard")
    figure = run / "mmd_grid_epoch_0.png"
    figure.unlink()
    if make:
        make(figure)
    here("mmd")
    gone = [one for one in before if one[0] == 0 and b"figures/grid" in one[1]]
    assert len(gone) == 1
    assert events(run) == [one for one in before if one not in gone]


@both
def test_tensorboard_has_the_losses_and_figures_of_each_epoch(model, whole):
    run = folder(whole, model)
    (file,) = (run / "tensorboard").iterdir()
    _, *found = tf.compat.v1.train.summary_iterator(str(file))
    assert [event.step for event in found] == sorted(event.step for event in found)
    values = {
        (event.step, value.tag): tf.make_ndarray(value.tensor)
        for event in found
        for value in event.summary.value
    }
    assert len(values) == len(found)
    for step, *row in losses(run):
        for name, value in zip(LOSSES[model], row, strict=True):
            assert values.pop((step, f"losses/{name}")) == np.float32(value)
    for path in run.glob("*.png"):
        kind, step = path.stem.removeprefix(f"{model}_").split("_epoch_")
        width, height, png = values.pop((int(step), f"figures/{kind}"))
        shown = imread(path)
        assert (int(height), int(width)) == shown.shape[:2]
        np.testing.assert_array_equal(imread(io.BytesIO(png)), shown)
    assert not values


@pytest.fixture
def hold(monkeypatch):
    """Return a function that simulates a file in use on Windows: no call replaces or deletes it.

    Its arguments are the name of the file and the number of failing calls. The file is free again
    if the number is 0.
    """
    left = {}

    def hold(name, times=10**6):
        left[name] = times

    def wrap(place, function, position):
        real = getattr(place, function)

        def call(*args, **kwargs):
            if left.get(Path(args[position]).name, 0):
                left[Path(args[position]).name] -= 1
                raise PermissionError(errno.EACCES, "Access is denied", str(args[0]))
            return real(*args, **kwargs)

        monkeypatch.setattr(place, function, call)

    wrap(os, "replace", 1)
    wrap(Path, "unlink", 0)
    return hold


@pytest.mark.parametrize("name", ["losses.csv", "mmd_grid_epoch_2.png", "settings.json"])
def test_an_export_that_failed_is_repaired_by_the_next(name, here, hold, whole, copied):
    run = copied("mmd")
    (run / name).rename(run / "old")
    hold(name, 3)  # attempts per export
    output = here("mmd")
    assert output.count(name) == 1
    assert "Access is denied" in output
    assert state(run)[:-1] == state(folder(whole, "mmd"))[:-1]  # all but the events


def test_tensorboard_files_that_failed_are_written_by_the_next_export(
    here, whole, copied, monkeypatch
):
    """Simulate a full disk by a writer that fails once."""
    run, real = copied("mmd"), tf.summary.scalar
    effects = [tf.errors.ResourceExhaustedError(None, None, "no space")] + [DEFAULT] * 99
    monkeypatch.setattr(tf.summary, "scalar", Mock(wraps=real, side_effect=effects))
    assert here("mmd").count("tensorboard cannot be written: no space") == 1
    assert state(run) == state(folder(whole, "mmd"))


@pytest.mark.parametrize("name", [
    "losses.csv", "settings.json", "encoder.keras", "decoder.keras", "mmd_grid_epoch_3.png"
])  # fmt: skip
def test_a_run_whose_exports_failed_ends_with_the_command_that_writes_them(
    name, here, hold, whole, copied, monkeypatch
):
    run = copied("mmd", done=True)
    (run / name).rename(run / "old")
    hold(name)
    monkeypatch.setattr("sys.orig_argv", ["python", "mmd_cvae.py", "--fresh", "--seed=0"])
    output = here("mmd")
    assert output.count(name) == 2
    named, command = output.splitlines()[-2:]
    assert name in named
    assert command.endswith(" mmd_cvae.py --seed=0")
    hold(name, 0)
    assert name not in here("mmd")
    assert state(run) == state(folder(whole, "mmd"))


@pytest.mark.parametrize("name", ["settings.json", "encoder.keras", "decoder.keras"])
def test_models_of_two_epochs_are_never_loaded_together(name, here, hold, copied):
    run = copied("mmd", done=True)
    old = load_run(run)
    hold(name)
    assert name in here("mmd", "--epochs", EPOCHS + 1)
    try:
        found = load_run(run)
    except UserError:
        assert not (run / "decoder.keras").exists()
    else:
        assert name == "decoder.keras"
        assert (found.fingerprint, found.epochs) == (old.fingerprint, EPOCHS)
    hold(name, 0)
    here("mmd", "--epochs", EPOCHS + 1)
    found = load_run(run)
    assert found.epochs == EPOCHS + 1
    assert found.fingerprint != old.fingerprint


@pytest.mark.usefixtures("no_training")
def test_the_test_images_are_encoded_once_per_figures(here, monkeypatch):
    encode = Mock(wraps=Trained.encode)
    monkeypatch.setattr(Trained, "encode", lambda *args: encode(*args))
    here("mmd")
    assert encode.call_count == 3  # epochs 0, 2 and 3
