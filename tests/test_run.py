"""Both scripts from their main: what a run writes, prints and returns; again; TensorBoard."""

import concurrent.futures
import contextlib
import errno
import importlib.util
import io
import json
import os
import re
import shutil
import signal
from pathlib import Path
from unittest.mock import Mock

import common.compare.__main__ as compare
import common.data.batches
from common.compare import metrics
from common.data.batches import shuffled_batches
from common.data.sources import load_dataset
from common.load import load_run
from common.losses import normal_loglik
from common.objectives import priors
from common.plotting import draw_figures
from common.program.errors import UserError
from common.program.files import read_json
from common.trained import active_dimensions
from common.training.folder import FIGURES

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from support import (
    SCRIPTS,
    Script,
    both,
    call,
    configuration,
    few_digits,
    losses,
    small_figures,
    snapshot,
)

FLAGS = ("--dataset", "digits", "--epochs", 3, "--plot-every", 2, "--learning-rate", "1e-3")
EPOCH, N = r"Losses \(epoch\): (\d+):", r"-?\d+\.\d+"
LINES = {  # their digits are compared with losses.csv
    "cvae": rf"{EPOCH}  {N} logpx_z_total,  {N} logpz_total,  {N} logqz_x_total,  {N} total",
    "mmd": rf"{EPOCH}  {N} loss_nll_total,  {N} loss_mmd_total,  {N} total",
}
TITLES = {"cvae": r"CVAE \(ELBO\)", "mmd": "MMD-VAE"}
OWN_FLAGS = {
    "cvae": dict.fromkeys(("beta", "alpha", "lambda", "vamp_prior", "kernel")),
    "mmd": {"lambda": None, "cross_entropy": False, "kernel": None},
}
DATA = few_digits(train=300, test=80)


def two_short_passes(patch):
    """An epoch is two passes over 300 images, and its figures are quickly drawn."""
    patch.setattr(common.data.batches, "EPOCH", 600)
    patch.setattr("common.training.exports.draw_figures", small_figures)
    for script in SCRIPTS.values():
        patch.setattr(script, "load_data", lambda *_: DATA)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    two_short_passes(monkeypatch)


@pytest.fixture
def no_training(monkeypatch):
    """Steps change nothing and need no graph: for what is around them."""
    for script in SCRIPTS.values():
        monkeypatch.setattr(script, "train_steps", lambda _, first, last, totals, *__: totals + 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each script: OUTPUT_DIR, and by model what it printed and what main returned."""
    out = tmp_path_factory.mktemp("runs") / "new" / "folder"
    printed, returned = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        two_short_passes(patch)
        for model, script in SCRIPTS.items():
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                returned[model] = script.main([*map(str, FLAGS), "--output-dir", str(out)])
            printed[model] = stdout.getvalue().splitlines()
    return out, printed, returned


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the two runs, to go on with: OUTPUT_DIR."""
    return shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)


def written(model, figures, checkpoints):
    """The files of a finished run, with figures and checkpoints of these epochs."""
    files = {"losses.csv", "settings.json", "encoder.keras", "decoder.keras", ".lock"}
    files |= {f"{model}_{kind}_epoch_{epoch}.png" for kind in FIGURES for epoch in figures}
    suffixes = ("index", "data-00000-of-00001")
    return files | {f"checkpoints/ckpt-{epoch}.{s}" for epoch in checkpoints for s in suffixes}


