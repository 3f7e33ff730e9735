"""common/compare.py on runs of the digits: what it reads, measures, writes and refuses."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import eager_cvae
import mmd_cvae
from common import compare
from common.data import load_dataset, to_float
from common.plotting import latent_grid
from common.report import METRICS
from common.run import run_script

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread

ROOT = Path(__file__).parent.parent
SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
FLAGS = ("--dataset", "digits", "--epochs", "1", "--plot-every", "9")
QUICK = ("--iw-samples", "4", "--iw-images", "30")
FILES = ["comparison.json", "comparison.md", "comparison.png"]


def few_digits(name, data_dir=None):
    """300 training and 80 test images: quick runs, quickly compared."""
    data = load_dataset(name, data_dir)
    return data._replace(
        train_images=data.train_images[:300],
        train_labels=data.train_labels[:300],
        test_images=data.test_images[:80],
        test_labels=data.test_labels[:80],
    )


def relative(folder, model, **flags):
    """A run like the trained one in `folder`, but with other flags and weights, and no training."""
    other = folder.parents[1] / "-".join(map(str, [model, *flags.values()])) / "digits"
    other.mkdir(parents=True)
    settings = json.loads((folder / f"{model}_settings.json").read_text())
    settings["flags"] |= flags
    (other / f"{model}_settings.json").write_text(json.dumps(settings))
    dtype, seed = settings["flags"]["dtype"], settings["flags"]["seed"]
    for name in ("Encoder", "Decoder"):
        keras.utils.set_random_seed(seed)
        net = getattr(SCRIPTS[model], name)(settings["flags"]["latent_dim"], dtype=dtype)
        net.build((None, 28, 28, 1) if name == "Encoder" else (None, net.latent_dim))
        net.save(other / f"{model}_{name.lower()}.keras")
    return other / model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder with a run of each script, an epoch each."""
    out = tmp_path_factory.mktemp("trained") / "out"
    tf.config.run_functions_eagerly(True)  # three batches are sooner computed than traced
    with pytest.MonkeyPatch.context() as patch:
        for script in SCRIPTS.values():
            patch.setattr(script, "load_dataset_or_digits", few_digits)
            patch.setattr(script, "draw_figures", lambda *_: None)
            script.main([*FLAGS, "--output-dir", str(out)])
    tf.config.run_functions_eagerly(False)
    return out / "digits"


@pytest.fixture(scope="module")
def three(trained, tmp_path_factory):
    """Two runs and a relative of the second, compared: folder, the three runs, what was printed."""
    places = [trained / "cvae", trained / "mmd", relative(trained, "mmd", seed=1)]
    folder = tmp_path_factory.mktemp("three") / "new"
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        few(patch)
        compare.main([*map(str, places), *QUICK, "--output", str(folder / "three.md")])
    return folder, places, out.getvalue()


def few(patch):
    patch.setattr(compare, "load_dataset", few_digits)
    patch.setattr(compare, "PRIOR_DRAWS", 300)


@pytest.fixture
def call(monkeypatch, capsys):
    """A function from arguments to exit status, stdout and stderr of common.compare."""
    few(monkeypatch)

    def call(*args):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        status = 0
        try:
            run_script(lambda: compare.main([str(arg) for arg in args]))
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the two runs in out/, to spoil: their folder."""
    ignore = shutil.ignore_patterns("*_metrics.json")
    shutil.copytree(trained, tmp_path / "out" / "digits", ignore=ignore)
    return tmp_path / "out" / "digits"


def rows(markdown):
    """The table's cells by the first one."""
    lines = [line[1:-1].split("|") for line in markdown.splitlines() if line[:1] == "|"]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def check_error(outcome, *words, folder=None):
    """Status 2, one or two plain lines, nothing on stdout, nothing written."""
    status, out, error = outcome
    assert status == 2, error
    assert out == ""
    assert 1 <= len(error.splitlines()) <= 2, error
    for word in words:
        assert str(word) in error
    if folder:
        assert not [file for file in folder.rglob("*") if "comparison" in file.name]


# What it writes ---------------------------------------------------------------


