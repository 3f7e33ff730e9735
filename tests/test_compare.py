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

import common.data.batches
import eager_cvae
from common.compare import __main__ as compare
from common.compare import evaluate, metrics
from common.compare.report import CVAE_ALONE, METRICS, summarize
from common.data.batches import to_float
from common.devices import set_up
from common.files import UserError
from common.losses import normal_loglik
from common.plotting import latent_grid
from common.trained import Trained, load_run, read_run
from tests.conftest import ROOT, SCRIPTS, environment, few_digits
from tests.conftest import call as run_call

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

FLAGS = ("--dataset", "digits", "--epochs", "1", "--plot-every", "9")
QUICK = ("--iw-samples", "4", "--iw-images", "30")
FILES = ["comparison.json", "comparison.md", "comparison.png"]


def some_digits(name="digits", data_dir=None):
    """300 training and 80 test images: quick runs, quickly compared."""
    return few_digits(train=300, test=80)


def relative(place, **flags):
    """A run like the trained one in `place`, but with other flags and weights, and no training."""
    model = place.name
    other = place.parents[2] / "-".join(map(str, [model, *flags.values()])) / "digits" / model
    other.mkdir(parents=True)
    settings = json.loads((place / "settings.json").read_text())
    settings["flags"] |= flags
    (other / "settings.json").write_text(json.dumps(settings))
    seed, dtype, latent_dim = (settings["flags"][key] for key in ("seed", "dtype", "latent_dim"))
    with set_up(seed, dtype):
        encoder, decoder = SCRIPTS[model].Encoder(latent_dim), SCRIPTS[model].Decoder(latent_dim)
        encoder(np.zeros((1, 28, 28, 1)))
        decoder(np.zeros((1, latent_dim)))
        encoder.save(other / "encoder.keras")
        decoder.save(other / "decoder.keras")
    return other


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder with a run of each script, an epoch each."""
    out = tmp_path_factory.mktemp("trained") / "out"
    tf.config.run_functions_eagerly(True)  # three batches are sooner computed than traced
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.data.batches, "EPOCH", 300)
        for script in SCRIPTS.values():
            patch.setattr(script, "load_dataset_or_digits", some_digits)
            patch.setattr(script, "draw_figures", lambda *_, **__: {})
            script.main([*FLAGS, "--output-dir", str(out)])
    tf.config.run_functions_eagerly(False)
    return out / "digits"


@pytest.fixture(scope="module")
def three(trained, tmp_path_factory):
    """Two runs and a relative of the second, compared: folder, the three runs, what was printed."""
    places = [trained / "cvae", trained / "mmd", relative(trained / "mmd", seed=1)]
    folder = tmp_path_factory.mktemp("three") / "new"
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        few(patch)
        compare.main([*map(str, places), *QUICK, "--output", str(folder / "three.md")])
    return folder, places, out.getvalue()


def few(patch):
    patch.setattr(evaluate, "load_dataset", some_digits)
    patch.setattr(evaluate, "PRIOR_DRAWS", 300)


@pytest.fixture
def call(monkeypatch, capsys):
    """A function from arguments to exit status, stdout and stderr of common.compare."""
    few(monkeypatch)

    def call(*args):
        return run_call(compare.main, *args), *capsys.readouterr()

    return call


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the two runs in out/, to spoil: their folder."""
    ignore = shutil.ignore_patterns("metrics.json", "comparison*")
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
    assert cells[""] == ["CVAE", "MMD-VAE", "real images"]
    assert "three.png" in markdown
    for place in places:
        assert f"`{place.as_posix()}`" in markdown
    assert "the first 30 test images" in markdown
    assert "4 samples each of the same images" in markdown

    numbers = json.loads((folder / "three.json").read_text())
    cvae, mmd = numbers["columns"]
    assert [run["run"] for run in mmd["runs"]] == [place.as_posix() for place in places[1:]]
    assert [run["flags"]["seed"] for run in mmd["runs"]] == [0, 1]
    for name, digits in METRICS.items():
        assert f"- **{name}**: " in markdown
        one, two = ([run["metrics"].get(name) for run in column["runs"]] for column in (cvae, mmd))
        assert cells[name][0] == f"{one[0]:.{digits}f}"
        if name in CVAE_ALONE:
            assert two == [None, None]
            assert cells[name][1] == "-"
            assert name not in mmd["mean"]
            continue
        mean, sd = sum(two) / 2, abs(two[0] - two[1]) / 2**0.5
        assert mmd["mean"][name] == pytest.approx(mean)
        assert mmd["standard_deviation"][name] == pytest.approx(sd)
        assert cvae["standard_deviation"][name] is None
        assert cells[name][1] == f"{mean:.{digits}f} ± {sd:.{digits}f}"
    assert len({tuple(run["latent_mean"]) for run in mmd["runs"]}) == 2