@both
def test_a_run_writes_what_it_should(model, trained):
    run = trained[0] / "digits" / model
    files = {path.as_posix() for path in snapshot(run)}
    assert files == written(model, figures=(0, 2, 3), checkpoints=(1, 2, 3))
    for kind in FIGURES:
        files = [trained[0] / f"digits/{m}/{m}_{kind}_epoch_3.png" for m in SCRIPTS]
        assert len({file.read_bytes()[16:24] for file in files}) == 1  # of one size
    settings = json.loads((run / "settings.json").read_text())
    assert settings["device"]
    assert settings["model"] == model
    flags = {
        "epochs": 3, "batch_size": 100, "learning_rate": 1e-3, "latent_dim": 2,
        "dataset": "digits", "data_dir": None, "output_dir": str(trained[0]), "seed": 0,
        "plot_every": 2, "dtype": "float32", "tensorboard": False, "fresh": False,
        "images": None, "image_size": None, "replicas": 1,
    }  # fmt: skip
    assert settings["flags"] == flags | OWN_FLAGS[model]
    assert settings["dataset"] == {
        "name": "digits", "title": "digits (scikit-learn)", "train_images": 300, "test_images": 80,
        "image_shape": [28, 28, 1], "fingerprint": DATA.fingerprint,
    }  # fmt: skip
    assert settings["epoch"] == {"batches": 6, "passes": 2}
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    assert versions.items() <= settings["versions"].items()


@both
def test_a_run_prints_the_originals_lines_and_losses_that_fall(model, trained):
    run = trained[0] / "digits" / model
    first, second, *lines = trained[1][model]
    flags = "seed 0, latent dimensions 2, learning rate 0.001"
    assert re.fullmatch(rf"{TITLES[model]} on digits \(scikit-learn\), [CG]PU.*: {flags}", first)
    epoch = "An epoch: 6 batches of 100, 2 passes over 300 images."
    assert second == f"{epoch} To epoch 3, in {run}."
    lines = [line for line in lines if not line.startswith("Of 2 latent dimensions")]
    assert [re.fullmatch(LINES[model], line)[1] for line in lines] == ["1", "2", "3"]
    rows, places = losses(run), 2 if model == "cvae" else 4
    assert rows[0][-1] > rows[1][-1] > rows[2][-1]
    for line, (epoch, *terms, total) in zip(lines, rows, strict=True):
        expected = -(terms[0] + terms[1] - terms[2]) if model == "cvae" else sum(terms)
        assert total == pytest.approx(expected, rel=1e-6)  # unrounded
        printed = [f"{value:.{places}f}" for value in (*terms, total)]
        assert re.findall(r"-?\d+\.?\d*", line) == [f"{epoch:.0f}", *printed]
    header = (run / "losses.csv").read_text().splitlines()[0]
    assert header == ",".join(("epoch", *SCRIPTS[model].LOSSES, "seconds"))


@both
def test_figures_show_the_model_with_the_same_draws_each_time(model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "common.training.exports.draw_figures", lambda *args: drawn.append(args) or {}
    )
    assert call(model, "--epochs", 1, "--seed", 7, "--output-dir", tmp_path) == 0
    assert [title[-9:] for *_, title in drawn] == [", epoch 0", ", epoch 1"]
    draws = tf.random.stateless_normal((64, 2), seed=(7, 0))  # of no script in particular
    decode, mean, *_, title = drawn[-1]
    for _, _, random_vector, data, _ in drawn:
        np.testing.assert_array_equal(random_vector, draws)
        assert data is DATA
    assert title == f"{TITLES[model]}, digits (scikit-learn), epoch 1".replace("\\", "")
    run = load_run(tmp_path / "digits" / model)
    np.testing.assert_allclose(mean, run.encode(DATA.test_images), atol=1e-5)
    np.testing.assert_allclose(decode(draws), run.decode(draws), atol=1e-5)


@both
def test_main_returns_the_trained_run_as_load_run_does(model, trained):
    run, returned = load_run(trained[0] / "digits" / model), trained[2][model]
    assert returned.settings == run.settings
    assert returned.fingerprint == run.fingerprint
    np.testing.assert_array_equal(returned.encode(DATA.test_images), run.encode(DATA.test_images))
    np.testing.assert_array_equal(returned.sample(3)[1], run.sample(3)[1])
    x, rng = DATA.train_images.numpy() / np.float32(255), tf.random.Generator.from_seed(0)
    _, terms = SCRIPTS[model].compute_loss(x, run.encoder, run.decoder, rng)
    reconstruction = abs(terms[0]) / (3 if model == "cvae" else 1)  # cvae: a sum over 300, not 100
    last = abs(losses(run.folder)[-1][1])  # of an epoch in which it became smaller
    assert last / 2 < reconstruction < last


