"""Both scripts from the command line: flags, what a run writes and prints, continuing, refusals."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import eager_cvae
import mmd_cvae
from common.data import load_dataset, shuffled_batches, to_float
from common.run import run_script

import keras
import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parent.parent
SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
KINDS = ("clothes", "latentspace", "grid", "reconstructions")
LINES = {
    "cvae": r"Losses \(epoch\): (\d+):  -\d+\.\d\d logpx_z_total,  -?\d+\.\d\d logpz_total,"
    r"  -?\d+\.\d\d logqz_x_total,  \d+\.\d\d total",
    "mmd": r"Losses \(epoch\): (\d+):  \d+\.\d{4} loss_nll_total,  \d+\.\d{4} loss_mmd_total,"
    r"  \d+\.\d{4} total",
}
both = pytest.mark.parametrize("model", SCRIPTS)


def spawn(model, *flags, **kwargs):
    """Run a script as a user does, in a process of its own."""
    command = [sys.executable, SCRIPTS[model].__file__, *map(str, flags)]
    return subprocess.run(
        command, capture_output=True, text=True, env=quiet() | kwargs, check=False
    )


def quiet():
    """The environment without what common/__init__.py, imported here too, has set in it."""
    return {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def call(model, *flags):
    """Run a script's main in this process; return its exit status."""
    try:
        run_script(lambda: SCRIPTS[model].main([str(flag) for flag in flags]))
    except SystemExit as stop:
        return stop.code
    return 0


def snapshot(folder):
    """Every file below a folder with its content."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def losses(folder, model):
    """The rows of the losses CSV without the time column, as floats."""
    with (folder / f"{model}_losses.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [[float(v) for k, v in row.items() if k != "seconds"] for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both scripts' runs of three epochs on the digits, in one folder, and what they printed."""
    out = tmp_path_factory.mktemp("runs") / "new" / "folder"
    flags = ("--dataset", "digits", "--epochs", 3, "--plot-every", 2, "--output-dir", out)
    flags += ("--learning-rate", "1e-3")
    return out, flags, {model: spawn(model, *flags) for model in SCRIPTS}


# Flags ------------------------------------------------------------------------

BAD_FLAGS = [
    ("--epochs", "0"),
    ("--epochs", "-3"),
    ("--epochs", "ten"),
    ("--epochs", "1.5"),
    ("--epochs", ""),
    ("--epochs", "1" + "0" * 30),
    ("--batch-size", "0"),
    ("--batch-size", "10001"),
    ("--learning-rate", "0"),
    ("--learning-rate", "-1e-4"),
    ("--learning-rate", "nan"),
    ("--learning-rate", "inf"),
    ("--learning-rate", "fast"),
    ("--latent-dim", "0"),
    ("--latent-dim", "785"),
    ("--dataset", "cifar10"),
    ("--dataset", ""),
    ("--data-dir", ""),
    ("--output-dir", " "),
    ("--seed", "-1"),
    ("--seed", str(2**32)),
    ("--plot-every", "0"),
    ("--dtype", "float16"),
    ("--learning-rate", "1e300"),
    ("--data-dir", "~nobody-of-this-name/x"),
    ("--output-dir", "\udcff"),
    ("--epoch", "5"),
    ("--colour", "red"),
    ("--epochs",),
    ("extra",),
]