def test_seeds_share_a_column_with_mean_and_standard_deviation(three):
    folder, places, out = three
    assert sorted(os.listdir(folder)) == ["three.json", "three.md", "three.png"]

    markdown = (folder / "three.md").read_text(encoding="utf-8")
    cells = rows(markdown)
    assert rows(out) == cells
    assert cells[""] == ["CVAE", "MMD-VAE"]
    assert "three.png" in markdown
    for place in places:
        assert f"`{place.as_posix()}`" in markdown
    assert "4 samples each of the first 30 test images" in markdown

    numbers = json.loads((folder / "three.json").read_text())
    cvae, mmd = numbers["columns"]
    assert [run["run"] for run in mmd["runs"]] == [place.as_posix() for place in places[1:]]
    assert [run["flags"]["seed"] for run in mmd["runs"]] == [0, 1]
    for metric in METRICS:
        assert f"- **{metric.name}**: " in markdown
        one, two = (
            [run["metrics"].get(metric.key) for run in column["runs"]] for column in (cvae, mmd)
        )
        assert cells[metric.name][0] == f"{one[0]:.{metric.places}f}"
        if metric.key in ("elbo", "kl", "bound"):
            assert two == [None, None]
            assert cells[metric.name][1] == "-"
            assert metric.key not in mmd["mean"]
            continue
        mean, sd = sum(two) / 2, abs(two[0] - two[1]) / 2**0.5
        assert mmd["mean"][metric.key] == pytest.approx(mean)
        assert mmd["standard_deviation"][metric.key] == pytest.approx(sd)
        assert cvae["standard_deviation"][metric.key] is None
        assert cells[metric.name][1] == f"{mean:.{metric.places}f} ± {sd:.{metric.places}f}"
    assert cvae["runs"][0]["metrics"]["bound"] > cvae["runs"][0]["metrics"]["elbo"] - 20
    assert len({tuple(run["latent_mean"]) for run in mmd["runs"]}) == 2


def test_values_are_those_of_the_models(trained, three):
    numbers = json.loads((three[0] / "three.json").read_text())
    data = few_digits("digits")
    x = to_float(data.test_images, "float64").numpy()
    slopes = np.hypot(np.diff(x, axis=1)[:, :, :-1], np.diff(x, axis=2)[:, :-1])
    for column, model in zip(numbers["columns"], SCRIPTS, strict=True):
        values = column["runs"][0]["metrics"]
        encoder, decoder = (
            keras.saving.load_model(trained / f"{model}_{name}.keras")
            for name in ("encoder", "decoder")
        )
        codes = encoder(tf.cast(x, "float32"))
        mean = (codes[0] if model == "cvae" else codes).numpy()
        z_prior = tf.random.stateless_normal((300, 2), (0, 0))

        def decode(z, decoder=decoder, model=model):
            output = decoder(tf.cast(z, "float32")).numpy().astype("float64")
            return 1 / (1 + np.exp(-output)) if model == "cvae" else output

        preds, drawn = decode(mean), decode(z_prior)
        assert values["mse"] == pytest.approx(np.mean((x - preds) ** 2), rel=1e-4)
        crossentropy = -(x * np.log(preds) + (1 - x) * np.log(1 - preds)).sum() / len(x)
        assert values["crossentropy"] == pytest.approx(crossentropy, rel=1e-4)
        edges = np.hypot(np.diff(drawn, axis=1)[:, :, :-1], np.diff(drawn, axis=2)[:, :-1])
        assert values["sharpness"] == pytest.approx(edges.mean() / slopes.mean(), rel=0.05)
        for points, key in ((drawn, "precision"), (decode(latent_grid()), "grid")):
            assert values[key] == pytest.approx(share_in_manifold(points, x), abs=0.02)
        if model == "cvae":
            logvar = codes[1].numpy()
            kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(axis=1).mean()
            assert values["kl"] == pytest.approx(kl, rel=1e-4)
            assert values["elbo"] == pytest.approx(-crossentropy - kl, rel=0.05)
            assert values["elbo"] < -crossentropy - kl + 1
        else:
            np.testing.assert_allclose(
                column["runs"][0]["latent_mean"], mean.mean(axis=0), rtol=1e-4
            )
            covariance = np.cov(mean, rowvar=False)
            np.testing.assert_allclose(
                column["runs"][0]["latent_covariance"], covariance, rtol=1e-3, atol=1e-6
            )
            sds = np.sqrt(np.linalg.eigvalsh(covariance))
            assert [values["narrowest"], values["widest"]] == pytest.approx(sds, rel=1e-3)
            assert values["distance"] == pytest.approx(np.hypot(*mean.mean(axis=0)), rel=1e-3)