@both
@pytest.mark.parametrize(("size", "ends"), [(100, [(0, 10), (10, 15)]), (700, [(0, 1), (1, 2)])])
def test_epochs_are_shuffles_of_1000_images_a_call(model, size, ends, tmp_path, monkeypatch):
    calls, data = [], load_dataset("digits")

    def record(train_step, first, last, totals, images, batches, *state):
        assert images is data.train_images
        calls.append(((int(first), int(last)), batches.numpy()))
        return totals + float(last - first)

    monkeypatch.setattr(SCRIPTS[model], "load_data", lambda *_: data)
    monkeypatch.setattr(SCRIPTS[model], "train_steps", record)
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    flags = ("--epochs", 2, "--seed", 3, "--batch-size", size, "--output-dir", tmp_path)
    assert call(model, *flags) == 0
    assert [end for end, _ in calls] == [*ends, *ends]
    for epoch in (1, 2):
        for _, batches in calls[2 * epoch - 2 : 2 * epoch]:
            np.testing.assert_array_equal(batches, shuffled_batches(1500, size, 3, epoch))
    assert {value for row in losses(tmp_path / "digits" / model) for value in row[1:]} == {1.0}


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_progress_bar_on_a_terminal(tmp_path):
    flags = ("--dataset", "digits", "--epochs", 2, "--batch-size", 4)
    output = Script("mmd", tmp_path, *flags, terminal=True).expect(0)
    assert re.search(r"epoch [12]: .*\d+/30 \[.*<.*(batch/s|s/batch)\]", output)
    assert re.findall(LINES["mmd"], output) == ["1", "2"]


@pytest.mark.usefixtures("no_training")
def test_what_differs_from_the_default_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    flags = ("--epochs", 1, "--output-dir", tmp_path, "--dtype", "float64", "--latent-dim", 3)
    assert call("cvae", *flags, "--beta", 1) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("CVAE (beta = 1) on digits (scikit-learn)")
    assert first.endswith("latent dimensions 3, learning rate 0.0001, float64")