class HandMade(keras.Model):
    """An encoder or decoder of a hand-made run: a function, and nothing to train."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def hand_made(model, images):
    """A run whose codes lie off the prior; what it decodes looks in part like some of `images`.

    It encodes two sums of pixels, and decodes a blend of the images whose codes are near, so that
    some of them come again, and others nowhere.
    """
    weights = tf.random.stateless_normal((784, 2), (1, 1)) @ [[0.1, 0.1], [0.0, 0.1]]

    def mean_of(x):
        return tf.reshape(x, (-1, 784)) @ weights + [0.5, -1.0]

    def encode(x):
        mean = mean_of(x)
        return (mean, tf.sin(3 * mean) - [8.0, 9.0]) if model == "cvae" else mean

    def decode(z):
        distances = tf.reduce_sum((z[:, tf.newaxis] - mean_of(images)) ** 2, axis=2)
        preds = tf.nn.softmax(-20 * distances) @ tf.reshape(images, (-1, 784))
        preds += tf.nn.relu(z[:, :1])  # to the right of 0, like none
        preds = tf.reshape(tf.clip_by_value(preds, 0.01, 0.99), (-1, 28, 28, 1))
        return tf.math.log(preds / (1 - preds)) if model == "cvae" else preds

    flags, script = {"latent_dim": 2, "dtype": "float32"}, SCRIPTS[model]
    settings = {"model": model, "flags": flags, "dataset": {"name": "digits", "title": "digits"}}
    nets = HandMade(encode), HandMade(decode)
    nets[1].image_shape = (28, 28, 1)
    return Trained(Path("out", model), settings, *nets, script.encode, script.decode)


def in_manifold(points, around, k=3):
    """Which of the points (n, dim) are in a ball to the k-th neighbour of `around`, by hand."""
    radii = np.sort(np.linalg.norm(around[:, None] - around[None], axis=2), axis=1)[:, k]
    return (np.linalg.norm(points[:, None] - around[None], axis=2) <= radii).any(axis=1)


def by_hand(run, data, args, draws):
    """Every metric of a hand-made run, with NumPy and float64 where they are simple."""
    x = to_float(data.test_images, "float64").numpy()
    train = run.encoder(to_float(data.train_images, "float32"))
    codes = mean = z = run.encoder(to_float(data.test_images, "float32"))
    values = {}

    def decode(z):
        output = run.decoder(tf.cast(z, "float32")).numpy().astype(float)
        return 1 / (1 + np.exp(-output)) if run.model == "cvae" else output

    def crossentropy(x, preds):
        return -(x * np.log(preds) + (1 - x) * np.log(1 - preds)).sum(axis=(1, 2, 3))

    if run.model == "cvae":
        (mean, logvar), train = codes, train[0]
        rng = tf.random.Generator.from_seed(0)
        z = eager_cvae.reparameterize(mean, logvar, rng)
        kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).numpy().sum(axis=1)
        elbo, n = -crossentropy(x, decode(z)) - kl, args.iw_images
        weights = []
        for _ in range(args.iw_samples):
            draw = eager_cvae.reparameterize(mean[:n], logvar[:n], rng)
            weight = normal_loglik(draw, 0.0, 0.0) - normal_loglik(draw, mean[:n], logvar[:n])
            weights.append(weight - crossentropy(x[:n], decode(draw)))
        weights = np.array(weights, dtype=float)
        shares = np.exp(weights - weights.max(axis=0))
        bound = np.log(shares.mean(axis=0)) + weights.max(axis=0)
        effective_samples = shares.sum(axis=0) ** 2 / (shares**2).sum(axis=0)
        values = {
            "ELBO": elbo.mean(), "ELBO, fewer images": elbo[:n].mean(),
            "KL part of the ELBO": kl.mean(), "importance-weighted bound": bound.mean(),
            "its effective samples": np.median(effective_samples),
        }  # fmt: skip
    mean, train, z = mean.numpy(), train.numpy(), z.numpy().astype(float)
    centre, covariance = z.mean(axis=0), np.cov(z, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    drawn = tf.random.stateless_normal((draws, 2), (0, 0)).numpy()
    own = centre + drawn * np.sqrt(variances) @ directions.T
    values["latent mean to 0"] = np.hypot(*centre)
    values["smallest latent sd"], values["largest latent sd"] = np.sqrt(variances)
    values["KL(latent Gaussian, prior)"] = metrics.gaussian_kl(centre, covariance)
    prior = tf.random.stateless_normal((len(z), 2), (0, 0))
    values["MMD^2 to prior"], values["its standard error"] = metrics.unbiased_mmd(z, prior)
    classifier = KNeighborsClassifier(15).fit(train, data.train_labels)
    values["15 neighbours' accuracy"] = (classifier.predict(mean) == data.test_labels).mean()
    values["silhouette"] = silhouette_score(mean, data.test_labels)

    preds, fakes, own, grid = map(decode, (mean, drawn, own, latent_grid()))
    values["mean squared error"], values["cross entropy"] = (
        ((x - preds) ** 2).mean(),
        crossentropy(x, preds).mean(),
    )
    pixels = x.reshape(len(x), -1)
    centre = pixels.mean(axis=0)
    components = np.linalg.svd(pixels - centre, full_matrices=False)[2][:50]
    real, fake, own, cells = (
        (images.reshape(len(images), -1) - centre) @ components.T
        for images in (x, fakes, own, grid)
    )
    values["precision"], values["recall"] = (
        in_manifold(fake, real).mean(), in_manifold(real, fake).mean(),
    )  # fmt: skip
    values["coverage"] = metrics.coverage(fake, metrics.manifold(real, 3))
    values["precision, own Gaussian"] = in_manifold(own, real).mean()
    shown = in_manifold(cells, real)
    darkest = np.quantile(pixels.mean(axis=1), evaluate.DARKEST)
    shown_and_lit = [a and cell.mean() >= darkest for a, cell in zip(shown, grid, strict=True)]
    values["grid in manifold"], values["grid, not black"] = shown.mean(), np.mean(shown_and_lit)
    slopes = metrics.gradient_magnitude(x)
    values["sharpness"] = metrics.gradient_magnitude(fakes) / slopes
    values["sharpness, reconstructions"] = metrics.gradient_magnitude(preds) / slopes
    return values, z.mean(axis=0), covariance


@pytest.mark.parametrize("model", SCRIPTS)
def test_values_are_those_of_the_models(model, monkeypatch):
    few(monkeypatch)
    assert evaluate.DARKEST == 0.01  # the "darkest hundredth" of the row's definition
    monkeypatch.setattr(evaluate, "DARKEST", 0.5)  # the hand-made have no darker cells
    data, args = some_digits(), compare.get_args([*QUICK])
    run, reference = (
        hand_made(model, to_float(data.test_images[:40], "float32")),
        evaluate.read_reference("digits", None),
    )
    found = evaluate.evaluate(run, reference, args, lambda *_: None)
    values, mean, covariance = by_hand(run, data, args, draws=300)
    assert set(METRICS) == set(values) | (CVAE_ALONE if model == "mmd" else set())
    keys = ["precision", "recall", "coverage", "precision, own Gaussian"]
    keys += ["grid in manifold", "grid, not black"]
    shares = [values[key] for key in keys]
    assert len(set(shares)) == 6, shares  # so that none can stand for another
    assert min(shares) > 0.02, shares
    assert max(shares) < 0.98, shares
    if model == "cvae":
        assert values["KL part of the ELBO"] > 1
        assert values["importance-weighted bound"] > values["ELBO, fewer images"] + 1
        assert 1.05 < values["its effective samples"] < args.iw_samples - 0.5
    assert found.values == pytest.approx(values, rel=1e-4)
    np.testing.assert_allclose(found.latent_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.latent_covariance, covariance, rtol=1e-4, atol=1e-5)


def test_what_real_images_would_have(monkeypatch):
    few(monkeypatch)
    data, reference = some_digits(), evaluate.read_reference("digits", None)
    x, others = (
        to_float(images, "float64").numpy() for images in (data.test_images, data.train_images)
    )
    assert reference.real["mean squared error"] == 0
    bits = np.where((x > 0) & (x < 1), -x * np.log(x, where=x > 0, out=np.zeros_like(x)), 0)
    rest = np.where(
        (x > 0) & (x < 1), -(1 - x) * np.log1p(-x, where=x < 1, out=np.zeros_like(x)), 0
    )
    assert reference.real["cross entropy"] == pytest.approx((bits + rest).sum() / len(x), rel=1e-3)
    real, fake = (reference.features(images) for images in (x, others))
    assert reference.real["precision"] == pytest.approx(in_manifold(fake, real).mean(), abs=0.004)
    assert reference.real["recall"] == pytest.approx(in_manifold(real, fake).mean(), abs=0.013)
    assert reference.real["precision"] != reference.real["recall"]
    assert reference.real["sharpness, reconstructions"] == 1
    assert reference.real["sharpness"] == pytest.approx(1, abs=0.1)


def test_the_figure_shows_the_same_draws_and_images_in_every_column(runs, call, monkeypatch):
    drawn = []
    original = compare.show_comparison
    monkeypatch.setattr(compare, "show_comparison", lambda c: drawn.extend(c) or original(c))
    other = relative(runs / "mmd", seed=4)
    assert call(runs, other, *QUICK)[0] == 0  # both in a folder, and one
    data = some_digits()
    assert [column.about for column in drawn] == ["digits (scikit-learn), epoch 1, seed 0"] * 2
    for column, model in zip(drawn, SCRIPTS, strict=True):
        np.testing.assert_array_equal(column.random_vector, drawn[0].random_vector)
        encoder, decoder = (
            keras.saving.load_model(runs / model / f"{name}.keras")
            for name in ("encoder", "decoder")
        )
        codes = encoder(to_float(data.test_images, "float32"))
        mean = codes[0] if model == "cvae" else codes
        np.testing.assert_allclose(column.mean, mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(column.data.test_images, data.test_images)
        preds = tf.sigmoid(decoder(mean)) if model == "cvae" else decoder(mean)
        np.testing.assert_allclose(column.decode(mean), preds, atol=1e-5)


def test_a_standard_deviation_of_what_is_infinite_is_left_out():
    assert summarize("silhouette", [{"silhouette": np.inf}] * 2) == (np.inf, None)


def test_other_dimensions_precisions_and_flags_and_the_same_files_twice(trained, call, tmp_path):
    places = [trained / "mmd", relative(trained / "cvae", latent_dim=3, dtype="float64", beta=2.0)]
    places.append(relative(trained / "mmd", latent_dim=1))
    for name in ("a", "b"):
        for place in places:
            (place / "metrics.json").unlink(missing_ok=True)
        status, out, error = call(*places, *QUICK, "--output", tmp_path / name / "same")
        assert (status, error) == (0, "")
    assert rows(out)[""] == [
        "MMD-VAE, latent-dim 2, dtype float32",
        "CVAE, latent-dim 3, dtype float64, beta 2.0",
        "MMD-VAE, latent-dim 1, dtype float32",
        "real images",
    ]
    for suffix in ("json", "md", "png"):
        a, b = ((tmp_path / name / f"same.{suffix}").read_bytes() for name in ("a", "b"))
        assert a == b


def test_one_run_alone_is_measured(runs, call):
    status, out, _ = call(runs / "mmd", *QUICK)
    assert status == 0
    assert rows(out)[""] == ["MMD-VAE", "real images"]
    assert sorted(file.name for file in runs.glob("comparison*")) == FILES


def test_what_was_measured_is_kept_until_models_or_flags_change(runs, call, monkeypatch):
    evaluated = []

    def noted(run, *args):
        evaluated.append(run.model)
        return original(run, *args)

    original = evaluate.evaluate
    monkeypatch.setattr(evaluate, "evaluate", noted)
    assert call(runs, *QUICK)[0] == 0
    first = {file: (runs / file).read_bytes() for file in FILES}
    assert call(runs, *QUICK)[0] == 0
    assert evaluated == ["cvae", "mmd"]
    assert {file: (runs / file).read_bytes() for file in FILES} == first

    shutil.copy(relative(runs / "mmd", seed=5) / "decoder.keras", runs / "mmd")
    assert call(runs, *QUICK)[0] == 0
    assert evaluated[2:] == ["mmd"]
    assert call(runs, "--iw-samples", 2, *QUICK[2:])[0] == 0
    assert evaluated[3:] == ["cvae", "mmd"]


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.update(basis=3),
        lambda kept: kept["basis"].update(version=1),
        lambda kept: kept.update(values=3),
        lambda kept: kept["values"].update(silhouette="abc"),
        lambda kept: kept["values"].update(silhouette=None),
        lambda kept: kept["values"].update(silhouette=10**400),
        lambda kept: kept["values"].update(silhouette=float("nan")),
        lambda kept: kept["values"].pop("sharpness"),
        lambda kept: kept.update(latent_mean=3),
        lambda kept: kept["latent_covariance"].pop(),
        lambda kept: kept["latent_covariance"].append("abc"),
    ],
)
def test_kept_metrics_that_are_not_whole_are_not_used(three, change):
    run = load_run(three[1][1])
    args, file = compare.get_args([*QUICK]), run.folder / "metrics.json"
    kept = file.read_text()
    assert evaluate.kept_result(run, args).values["silhouette"] < 1
    spoiled = json.loads(kept)
    change(spoiled)
    try:
        for text in (json.dumps(spoiled), "[" * 100_000, "", None):
            file.unlink()
            os.mkfifo(file) if text is None else file.write_text(text)
            assert evaluate.kept_result(run, args) is None
            with pytest.raises(UserError, match="train it anew"):
                evaluate.kept_result(read_run(run.folder), args)
    finally:
        file.unlink()
        file.write_text(kept)


def test_a_run_of_which_only_metrics_are_kept_is_in_the_table_alone(runs, call, monkeypatch):
    drawn = []
    original = compare.show_comparison
    monkeypatch.setattr(compare, "show_comparison", lambda c: drawn.append(c) or original(c))
    status, out, _ = call(runs, *QUICK)
    assert status == 0
    for file in (runs / "mmd").glob("*.keras"):
        file.unlink()
    assert call(runs, *QUICK)[:2] == (0, out)
    assert [[column.title for column in columns] for columns in drawn] == [
        ["CVAE", "MMD-VAE"],
        ["CVAE"],
    ]
    check_error(call(runs, "--iw-samples", 2), "metrics.json", "--iw-samples and --iw-images")
    for file in (runs / "cvae").glob("*.keras"):
        file.unlink()
    status, without, _ = call(runs, *QUICK, "--output", runs / "table")
    assert status == 0
    assert rows(without) == rows(out)
    assert "No figure" in without
    assert "earlier one" not in without
    assert f"{runs / 'comparison.png'} is an earlier one" in call(runs, *QUICK)[1]
    assert sorted(file.name for file in runs.glob("table*")) == ["table.json", "table.md"]
    assert "png" not in (runs / "table.md").read_text(encoding="utf-8")


def test_without_arguments_the_two_runs_in_outputs(runs):
    """The command itself, as a process; real digits, default place."""
    runs.parent.rename(runs.parent.with_name("outputs"))
    folder = runs.parent.with_name("outputs") / "digits"
    done = subprocess.run(
        [sys.executable, "-m", "common.compare", *QUICK],
        cwd=folder.parent.parent,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(done.stdout)[""] == ["CVAE", "MMD-VAE", "real images"]
    assert sorted(file.name for file in folder.iterdir() if "comparison" in file.name) == FILES
    assert imread(folder / "comparison.png").shape[1] > 1800


# What it refuses --------------------------------------------------------------


def test_runs_that_are_not_there(runs, call, tmp_path, monkeypatch):
    cvae = runs / "cvae"
    check_error(call(cvae, runs / "." / "cvae"), "given twice")
    check_error(call(cvae, runs), "given twice")
    check_error(call(cvae, tmp_path / "nowhere" / "vae"), "OUTPUT_DIR/DATASET/cvae")
    elsewhere = tmp_path / "new" / "mnist" / "mmd"
    command = f"python mmd_cvae.py --dataset mnist --output-dir {tmp_path / 'new'}"
    check_error(call(cvae, elsewhere), f"no run in {elsewhere}", command)
    monkeypatch.chdir(tmp_path)
    check_error(call(), "no run in outputs/fashion_mnist/cvae", "python eager_cvae.py")
    for name in ("digits", "mnist"):
        shutil.copytree(runs, tmp_path / "outputs" / name)
    check_error(call(), "mnist and digits", "which")
    (runs / "mmd" / "decoder.keras").unlink()
    check_error(call(runs), "not finished", "python mmd_cvae.py")
    assert not list(tmp_path.rglob("comparison*"))


def test_what_cannot_be_written_and_flags_that_are_unknown(runs, call, tmp_path):
    (tmp_path / "file").write_text("")
    check_error(call(runs, "--output", tmp_path / "file" / "x"), tmp_path / "file", "--output")
    for name in ("settings.json", "new"):
        output = runs / "mmd" / name
        check_error(call(runs, "--output", output), "choose another --output", folder=runs)
    assert json.loads((runs / "mmd" / "settings.json").read_text())["model"] == "mmd"
    for name in ("README.md", "package.json", "photo.png"):
        (runs / name).write_text("mine")
        check_error(call(runs, "--output", runs / Path(name).stem), f"{name} is there")
        assert (runs / name).read_text() == "mine"
    (runs / "comparison.md").mkdir()
    check_error(call(runs), "comparison.md is there, not from a comparison")
    check_error(call(runs, "--epochs", "3"), "--epochs")
    check_error(call(runs, "--iw-samples", "0"), "--iw-samples")


def test_a_full_disk_and_a_signal_leave_nothing_half_written(runs, call, monkeypatch):
    for file in FILES:
        (runs / file).write_text("an earlier one")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return "a table"

    with monkeypatch.context() as patch:
        patch.setattr(compare, "to_markdown", full)
        outcome = call(runs, *QUICK)
    assert outcome[0] == 2
    assert f"{runs / 'comparison.md'}: No space left on device" in outcome[2]
    assert "--output" in outcome[2]
    assert {(runs / file).read_text() for file in FILES} == {"an earlier one"}
    monkeypatch.setattr(compare, "to_markdown", interrupted)
    status, _, error = call(runs, *QUICK)  # it ends when all is written
    assert status == 130
    assert error.endswith("Stopped.\n")
    assert (runs / "comparison.md").read_text() == "a table"
    assert json.loads((runs / "comparison.json").read_text())
    assert sorted(file.name for file in runs.iterdir() if "comparison" in file.name) == FILES


@pytest.mark.parametrize(
    ("output", "stem"),
    [
        ("new/x", "new/x"),
        ("x.PNG", "x"),
        ("x.y", "x.y"),
        (".", "comparison"),
        ("a", "a/comparison"),
    ],
)
def test_the_names_of_what_is_written(output, stem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    files = [str(file) for file in compare.output_files(output)]
    assert files == [f"{stem}.png", f"{stem}.md", f"{stem}.json"]