@both
@pytest.mark.parametrize("flags", BAD_FLAGS, ids=" ".join)
def test_a_bad_flag_is_one_line_and_status_2(model, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SCRIPTS[model], "load_dataset_or_digits", lambda *_: pytest.fail("loads"))
    assert call(model, *flags) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"{SCRIPTS[model].__name__}.py: error: " in printed.err
    assert flags[0] in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "flags", "named"),
    [
        ("cvae", ["--beta", "-1"], "--beta"),
        ("cvae", ["--beta", "nan"], "--beta"),
        ("cvae", ["--beta", "1e39"], "--beta"),
        ("mmd", ["--beta", "1"], "--beta"),
        ("mmd", ["--dataset", "digits", "--output-dir", "a[b]"], "--output-dir"),
        ("mmd", ["--dataset", "digits", "--output-dir", "*"], "--output-dir"),
        ("cvae", ["--dataset", "digits", "--batch-size", "1501"], "1500 training images"),
    ],
)
def test_contradicting_flags(model, flags, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(model, *flags) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert named in printed.err
    assert list(tmp_path.iterdir()) == []


@both
def test_help_explains_each_flag_with_its_default(model, capsys):
    assert call(model, "--help") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    defaults = {
        "epochs": 50, "batch-size": 100, "learning-rate": 0.0001, "latent-dim": 2,
        "dataset": "fashion_mnist", "data-dir": "the environment's TFDS_DATA_DIR",
        "output-dir": "outputs", "seed": 0, "plot-every": 10, "dtype": "float32",
    }  # fmt: skip
    for flag, default in defaults.items():
        assert re.search(rf"--{flag} [^-]*(-[^-]+)*\(default: {default}", text), flag
    assert "--fresh" in text
    assert "--tensorboard" in text
    assert ("--beta" in text) == (model == "cvae")


# What a run writes and prints -------------------------------------------------


@both
def test_a_run_prints_its_settings_the_originals_lines_and_the_place(model, runs):
    out, _, results = runs
    result = results[model]
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    settings, *lines, place = result.stdout.splitlines()
    for part in ("digits", "epochs=3", "learning_rate=0.001", "seed=0"):
        assert part in settings
    assert [re.fullmatch(LINES[model], line)[1] for line in lines] == ["1", "2", "3"]
    assert str(out / "digits") in place


@both
def test_a_run_writes_what_it_should(model, runs):
    folder = runs[0] / "digits"
    figures = {f"{model}_{kind}_epoch_{epoch}.png" for kind in KINDS for epoch in (0, 2, 3)}
    others = {"losses.csv", "settings.json", "encoder.keras", "decoder.keras"}
    files = {path.name for path in folder.iterdir() if path.name.startswith((model, "check"))}
    files = {name for name in files if model in name}
    assert files == figures | {f"{model}_{name}" for name in others} | {f"checkpoints_{model}"}
    assert not (folder / "tensorboard").exists()
    assert not list(folder.rglob("*.partial*"))
    assert len(list((folder / f"checkpoints_{model}").glob("*.index"))) == 3


@both
def test_figures_show_the_model_as_it_is_with_the_same_draws_each_time(
    model, tmp_path, monkeypatch
):
    drawn = []
    names = (
        "generate_random_clothes",
        "show_latent_space",
        "show_grid",
        "show_reconstructions",
    )
    for name in names:
        original = getattr(SCRIPTS[model], name)
        monkeypatch.setattr(
            SCRIPTS[model], name, lambda *a, f=original: drawn.append((f.__name__, a)) or f(*a)
        )
    flags = ("--dataset", "digits", "--epochs", 1, "--seed", 7, "--output-dir", tmp_path)
    assert call(model, *flags) == 0
    assert [name for name, _ in drawn] == [*names, *names]
    (_, before), *_, (_, after), (_, latent), (_, grid), (_, reconstructions) = drawn
    draws = tf.random.stateless_normal((64, 2), seed=(7, 0))  # of no script in particular
    np.testing.assert_array_equal(before[1], draws)
    np.testing.assert_array_equal(after[1], draws)

    folder, data = tmp_path / "digits", load_dataset("digits")
    encoder = keras.saving.load_model(folder / f"{model}_encoder.keras")
    decoder = keras.saving.load_model(folder / f"{model}_decoder.keras")
    mean = encoder(to_float(data.test_images, "float32"))
    mean = mean[0] if model == "cvae" else mean
    np.testing.assert_allclose(latent[0], mean, atol=1e-5)
    np.testing.assert_array_equal(latent[1], data.test_labels)
    np.testing.assert_array_equal(reconstructions[1], latent[0])
    np.testing.assert_array_equal(reconstructions[2], data.test_images)
    np.testing.assert_array_equal(reconstructions[3], data.test_labels)
    images = decoder(draws)
    images = 1 / (1 + np.exp(-images)) if model == "cvae" else images
    for decode in (after[0], grid[0], reconstructions[0]):
        np.testing.assert_allclose(decode(draws), images, atol=1e-5)
    for _, arguments in drawn[4:]:
        assert arguments[-1].endswith(", digits (scikit-learn), epoch 1")


def test_figures_have_the_same_size_in_both_scripts(runs):
    for kind in KINDS:
        sizes = {
            (runs[0] / "digits" / f"{model}_{kind}_epoch_3.png").read_bytes()[16:24]
            for model in SCRIPTS
        }
        assert len(sizes) == 1


@both
def test_losses_are_unrounded_and_fall(model, runs):
    rows = losses(runs[0] / "digits", model)
    assert [row[0] for row in rows] == [1, 2, 3]
    assert rows[0][-1] > rows[1][-1] > rows[2][-1]
    *terms, total = rows[-1][1:]
    expected = -(terms[0] + terms[1] - terms[2]) if model == "cvae" else sum(terms)
    assert total == pytest.approx(expected, rel=1e-6)
    printed = runs[2][model].stdout.splitlines()[3]
    places = 2 if model == "cvae" else 4
    assert re.findall(r"-?\d+\.\d+", printed) == [f"{v:.{places}f}" for v in rows[-1][1:]]
    header = (runs[0] / "digits" / f"{model}_losses.csv").read_text().splitlines()[0]
    assert header == ",".join(("epoch", *SCRIPTS[model].LOSSES, "seconds"))


@both
def test_settings_hold_every_flag_data_versions_and_device(model, runs):
    out, _, _ = runs
    settings = json.loads((out / "digits" / f"{model}_settings.json").read_text())
    flags = {
        "epochs": 3, "batch_size": 100, "learning_rate": 1e-3, "latent_dim": 2,
        "dataset": "digits", "data_dir": None, "output_dir": str(out), "seed": 0,
        "plot_every": 2, "dtype": "float32", "tensorboard": False, "fresh": False,
    }  # fmt: skip
    assert settings["flags"] == flags | ({"beta": None} if model == "cvae" else {})
    assert settings["dataset"] == {"name": "digits", "train_images": 1500, "test_images": 297}
    assert settings["versions"]["keras"] == keras.__version__
    assert settings["versions"]["tensorflow"] == tf.__version__
    assert settings["device"]


@both
def test_saved_models_are_the_trained_ones(model, runs):
    folder = runs[0] / "digits"
    encoder = keras.saving.load_model(folder / f"{model}_encoder.keras")
    decoder = keras.saving.load_model(folder / f"{model}_decoder.keras")
    x = to_float(load_dataset("digits").train_images[:500], "float32")
    rng = tf.random.Generator.from_seed(0)
    _, terms = SCRIPTS[model].compute_loss(x, encoder, decoder, rng)
    reconstruction = terms[0] / (5 if model == "cvae" else 1)  # cvae: a sum over 500, not 100
    last, first = losses(folder, model)[-1][1], losses(folder, model)[0][1]
    assert abs(reconstruction - last) < abs(first - last) / 2


@both
@pytest.mark.parametrize(
    ("batch_size", "ends"), [(100, [(0, 10), (10, 15)]), (700, [(0, 1), (1, 2)])]
)
def test_each_epoch_trains_on_its_own_shuffle_about_1000_images_a_call(
    model, batch_size, ends, tmp_path, monkeypatch
):
    script, calls = SCRIPTS[model], []
    train_steps = script.train_steps

    def record(first, last, totals, images, batches, *state):
        calls.append(((int(first), int(last)), batches.numpy()))
        return train_steps(first, last, totals, images, batches, *state)

    monkeypatch.setattr(script, "train_steps", record)
    flags = ("--dataset", "digits", "--epochs", 2, "--seed", 3, "--batch-size", batch_size)
    assert call(model, *flags, "--output-dir", tmp_path) == 0
    assert [end for end, _ in calls] == [*ends, *ends]
    for epoch in (1, 2):
        for _, batches in calls[2 * epoch - 2 : 2 * epoch]:
            np.testing.assert_array_equal(batches, shuffled_batches(1500, batch_size, 3, epoch))


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_progress_bar_on_a_terminal(tmp_path):
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, mmd_cvae.__file__, "--dataset", "digits", "--epochs", "1"]
    with subprocess.Popen(
        [*command, "--output-dir", tmp_path], stderr=theirs, stdout=subprocess.PIPE, env=quiet()
    ) as process:
        os.close(theirs)
        bar = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(ours, 1000):
                bar += chunk
        stdout = process.stdout.read().decode()
    os.close(ours)
    bar = bar.decode()
    assert process.returncode == 0
    assert re.search(r"epoch 1: .*1[05]/15 \[.*<.*(batch/s|s/batch)\]", bar)
    assert re.search(LINES["mmd"], stdout)