def outside():
    """What a run changes for as long as it runs."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    return configuration(), handlers, matplotlib.rcParams.copy()


@pytest.mark.slow
def test_main_leaves_the_program_that_it_runs_in_as_it_was(tmp_path, monkeypatch):
    keras.config.set_image_data_format("channels_first")  # which the fixtures take back
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    monkeypatch.setattr("common.training.exports.draw_figures", draw_figures)
    before = outside()
    flags = ("--epochs", "1", "--output-dir", str(tmp_path), "--dtype", "float64")
    run = SCRIPTS["mmd"].main(flags)
    assert outside() == before
    mean = run.encode(DATA.test_images)
    assert mean.dtype == "float64"
    np.testing.assert_array_equal(load_run(run.folder).encode(DATA.test_images), mean)
    monkeypatch.setattr("common.training.exports.draw_figures", small_figures)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # where no handler can be set
        again = pool.submit(SCRIPTS["mmd"].main, [*flags, "--fresh"]).result()
    assert again.fingerprint == run.fingerprint


@both
def test_a_finished_run_says_so_and_touches_no_result(model, trained, capsys):
    out = trained[0]
    before, weights = snapshot(out), load_run(out / "digits" / model).fingerprint
    assert call(model, *FLAGS, "--output-dir", out) == 0
    text = capsys.readouterr().out
    for part in ("Nothing left to train: 3 epochs", "--epochs is 3", "larger --epochs", "--fresh"):
        assert part in text
    changed = {path.suffix for path, _ in before.items() ^ snapshot(out).items()}
    assert changed <= {".keras"}  # which tell the time
    assert load_run(out / "digits" / model).fingerprint == weights


@pytest.mark.parametrize(("model", "flags", "shown"), [
    ("mmd", ["--seed", 1], "--seed 0 there, 1 now"),
    ("mmd", ["--latent-dim", 3], "--latent-dim 2 there, 3 now"),
    ("mmd", ["--learning-rate", 0.01], "--learning-rate 0.001 there, 0.01 now"),
    ("mmd", ["--batch-size", 50], "--batch-size 100 there, 50 now"),
    ("mmd", ["--dtype", "float64"], "--dtype float32 there, float64 now"),
    ("cvae", ["--beta", 1], "--beta not given there, 1.0 now"),
    ("mmd", ["--cross-entropy"], "--cross-entropy not given there, True now"),
    ("mmd", [], "train_images 300 there, 200 now"),  # other data of the same name
])  # fmt: skip
def test_a_run_with_other_settings_is_refused(model, flags, shown, trained, monkeypatch, capsys):
    data, before = DATA if flags else few_digits(train=200, test=80), snapshot(trained[0])
    monkeypatch.setattr(SCRIPTS[model], "load_data", lambda *_: data)
    assert call(model, *FLAGS, "--output-dir", trained[0], *flags) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in (shown, "--output-dir", "--fresh")), error
    assert len(error.splitlines()) == 2
    assert snapshot(trained[0]) == before


@pytest.mark.usefixtures("no_training")
def test_fresh_deletes_what_a_run_writes_and_nothing_else(runs):
    assert call("cvae", *FLAGS, "--output-dir", runs, "--tensorboard") == 0
    run, other = runs / "digits" / "cvae", runs / "digits" / "mmd"
    kept = {"notes.txt", "checkpoints/ckpt-2 copy.index", "a/encoder.keras", "my.png"}
    kept |= {"my_grid.gif", "my_clothes_epoch_3.png", ".my.partial.txt", "mmd_grid_epoch_1.png"}
    kept.add("tensorboard/events.out.tfevents.1700000000.host.1.0.v2")
    for name in ("a", "checkpoints/ckpt-9_temp"):
        (run / name).mkdir()
    for name in (*kept, "cvae_grid.gif", "metrics.json", ".losses.partial.csv"):
        (run / name).touch()
    before = snapshot(other)
    flags = ("--epochs", 1, "--seed", 1, "--plot-every", 9, "--fresh")
    assert call("cvae", *flags, "--output-dir", runs) == 0
    assert snapshot(other) == before
    assert {path.as_posix() for path in snapshot(run)} == written("cvae", (0, 1), (0, 1)) | kept
    assert not (run / "checkpoints" / "ckpt-9_temp").exists()


@pytest.mark.parametrize("name", ["mmd_grid_epoch_2.png", "checkpoints/ckpt-1.index"])
def test_fresh_deletes_nothing_where_it_cannot_delete_all(name, runs, monkeypatch, capsys):
    run, real = runs / "digits" / "mmd", os.rename
    before = snapshot(run)

    def rename(old, new):
        if old == run / name:  # as of a file that may not be changed, or of others in /tmp
            raise PermissionError(errno.EPERM, "Operation not permitted", str(old), None, str(new))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    assert call("mmd", *FLAGS, "--fresh", "--output-dir", runs) == 2
    assert f"{run / name}: Operation not permitted" in capsys.readouterr().err
    assert snapshot(run) == before
    assert not list(run.glob(".deleted-*"))


def test_what_fresh_can_neither_delete_nor_put_back_is_kept(runs, monkeypatch):
    run, real, failed = runs / "digits" / "mmd", os.rename, []
    before = sorted(snapshot(run).values())

    def rename(old, new):
        if failed or old == run / "checkpoints" / "ckpt-1.index":
            failed.append(old)
            raise OSError(errno.EIO, "Input/output error", str(old), None, str(new))
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    assert call("mmd", *FLAGS, "--fresh", "--output-dir", runs) == 2
    assert len(failed) == 2
    assert sorted(snapshot(run).values()) == before


FOLDERS = ("settings.json", "mmd_grid_epoch_2.png", "checkpoints/ckpt-9.index")


@pytest.mark.parametrize("name", FOLDERS)
def test_fresh_deletes_nothing_where_a_folder_is_called_like_a_file_of_a_run(name, runs, capsys):
    run = runs / "digits" / "mmd"
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    (run / name / "mine").touch()
    before = snapshot(run)
    assert call("mmd", *FLAGS, "--fresh", "--output-dir", runs) == 2
    assert f"{run / name} is a folder, and no run's" in capsys.readouterr().err
    assert snapshot(run) == before


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.usefixtures("no_training")
def test_fresh_deletes_links_and_not_what_they_lead_to(runs, tmp_path):
    run, others = runs / "digits" / "mmd", tmp_path / "others"
    shutil.copytree(run, others)
    before = snapshot(others)
    for name in ("checkpoints/ckpt-1_temp", "checkpoints/ckpt-9.index", "mmd_grid_epoch_7.png"):
        (run / name).symlink_to(others)
    assert call("mmd", *FLAGS, "--fresh", "--output-dir", runs) == 0
    assert snapshot(others) == before
    assert not any(path.is_symlink() for path in run.rglob("*"))


def test_a_list_in_a_folder_called_like_a_checkpoint_is_not_followed(runs, tmp_path):
    run, others = runs / "digits" / "mmd", tmp_path / "others"
    assert call("mmd", *FLAGS, "--seed", 1, "--output-dir", others) == 0
    latest = f"ckpt-{len(losses(run))}"
    (run / "checkpoints" / latest).mkdir()
    other = others / "digits" / "mmd" / "checkpoints" / latest
    listed = f'model_checkpoint_path: "{other}"'
    (run / "checkpoints" / latest / "checkpoint").write_text(listed)
    before = losses(run)
    assert call("mmd", *FLAGS, "--epochs", len(before) + 1, "--output-dir", runs) == 0
    assert losses(run)[:-1] == before


@pytest.mark.skipif(os.name != "posix", reason="a name on Windows cannot have them")
@pytest.mark.parametrize("name", ["a[1]", "a\\b"])
def test_a_name_that_tensorflow_takes_for_a_pattern_is_refused(name, tmp_path, capsys):
    assert call("mmd", *FLAGS, "--output-dir", tmp_path / name) == 2
    assert "TensorFlow takes [ and \\ for a pattern" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_folder_that_is_a_link_is_left_alone(name, fresh, runs, tmp_path, capsys):
    run, others = runs / "digits" / "mmd", tmp_path / "others"
    shutil.copytree(run / "checkpoints", others)
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(others)
    before = snapshot(others), snapshot(run)
    assert call("mmd", *FLAGS, *fresh, "--output-dir", runs) == 2
    error = capsys.readouterr().err
    assert f"{run / name} is a link" in error
    assert len(error.splitlines()) == 2
    assert (snapshot(others), snapshot(run)) == before


def test_a_checkpoint_folder_that_cannot_be_read_is_said_to_be_so(runs, monkeypatch, capsys):
    def listdir(path, listdir=os.listdir):
        if Path(path).name == "checkpoints":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert call("mmd", *FLAGS, "--output-dir", runs) == 2
    error = capsys.readouterr().err
    assert "checkpoints: Permission denied" in error
    assert "--fresh" not in error


@pytest.mark.usefixtures("no_training")
def test_links_called_like_a_checkpoint_are_not_written_through(runs, tmp_path):
    file, folder = tmp_path / "theirs", tmp_path / "their folder"
    file.write_text("theirs")
    folder.mkdir()
    checkpoints = runs / "digits" / "mmd" / "checkpoints"
    for name in ("ckpt-4.index", "ckpt-4.data-00000-of-00001", "ckpt-4_temp"):
        (checkpoints / name).symlink_to(folder if name.endswith("temp") else file)
    assert call("mmd", *FLAGS, "--epochs", 4, "--output-dir", runs) == 0
    assert file.read_text() == "theirs"
    assert not any(folder.iterdir())
    assert not any(path.is_symlink() for path in checkpoints.iterdir())
    assert len(losses(checkpoints.parent)) == 4


@pytest.mark.usefixtures("no_training")
def test_files_called_much_like_a_checkpoint_are_others(runs):
    run = runs / "digits" / "mmd"
    others = [run / "checkpoints" / f"ckpt-1.{name}" for name in ("bak", "index.keep", "data.old")]
    others += [run / ".deleted-by-fresh-notes", run / ".fresh-12345678"]
    for other in others:
        other.mkdir()
    for flags in (("--epochs", 5), ("--epochs", 1, "--fresh")):
        assert call("mmd", *FLAGS, *flags, "--output-dir", runs) == 0
        assert all(other.is_dir() for other in others)


def test_a_package_of_another_name_has_no_version(tmp_path, monkeypatch):
    def version(name, version=importlib.metadata.version):
        return version("no tensorflow" if name == "tensorflow" else name)  # as with tensorflow-cpu

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(common.run.Run, "epochs", lambda _: ())
    assert call("mmd", *FLAGS, "--output-dir", tmp_path) == 0
    settings = json.loads((tmp_path / "digits" / "mmd" / "settings.json").read_text())
    assert settings["versions"]["tensorflow"] is None
    assert settings["versions"]["numpy"] == np.__version__


@pytest.mark.usefixtures("no_training")
def test_a_checkpoint_that_does_not_say_which_its_models_are(tmp_path, monkeypatch):
    flags = ("--dataset", "digits", "--epochs", 1, "--output-dir", tmp_path)
    with monkeypatch.context() as patch:  # as it was once written
        patch.setattr(common.run.Run, "_end", lambda self: None)
        assert call("mmd", *flags) == 0
    with pytest.raises(UserError, match="are not those that its settings"):
        load_run(tmp_path / "digits" / "mmd")
    assert call("mmd", *flags) == 0
    assert load_run(tmp_path / "digits" / "mmd").flags["epochs"] == 1


def test_a_lock_that_is_deleted_is_noticed(tmp_path, monkeypatch, capsys):
    def delete(self):
        (self.folder / ".lock").unlink()

    def replace(self):
        os.rename(self.folder / ".lock", self.folder / "old lock")
        (self.folder / ".lock").touch()  # another process's

    for do in (delete, replace):
        monkeypatch.setattr(common.run.Run, "_announce", do)
        assert call("mmd", "--output-dir", tmp_path) == 2
        error = capsys.readouterr().err
        assert ".lock was deleted while this process was at the run" in error
        assert len(error.splitlines()) == 2


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("make", [Path.mkdir, lambda lock: lock.symlink_to("../precious")])
def test_a_lock_that_is_no_file_is_named_and_not_followed(make, tmp_path, capsys):
    lock = tmp_path / "digits" / "mmd" / ".lock"
    lock.parent.mkdir(parents=True)
    make(lock)
    assert call("mmd", "--output-dir", tmp_path) == 2
    error = capsys.readouterr().err
    assert f"{lock} cannot be locked: " in error
    assert "If it is a link or a folder, remove it." in error
    assert not (lock.parent.parent / "precious").exists()


@pytest.mark.parametrize(("flags", "said"), [
    (["--output-dir", "file"], "error: file/digits/mmd: "),  # it is no folder
    (["--batch-size", 301], "--batch-size 301 is more than the 300 training images"),
    (["--tensorboard"], "pip install tensorboard"),
])  # fmt: skip
def test_what_cannot_be_is_refused(flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    (tmp_path / "file").write_text("mine")
    assert call("mmd", *flags) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
    assert (tmp_path / "file").read_text() == "mine"


def check_events(run, model):
    """Each epoch's values are there once, in order: the CSV's losses and the PNGs' pixels."""
    (file,) = (run / "tensorboard").iterdir()
    _, *found = tf.compat.v1.train.summary_iterator(str(file))
    assert [event.step for event in found] == sorted(event.step for event in found)
    values = [(e.step, v.tag, tf.make_ndarray(v.tensor)) for e in found for v in e.summary.value]
    scalars = {(step, tag): value for step, tag, value in values if tag.startswith("losses/")}
    figures = {(step, tag): value for step, tag, value in values if tag.startswith("figures/")}
    assert len(scalars) + len(figures) == len(values)
    names = [f"losses/{name}" for name in SCRIPTS[model].LOSSES]
    rows = [(step, zip(names, row, strict=True)) for step, *row in losses(run)]
    assert scalars == {(step, name): np.float32(value) for step, row in rows for name, value in row}
    pngs = {path.stem: imread(path) for path in run.glob("*.png")}
    assert {f"{model}_{tag[8:]}_epoch_{step}" for step, tag in figures} == set(pngs)
    for (step, tag), (width, height, png) in figures.items():
        shown = pngs[f"{model}_{tag[8:]}_epoch_{step}"]
        assert (int(height), int(width)) == shown.shape[:2]
        np.testing.assert_array_equal(imread(io.BytesIO(png)), shown)