def share_in_manifold(images, x, k=3):
    """Precision by hand, on 50 principal components of the test images `x`."""
    pixels, images = x.reshape(len(x), -1), images.reshape(len(images), -1)
    centre = pixels.mean(axis=0)
    axes = np.linalg.svd(pixels - centre, full_matrices=False)[2][:50]
    real, fake = (pixels - centre) @ axes.T, (images - centre) @ axes.T
    radii = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[:, k]
    return (np.linalg.norm(fake[:, None] - real[None], axis=2) <= radii).any(axis=1).mean()


def test_other_dimensions_precisions_and_flags_and_the_same_files_twice(trained, call, tmp_path):
    places = [trained / "mmd", relative(trained, "cvae", latent_dim=3, dtype="float64", beta=2.0)]
    before = sorted({*os.listdir(places[0].parent)} - {"mmd_metrics.json"})
    for name in ("a", "b"):
        for place in places:
            place.with_name(f"{place.name}_metrics.json").unlink(missing_ok=True)
        status, out, error = call(*places, *QUICK, "--output", tmp_path / name / "same")
        assert (status, error) == (0, "")
    assert rows(out)[""] == [
        "MMD-VAE, latent-dim 2, dtype float32",
        "CVAE, latent-dim 3, dtype float64, beta 2.0",
    ]
    assert sorted({*os.listdir(places[0].parent)} - {"mmd_metrics.json"}) == before
    for suffix in ("json", "md", "png"):
        a, b = ((tmp_path / name / f"same.{suffix}").read_bytes() for name in ("a", "b"))
        assert a == b


def test_what_was_measured_is_kept_until_models_or_flags_change(runs, call, monkeypatch):
    evaluated = []

    def evaluate(run, *args):
        evaluated.append(run.model)
        return original(run, *args)

    original = compare.evaluate
    monkeypatch.setattr(compare, "evaluate", evaluate)
    places = (runs / "cvae", runs / "mmd")
    assert call(*places, *QUICK)[0] == 0
    first = {file: (runs / file).read_bytes() for file in FILES}
    assert call(*places, *QUICK)[0] == 0
    assert evaluated == ["cvae", "mmd"]
    assert {file: (runs / file).read_bytes() for file in FILES} == first

    other = relative(runs, "mmd", seed=5)
    shutil.copy(other.with_name("mmd_decoder.keras"), runs / "mmd_decoder.keras")
    assert call(*places, *QUICK)[0] == 0
    assert evaluated[2:] == ["mmd"]
    (runs / "mmd_metrics.json").write_text('{"basis": 3}')
    assert call(*places, *QUICK)[0] == 0
    assert evaluated[3:] == ["mmd"]
    assert call(*places, "--iw-samples", 2, *QUICK[2:])[0] == 0
    assert evaluated[4:] == ["cvae", "mmd"]


def test_a_run_of_which_only_metrics_are_kept_is_in_the_table_alone(runs, call, monkeypatch):
    places = (runs / "cvae", runs / "mmd")
    drawn = []
    original = compare.show_comparison
    monkeypatch.setattr(compare, "show_comparison", lambda c: drawn.append(c) or original(c))
    status, out, _ = call(*places, *QUICK)
    assert status == 0
    for file in runs.glob("mmd_*.keras"):
        file.unlink()
    assert call(*places, *QUICK)[:2] == (0, out)
    assert [[column.title for column in columns] for columns in drawn] == [
        ["CVAE", "MMD-VAE"],
        ["CVAE"],
    ]
    check_error(call(*places, "--iw-samples", 2), "mmd_metrics.json", "--iw-samples")
    for file in runs.glob("cvae_*.keras"):
        file.unlink()
    check_error(call(*places, *QUICK), "none of these runs has models")


def test_without_arguments_the_two_runs_in_outputs(runs):
    """The command itself, as a process; real digits, default place."""
    runs.parent.rename(runs.parent.with_name("outputs"))
    folder = runs.parent.with_name("outputs") / "digits"
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "common.compare", *QUICK],
        cwd=folder.parent.parent,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(done.stdout)[""] == ["CVAE", "MMD-VAE"]
    assert sorted(file.name for file in folder.iterdir() if "comparison" in file.name) == FILES
    assert imread(folder / "comparison.png").shape[1] > 1800


# What it refuses --------------------------------------------------------------