# Running again ----------------------------------------------------------------


@both
def test_a_continued_run_equals_one_that_was_never_stopped(model, runs, tmp_path, capsys):
    flags = [*runs[1][:-3], tmp_path, *runs[1][-2:]]
    flags[flags.index("--epochs") + 1] = 1
    assert call(model, *flags) == 0
    flags[flags.index("--epochs") + 1] = 3
    capsys.readouterr()
    assert call(model, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "after epoch 1" in lines[1]
    assert [re.fullmatch(LINES[model], line)[1] for line in lines[2:4]] == ["2", "3"]
    folder, whole = tmp_path / "digits", runs[0] / "digits"
    np.testing.assert_allclose(losses(folder, model), losses(whole, model), rtol=1e-6)
    assert {p.name for p in folder.glob("*epoch_[023].png")} == {
        p.name for p in whole.glob(f"{model}_*.png")
    }


@both
def test_a_finished_run_says_so_and_touches_no_result(model, runs, capsys):
    before = snapshot(runs[0])
    assert call(model, *runs[1]) == 0
    text = capsys.readouterr().out
    for part in ("Nothing left to train", "3 epochs", "--epochs is 3", "--epochs", "--fresh"):
        assert part in text
    assert snapshot(runs[0]) == before


@both
@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--seed", "1", "--seed 0 there, 1 now"),
        ("--latent-dim", "3", "--latent-dim 2 there, 3 now"),
        ("--learning-rate", "0.01", "--learning-rate 0.001 there, 0.01 now"),
        ("--batch-size", "50", "--batch-size 100 there, 50 now"),
        ("--dtype", "float64", "--dtype float32 there, float64 now"),
    ],
)
def test_a_run_with_other_settings_is_refused(model, flag, value, shown, runs, capsys):
    before = snapshot(runs[0])
    assert call(model, *runs[1], flag, value) == 2
    error = capsys.readouterr().err
    for part in (shown, "--output-dir", "--fresh"):
        assert part in error
    assert len(error.splitlines()) <= 2
    assert snapshot(runs[0]) == before