@pytest.mark.slow
def test_tensorboard_has_each_epoch_once(runs, monkeypatch):
    """Of a finished run; of one that is gone on with; once that was stopped; in the end."""
    flags = (*FLAGS, "--output-dir", runs, "--tensorboard")
    model, full = "mmd", Mock(side_effect=tf.errors.ResourceExhaustedError(None, None, "no space"))
    for epochs, status in ((3, 0), (3, 0), (5, 2), (5, 0)):
        with monkeypatch.context() as patch:
            if status:
                patch.setattr(tf.train.Checkpoint, "write", full)
            assert call(model, *flags, "--epochs", epochs) == status
        check_events(runs / "digits" / model, model)


def test_what_digits_depend_on_is_in_the_settings(runs):
    found = read_json(runs / "digits" / "mmd" / "settings.json", dict)["environment"]
    assert found["TF_NUM_INTRAOP_THREADS"] == os.environ["TF_NUM_INTRAOP_THREADS"]
    assert found["TF_ENABLE_ONEDNN_OPTS"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    assert found["processor"]


OBJECTIVES = [
    (
        "cvae",
        "--alpha 0.5 --lambda 3 --vamp-prior 5 --latent-dim 3 --kernel imq --dtype float64",
    ),
    ("mmd", "--lambda 784 --cross-entropy --kernel imq"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "flags"), OBJECTIVES)
def test_the_family_trains_is_continued_exactly_and_loaded(
    model, flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("common.training.exports.draw_figures", small_figures)
    flags = ["--epochs", 2, *flags.split(), "--learning-rate", 0.01, "--output-dir"]
    assert call(model, *flags, tmp_path / "a") == 0
    assert call(model, *flags, tmp_path / "b", "--epochs", 1) == 0
    assert call(model, *flags, tmp_path / "b") == 0
    a, b = (tmp_path / name / "digits" / model for name in "ab")
    assert losses(a) == losses(b)
    assert len(losses(a)) == 2
    run = load_run(a)
    assert run.fingerprint == load_run(b).fingerprint
    header = (a / "losses.csv").read_text().splitlines()[0]
    assert ("loss_mmd_total" in header) == ("--lambda" in flags)
    small = re.findall(r"\d\.(\d+) loss_mmd_total", capsys.readouterr().out)
    assert {*map(len, small)} == ({4} if "--lambda" in flags else set())
    z, images = run.sample(5, seed=1)
    assert images.shape == (5, 28, 28, 1)
    if "--vamp-prior" in flags:
        assert (a / f"{model}_pseudo_inputs_epoch_2.png").exists()
        images = run.prior.images.numpy()
        assert 0 <= images.min() < images.max() <= 1
        assert np.abs(images * 255 - (images * 255).round()).max() > 0.01  # they are trained
        mean, _ = run.mixture()
        assert mean.shape == (run.flags["vamp_prior"], run.flags["latent_dim"])
        assert not np.allclose(z, priors.sample(5, z.shape[1], 1))


@pytest.mark.slow
def test_the_comparison_of_a_run_with_a_vamp_prior(tmp_path, monkeypatch):
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    monkeypatch.setattr("common.trained.load_dataset", lambda *_: DATA)
    monkeypatch.setattr("common.compare.judge.EPOCHS", 1)
    monkeypatch.setattr("common.compare.evaluate.PRIOR_DRAWS", 300)
    wrapped, replace = Mock(wraps=metrics.to_gaussian), Mock(wraps=os.replace)
    monkeypatch.setattr(metrics, "to_gaussian", wrapped)
    monkeypatch.setattr(os, "replace", replace)
    flags = ("--epochs", 1, "--beta", 1, "--vamp-prior", 7, "--output-dir", tmp_path)
    assert call("cvae", *flags) == 0
    place = tmp_path / "digits" / "cvae"
    # The decoder was taken away before, and comes last: the three are never of two epochs
    names = [str(new.relative_to(place)) for (_, new), _ in replace.call_args_list]
    assert names[-4:] == ["settings.json", "encoder.keras", "prior.keras", "decoder.keras"]
    assert call(compare.main, place, "--iw-samples", 2, "--iw-images", 9) == 0
    values = json.loads((place / "metrics.json").read_text())["values"]
    run = load_run(place)
    mean, logvar = run.encoder(DATA.test_images / np.float32(255))
    rng = tf.random.Generator.from_seed(0)
    z = mean + rng.normal(mean.shape) * tf.exp(logvar / 2)
    of_prior = priors.log_prob(z, run.mixture())
    kl = tf.reduce_mean(normal_loglik(z, mean, logvar) - of_prior)
    assert values["KL part of the ELBO"] == pytest.approx(float(kl), rel=1e-3)
    assert float(kl) != pytest.approx(
        float(tf.reduce_mean(normal_loglik(z, mean, logvar) - priors.log_prob(z))), rel=0.01
    )
    assert values["active dimensions"] == (np.var(mean, axis=0) > 0.01).sum()
    for (normal, *_), _ in wrapped.call_args_list:  # whatever the prior, as it asks for
        np.testing.assert_array_equal(normal, priors.sample(300, 2, 0))
    assert "`--beta 1`, `--vamp-prior 7`" in place.with_name("comparison.md").read_text()


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.usefixtures("no_training")
def test_codes_count_among_the_numbers_that_are_to_be_finite(value, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    good, bad = np.zeros((2, 80, 2))
    bad[5, 1] = value
    # of the figures before training, of the first epoch and its figures, of the second epoch
    encode = Mock(side_effect=[good, good, good, bad])
    monkeypatch.setattr("common.trained.Trained.encode", encode)
    assert call("mmd", "--epochs", 2, "--plot-every", 1, "--output-dir", tmp_path) == 1
    said = "a test image's code is infinite or not a number in epoch 2"
    assert said in capsys.readouterr().err
    assert len(losses(tmp_path / "digits" / "mmd")) == 1


@pytest.mark.parametrize("active", [1, 2])
@pytest.mark.usefixtures("no_training")
def test_collapsed_dimensions_are_told(active, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    mean = np.random.default_rng(0).normal(size=(80, 2))
    mean[:, active:] *= 0.05  # a variance of 0.0025
    monkeypatch.setattr("common.trained.Trained.encode", lambda *_: mean)
    assert active_dimensions(mean) == active
    assert call("cvae", "--epochs", 1, "--output-dir", tmp_path) == 0
    told = f"Of 2 latent dimensions {active} are active"
    assert (told in capsys.readouterr().out) == (active < 2)


@pytest.mark.parametrize(("flags", "more"), [((), " --dataset digits"), (FLAGS[:2], "")])
def test_the_command_to_go_on_names_digits_that_stood_in(
    flags, more, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("mmd_cvae.train_steps", Mock(side_effect=OSError(5, "Oh", "there")))
    monkeypatch.setattr("common.run.again", lambda *words: " ".join(["again", *words]))
    assert call("mmd", *flags, "--epochs", 1, "--output-dir", tmp_path) == 2
    assert capsys.readouterr().err.endswith(f"To go on:\nagain{more}\n")