def test_runs_that_are_not_there(runs, call, tmp_path, monkeypatch):
    cvae = runs / "cvae"
    check_error(call(cvae), "two or more")
    check_error(call(cvae, runs / "." / "cvae"), "each given once")
    check_error(call(cvae, runs), "OUTPUT_DIR/DATASET/cvae")
    check_error(call(cvae, tmp_path / "nowhere" / "vae"), "OUTPUT_DIR/DATASET/cvae")
    elsewhere = tmp_path / "new" / "mnist"
    command = f"python mmd_cvae.py --dataset mnist --output-dir {tmp_path / 'new'}"
    check_error(call(cvae, elsewhere / "mmd"), f"no mmd run in {elsewhere}", command)
    monkeypatch.chdir(tmp_path)
    check_error(call(), "no cvae run in", "python eager_cvae.py")
    for name in ("digits", "mnist"):
        shutil.copytree(runs, tmp_path / "outputs" / name)
    check_error(call(), "mnist and digits", "which")
    assert not list(tmp_path.rglob("comparison*"))


def test_an_unfinished_run_and_the_command_that_ends_it(runs, call):
    settings = json.loads((runs / "mmd_settings.json").read_text())
    settings["flags"] |= {"epochs": 7, "latent_dim": 5}
    (runs / "mmd_settings.json").write_text(json.dumps(settings))
    (runs / "mmd_decoder.keras").unlink()
    outcome = call(runs / "cvae", runs / "mmd")
    check_error(outcome, "not finished", "python mmd_cvae.py", folder=runs)
    for words in (
        "--epochs 7",
        "--latent-dim 5",
        f"--output-dir {runs.parent}",
        "--dataset digits",
    ):
        assert words in outcome[2]
    assert "--seed" not in outcome[2]


def spoil(change, file="mmd_settings.json"):
    """A function that edits a run's settings."""

    def edit(folder):
        settings = json.loads((folder / file).read_text())
        change(settings)
        (folder / file).write_text(json.dumps(settings))

    return edit


def cut(file):
    return lambda folder: os.truncate(folder / file, 5000)


def swap(a, b):
    return lambda folder: shutil.copy(folder / a, folder / b)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "mmd_settings.json").write_text("{no"), "mmd_settings.json"),
        (lambda folder: (folder / "mmd_settings.json").write_text("[]"), "mmd_settings.json"),
        (spoil(lambda s: s.pop("flags")), "mmd_settings.json"),
        (spoil(lambda s: s["flags"].update(epochs="ten")), "mmd_settings.json"),
        (spoil(lambda s: s["dataset"].update(name="cats")), "mmd_settings.json"),
        (spoil(lambda s: s.update(model="cvae")), "mmd_settings.json"),
        (spoil(lambda s: s["flags"].update(latent_dim=4)), "4 latent dimensions"),
        (cut("mmd_decoder.keras"), "mmd_decoder.keras is damaged"),
        (swap("cvae_encoder.keras", "mmd_encoder.keras"), "mmd_cvae's Encoder"),
        (swap("mmd_encoder.keras", "mmd_decoder.keras"), "mmd_cvae's Decoder"),
    ],
)
def test_damaged_runs(runs, call, damage, words):
    damage(runs)
    check_error(call(runs / "cvae", runs / "mmd"), words, folder=runs)


def test_what_cannot_be_written_and_flags_that_are_unknown(runs, call, tmp_path):
    places = (runs / "cvae", runs / "mmd")
    (tmp_path / "file").write_text("")
    check_error(call(*places, "--output", tmp_path / "file" / "x"), tmp_path / "file", "--output")
    (runs / "comparison.md").mkdir()
    check_error(call(*places), "comparison.md is a folder")
    check_error(call(*places, "--epochs", "3"), "--epochs")
    check_error(call(*places, "--iw-samples", "0"), "--iw-samples")


def test_a_full_disk_and_a_signal_leave_nothing_half_written(runs, call, monkeypatch):
    (runs / "comparison.md").write_text("an earlier one")
    places = (runs / "cvae", runs / "mmd")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(compare, "to_json", full)
    outcome = call(*places, *QUICK)
    assert outcome[0] == 2
    assert "No space left on device" in outcome[2]
    assert "--output" in outcome[2]
    monkeypatch.setattr(compare, "read_reference", interrupted)
    status, out, error = call(*places, *QUICK)
    assert (status, out) == (130, "")
    assert "the comparison is not written" in error
    assert [f.name for f in runs.iterdir() if "comparison" in f.name] == ["comparison.md"]
    assert (runs / "comparison.md").read_text() == "an earlier one"