def test_beta_is_a_setting_of_the_run(runs, capsys):
    assert call("cvae", *runs[1], "--beta", 1) == 2
    assert "--beta None there, 1.0 now" in capsys.readouterr().err


def test_fresh_starts_over_and_leaves_the_other_script_alone(tmp_path, capsys):
    flags = ("--dataset", "digits", "--output-dir", tmp_path)
    folder = tmp_path / "digits"
    for model in SCRIPTS:
        assert call(model, *flags, "--epochs", 2) == 0
        (folder / f"{model}_grid.gif").touch()
    mmd = {path: data for path, data in snapshot(folder).items() if "mmd" in str(path)}
    capsys.readouterr()
    assert call("cvae", *flags, "--epochs", 1, "--seed", 1, "--fresh") == 0
    assert "(epoch): 1:" in capsys.readouterr().out
    assert len(losses(folder, "cvae")) == 1
    assert not list(folder.glob("cvae_*_epoch_2.png"))
    assert not (folder / "cvae_grid.gif").exists()
    assert len(list(folder.glob("cvae_*_epoch_[01].png"))) == 2 * len(KINDS)
    assert {path: data for path, data in snapshot(folder).items() if "mmd" in str(path)} == mmd


def test_an_output_folder_that_cannot_be_one(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert call("mmd", "--dataset", "digits", "--output-dir", tmp_path / "file") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error
    assert "--output-dir" in error
    assert len(error.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


# TensorBoard ------------------------------------------------------------------


def events(folder, model):
    """What TensorBoard finds of a model: its events in order, but the first of each file."""
    found = []
    for file in sorted((folder / "tensorboard" / model).iterdir()):
        head, *body = tf.compat.v1.train.summary_iterator(str(file))
        assert head.file_version == "brain.Event:2"
        found += body
    return found


def check_events(folder, model):
    """Each epoch's event is there once, in order, with the CSV's losses and the PNGs' bytes."""
    rows = [[0.0], *losses(folder, model)]
    found = events(folder, model)
    assert [event.step for event in found] == list(range(len(rows)))
    times = [event.wall_time for event in found]
    assert times == sorted(times)
    assert 0 <= time.time() - times[-1] < 600
    for row, event in zip(rows, found, strict=True):
        values = {value.tag: value for value in event.summary.value}
        figures = {tag: v.image.encoded_image_string for tag, v in values.items() if "fig" in tag}
        files = {kind: folder / f"{model}_{kind}_epoch_{event.step}.png" for kind in KINDS}
        assert figures == {
            f"figures/{kind}": file.read_bytes() for kind, file in files.items() if file.exists()
        }
        terms = [f"losses/{name}" for name in SCRIPTS[model].LOSSES] if event.step else []
        assert set(values) == {*figures, *terms}
        np.testing.assert_array_equal(
            np.float32([values[term].simple_value for term in terms]), np.float32(row[1:])
        )


@both
def test_tensorboard_of_a_finished_run(model, runs, tmp_path, capsys):
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    assert call(model, *runs[1], "--output-dir", tmp_path, "--tensorboard") == 0
    folder = tmp_path / "digits"
    assert [path.name for path in (folder / "tensorboard").iterdir()] == [model]
    check_events(folder, model)
    before = snapshot(folder)
    assert call(model, *runs[1], "--output-dir", tmp_path, "--tensorboard") == 0
    assert snapshot(folder) == before


def test_tensorboard_has_each_epoch_once_however_often_the_run_was_stopped(
    runs, tmp_path, monkeypatch, capsys
):
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "digits"
    flags = (*runs[1], "--output-dir", tmp_path, "--epochs", 5, "--tensorboard")

    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "no space")

    with monkeypatch.context() as patch:  # epoch 4 leaves an event file and no checkpoint
        patch.setattr(tf.train.CheckpointManager, "save", fail)
        assert call("mmd", *flags) == 2
    check_events(folder, "mmd")
    assert len(events(folder, "mmd")) == 5
    assert call("mmd", *flags) == 0
    assert "Going on after epoch 3" in capsys.readouterr().out
    check_events(folder, "mmd")
    assert len(events(folder, "mmd")) == 6
    assert not list(folder.rglob("*.partial*"))

    (folder / "tensorboard" / "cvae").mkdir()
    assert call("mmd", *runs[1], "--output-dir", tmp_path, "--epochs", 1, "--fresh") == 0
    assert [path.name for path in (folder / "tensorboard").iterdir()] == ["cvae"]


# Other data, dimensions, precision --------------------------------------------

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def test_without_fashion_mnist_the_run_is_on_the_digits_by_name(tmp_path):
    result = spawn(
        "mmd", "--epochs", 1, "--data-dir", tmp_path / "none", "--output-dir", tmp_path, **OFFLINE
    )
    assert result.returncode == 0
    assert "digits instead" in result.stderr
    assert str(tmp_path / "none") in result.stderr
    assert "digits" in result.stdout.splitlines()[0]
    assert "Fashion" not in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    settings = json.loads((tmp_path / "digits" / "mmd_settings.json").read_text())
    assert settings["dataset"]["name"] == "digits"


def test_a_batch_larger_than_the_digits_is_refused_after_the_fallback_too(
    tmp_path, capsys, monkeypatch
):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert call("mmd", "--batch-size", 2000, "--data-dir", tmp_path / "none") == 2
    assert "2000 is more than the 1500 training images" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["fashion_mnist", "mnist"])
def test_a_data_set_that_was_asked_for_is_not_substituted(dataset, tmp_path, capsys, monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    assert call("cvae", "--dataset", dataset, "--output-dir", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "none" / dataset) in error
    assert len(error.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


@both
def test_float64_and_three_dimensions(model, tmp_path, capsys):
    flags = ("--dataset", "digits", "--epochs", 1, "--output-dir", tmp_path)
    assert call(model, *flags, "--dtype", "float64", "--latent-dim", 3) == 0
    encoder = keras.saving.load_model(tmp_path / "digits" / f"{model}_encoder.keras")
    assert {weight.dtype for weight in encoder.weights} == {"float64"}
    assert (tmp_path / "digits" / f"{model}_latentspace_epoch_1.png").exists()


def test_beta_prints_nats_per_image(tmp_path, capsys):
    flags = ("--dataset", "digits", "--epochs", 1, "--output-dir", tmp_path)
    assert call("cvae", *flags, "--beta", 1) == 0
    (row,) = losses(tmp_path / "digits", "cvae")
    assert 300 < row[-1] < 784 * np.log(2) + 5
