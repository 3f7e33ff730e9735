"""The comparison of runs on the digits: measurements, files and error messages."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import common.data.batches
import common.trained
import eager_cvae
from common.compare import __main__ as compare
from common.compare import evaluate, judge, metrics, records, report
from common.compare.evaluate import BASELINES
from common.compare.judge import read_reference
from common.compare.kept import keep, kept_result
from common.compare.records import DECODED, METRICS
from common.data.batches import to_float
from common.load import load_run, read_run
from common.losses import normal_loglik
from common.plotting import latent_grid
from common.program.errors import UserError
from common.program.files import write_json
from common.trained import Trained

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.special import logsumexp
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from support import ROOT, SCRIPTS, both, cut, edit_config, environment, few_digits, snapshot
from support import call as run_call
from tqdm.auto import tqdm

some_digits = functools.partial(few_digits, train=300, test=80)
CVAE_ALONE = {name for name, metric in METRICS.items() if metric.group == "likelihood"}
QUICK = ("--iw-samples", "4", "--iw-images", "30")
FILES = ["comparison.json", "comparison.md", "comparison.png"]


def train(out, model, *flags):
    """Train a run for one epoch and return its folder."""
    tf.config.run_functions_eagerly(True)  # faster for three batches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.data.batches, "EPOCH", 300)
        patch.setattr("common.training.exports.draw_figures", lambda *_: {})
        patch.setattr(SCRIPTS[model], "load_data", some_digits)
        arguments = ["--dataset", "digits", "--epochs", "1", "--output-dir", str(out), *flags]
        SCRIPTS[model].main(arguments)
    tf.config.run_functions_eagerly(False)
    return out / "digits" / model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a run of each script, trained for one epoch."""
    out = tmp_path_factory.mktemp("trained") / "out"
    for model in SCRIPTS:
        train(out, model)
    return out / "digits"


@pytest.fixture
def runs(trained, tmp_path):
    """Return a folder with copies of the two runs."""
    return shutil.copytree(trained, tmp_path / "out" / "digits")


REMEMBERED = {}  # baselines by the fingerprints of network and judge


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Make everything small, and measure baselines once per network and judge."""
    baselines = evaluate.baselines

    def remembered(run, reference):
        key = run.fingerprint if run.encoder else "", reference.judge.fingerprint
        if key not in REMEMBERED:
            REMEMBERED[key] = baselines(run, reference)
        return REMEMBERED[key]

    monkeypatch.setattr(compare, "baselines", remembered)
    monkeypatch.setattr(common.trained, "load_dataset", some_digits)
    monkeypatch.setattr(evaluate, "PRIOR_DRAWS", 300)
    monkeypatch.setattr(common.data.batches, "EPOCH", 300)
    monkeypatch.setattr(judge, "EPOCHS", 1)


@pytest.fixture
def call(capsys):
    """Return a function that calls common.compare and returns exit status, stdout and stderr."""
    return lambda *args: (run_call(compare.main, *args), *capsys.readouterr())


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Return a list that gets the columns of each figure instead of the drawing."""
    drawn = []
    monkeypatch.setattr(compare, "show_comparison", lambda c: drawn.append(c) or Figure((1, 1)))
    return drawn


def rows(markdown):
    """Return the cells of all tables, by the first cell of their row."""
    lines = [line[1:-1].split("|") for line in markdown.splitlines() if line[:1] == "|"]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def comparisons(folder):
    return sorted(file.name for file in folder.iterdir() if "comparison" in file.name)


def check_error(outcome, *words):
    """Check for status 2, one or two lines on stderr that contain `words`, and an empty stdout."""
    status, out, error = outcome
    assert (status, out) == (2, ""), error
    assert 1 <= len(error.splitlines()) <= 2, error
    for word in words:
        assert str(word) in error


def hand_made(model, images):
    """Return a run with codes far from the prior, which decodes real and strange images."""
    weights = tf.random.stateless_normal((784, 2), (1, 1)) @ [[0.1, 0.1], [0.0, 0.1]]

    def mean_of(x):
        return tf.reshape(x, (-1, 784)) @ weights + [0.5, -1.0]

    def encode(x):
        mean = mean_of(x)
        return (mean, tf.sin(3 * mean) - [8.0, 9.0]) if model == "cvae" else mean

    def decode(z):
        distances = tf.reduce_sum((z[:, tf.newaxis] - mean_of(images)) ** 2, axis=2)
        preds = tf.nn.softmax(-20 * distances) @ tf.reshape(images, (-1, 784))
        preds += tf.nn.relu(z[:, :1])  # unlike all images if z is positive
        preds = tf.reshape(tf.clip_by_value(preds, 0.01, 0.99), (-1, 28, 28, 1))
        return tf.math.log(preds / (1 - preds)) if model == "cvae" else preds

    flags, script = {"latent_dim": 2, "dtype": "float32"}, SCRIPTS[model]
    settings = {"model": model, "flags": flags, "dataset": {"name": "digits", "title": "digits"}}
    nets = {"encoder": keras.layers.Lambda(encode), "decoder": keras.layers.Lambda(decode)}
    nets["decoder"].image_shape = (28, 28, 1)
    return Trained(Path("out", model), settings, nets, script.encode, script.decode)


def precise(points, around, k=3):
    """Return the share of points (n, dim) in the smaller half of the balls around `around`."""
    radii = np.sort(np.linalg.norm(around[:, None] - around[None], axis=2), axis=1)[:, k]
    inside = np.linalg.norm(points[:, None] - around[None], axis=2) <= radii
    return inside[:, radii <= np.median(radii)].any(axis=1).mean()


def crossentropy(x, preds):
    preds = preds.clip(1e-12, 1 - 1e-12)
    return -(x * np.log(preds) + (1 - x) * np.log(1 - preds)).sum(axis=(1, 2, 3))


def by_hand(run, data, args, look, draws):
    """Return the values of a hand-made run, and the moments of its z, with NumPy in float64."""
    x = to_float(data.test_images, "float64").numpy()
    train = run.encoder(to_float(data.train_images, "float32"))
    codes = mean = z = run.encoder(to_float(data.test_images, "float32"))
    values = {}

    def decode(z):
        output = run.decoder(tf.cast(z, "float32")).numpy().astype(float)
        return 1 / (1 + np.exp(-output)) if run.model == "cvae" else output

    if run.model == "cvae":
        (mean, logvar), train = codes, train[0]
        rng, n = tf.random.Generator.from_seed(0), args.iw_images
        z = eager_cvae.reparameterize(mean, logvar, rng)
        kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).numpy().sum(axis=1)
        elbo = -crossentropy(x, decode(z)) - kl
        weights = []
        for _ in range(args.iw_samples):
            draw = eager_cvae.reparameterize(mean[:n], logvar[:n], rng)
            weight = normal_loglik(draw, 0.0, 0.0) - normal_loglik(draw, mean[:n], logvar[:n])
            weights.append(weight - crossentropy(x[:n], decode(draw)))
        total, squares = (logsumexp(k * np.array(weights, dtype=float), axis=0) for k in (1, 2))
        values["ELBO"], values["ELBO, fewer images"] = elbo.mean(), elbo[:n].mean()
        values["KL part of the ELBO"] = kl.mean()
        values["importance-weighted bound"] = (total - np.log(args.iw_samples)).mean()
        values["its effective samples"] = np.median(np.exp(2 * total - squares))
    mean, train, z = mean.numpy(), train.numpy(), z.numpy().astype(float)
    centre, covariance = z.mean(axis=0), np.cov(z, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    drawn = tf.random.stateless_normal((draws, 2), (0, 0)).numpy()
    own = centre + drawn * np.sqrt(variances) @ directions.T
    values["latent mean to 0"] = np.hypot(*centre)
    values["smallest latent sd"], values["largest latent sd"] = np.sqrt(variances)
    values["active dimensions"] = (mean.var(axis=0) > 0.01).sum()
    values["KL(latent Gaussian, prior)"] = metrics.gaussian_kl(centre, covariance)
    prior = tf.random.stateless_normal((len(z), 2), (0, 0))
    values["MMD^2 to prior"], values["its standard error"] = metrics.unbiased_mmd(z, prior)
    classifier = KNeighborsClassifier(15).fit(train, data.train_labels)
    values["15 neighbours' accuracy"] = (classifier.predict(mean) == data.test_labels).mean()
    values["silhouette"] = silhouette_score(mean, data.test_labels)

    preds, fakes, own, grid = map(decode, (mean, drawn, own, latent_grid()))
    values["mean squared error"] = ((x - preds) ** 2).mean()
    values["cross entropy"] = crossentropy(x, preds).mean()
    along, there = map(np.sum, metrics.edges(tf.constant(x), tf.constant(preds)))
    values["edges kept"] = along / there
    values["edges of draws"] = np.divide(*(metrics.gradient_length(i).mean() for i in (fakes, x)))

    def places(images):
        return look(images)[0].astype(float)

    values["coverage"] = metrics.coverage(places(fakes), metrics.manifold(places(x), 3))
    for name, images in {"": fakes, ", own Gaussian": own, ", grid": grid}.items():
        values[f"precision{name}"] = precise(places(images), places(x))
    values["Fréchet distance"] = metrics.frechet_distance(places(fakes), places(x))
    values["classes"], values["sure"] = metrics.sure_classes(look(fakes)[1], 0.4)
    return values, centre, covariance


def test_images_without_classes_are_compared_by_principal_components(tmp_path):
    data = dataclasses.replace(some_digits(), class_names=[])
    reference = read_reference(data, tmp_path)
    fakes = np.random.default_rng(0).random((50, *data.image_shape), "float32")
    x, y = (some.reshape(len(some), -1) for some in (data.test_images / 255, fakes))
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:50]
    seen = reference.look([fakes[:20], tf.constant(fakes[20:])])
    real = reference.look([to_float(data.test_images, "float32").numpy()])
    measured = SimpleNamespace(reference=reference, draws=real, own_draws=seen, grid=seen)
    values = evaluate.values_of(measured, DECODED)
    real, fakes = ((some - x.mean(axis=0)) @ axes.T for some in (x, y))
    beyond = pytest.approx(precise(fakes, real))
    expected = {"precision, own Gaussian": beyond, "precision, grid": beyond, "coverage": 1}
    expected["edges of draws"] = pytest.approx(1)
    assert values == expected | {"precision": pytest.approx(precise(real, real))}
    assert reference.judge is None
    assert not any(tmp_path.iterdir())


def test_too_few_images_per_class_give_no_judge_and_no_rows_about_classes(tmp_path):
    data = some_digits()

    def reference(counts, test_labels=data.test_labels):
        labels = np.resize(np.repeat(np.arange(10), counts), 300)
        few = dataclasses.replace(data, train_labels=labels, test_labels=test_labels)
        return few, judge.why_no_judge(few)

    least = judge.LEAST_IMAGES
    few, reason = reference([290, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    for word in ("1 of 10", str(least)):
        assert word in reason
    assert reference([282 - 3 * least] + [least] * 3 + [3] * 6)[1]
    assert not reference([280 - 4 * least] + [least] * 4 + [4] * 5)[1]  # half of the classes
    assert reference([30] * 10, np.zeros(80, int))[1]  # one class in the test set
    assert not reference([30] * 10, data.test_labels // 2)[1]  # five classes without test images
    assert "no classes" in judge.why_no_judge(dataclasses.replace(data, class_names=()))
    found = read_reference(few, tmp_path)
    assert (found.judge, found.no_judge) == (None, reason)
    assert not any(tmp_path.iterdir())
    seen = found.look([to_float(data.test_images, "float32").numpy()])
    measured = SimpleNamespace(reference=found, draws=seen, own_draws=seen, grid=seen)
    decoded = {name for name, metric in METRICS.items() if metric.group in DECODED}
    left_out = decoded - evaluate.values_of(measured, DECODED).keys()
    assert left_out == {"Fréchet distance", "classes", "sure"}


@both
def test_values_of_hand_made_models_against_numpy(model, monkeypatch, tmp_path):
    monkeypatch.setattr(judge, "EPOCHS", 40)
    monkeypatch.setattr(records, "SURE", 0.4)
    data, args = some_digits(), compare.get_args([*QUICK])
    run = hand_made(model, to_float(data.test_images[:40], "float32"))
    reference = read_reference(data, tmp_path)
    found = evaluate.evaluate(run, reference, args)
    values, mean, covariance = by_hand(run, data, args, reference.judge.look, draws=300)
    assert set(METRICS) == set(values) | (CVAE_ALONE if model == "mmd" else set())
    shares = [value for name, value in values.items() if "prec" in name or "cover" in name]
    assert 0.005 < min(shares) < max(shares) < 0.98, shares
    assert 1.5 < values["classes"] < 9.5
    assert model == "mmd" or 1.05 < values["its effective samples"] < args.iw_samples - 0.5
    assert found.values == pytest.approx(values, rel=2e-4)
    np.testing.assert_allclose(found.latent_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.latent_covariance, covariance, rtol=1e-4, atol=1e-5)


def test_baselines(trained, tmp_path):
    run, reference = load_run(trained / "cvae"), read_reference(some_digits(), tmp_path)
    columns, data = evaluate.baselines(run, reference), some_digits()
    assert columns.keys() == BASELINES.keys()
    real, noise, before = (result.values for result in columns.values())
    x = to_float(data.test_images, "float64").numpy()
    assert (real["mean squared error"], real["edges kept"]) == (0, 1)
    assert real["cross entropy"] == pytest.approx(crossentropy(x, x).mean(), rel=1e-3)
    others = to_float(data.train_images, "float32").numpy()
    around, features = (reference.judge.look(i)[0] for i in (x, others))
    assert real["precision"] == pytest.approx(precise(features, around), abs=0.004)
    assert real["precision"] > 0.2 > noise["precision"] == 0
    lengths = [metrics.gradient_length(images).mean() for images in (others, x)]
    assert real["edges of draws"] == pytest.approx(lengths[0] / lengths[1])
    assert noise["edges of draws"] > 2 > 0.1 > before["edges of draws"]
    assert CVAE_ALONE & before.keys() == set()
    assert before["edges kept"] == pytest.approx(0, abs=0.01)


@both
def test_the_untrained_network_has_the_initial_weights_of_the_run(model, trained):
    run = load_run(trained / model)
    reader = tf.train.load_checkpoint(str(run.folder / "checkpoints" / "ckpt-0"))
    begun = {k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map() if "coder" in k}
    weights = evaluate.before_training(run, some_digits())
    for weight in weights.encoder.weights + weights.decoder.weights:
        same = [v for v in begun.values() if np.array_equal(v, weight.numpy())]
        assert same, weight.path


def colored(data, size):
    """Return a Dataset with enlarged images in three shades."""
    train, test = (
        tf.cast(tf.image.resize(images, (size, size)) * [1.0, 0.8, 0.6], tf.uint8)
        for images in (data.train_images, data.test_images)
    )
    return dataclasses.replace(data, train_images=train, test_images=test.numpy())


@pytest.mark.parametrize("size", [8, 32, 100, 256])
def test_the_judge_of_colour_images_is_small_for_all_sizes(size):
    model = judge._make("judge", colored(some_digits(), size), 0)
    assert model.count_params() * 4 < 2e6  # bytes
    sides = [layer.output.shape[1] for layer in model.layers if "conv" in layer.name]
    assert max(sides) == sides[0] == (size if size <= 32 else 25 if size == 100 else 32)
    assert model.get_layer("features").output.shape == (None, 64)


def test_the_judge_of_colour_images_has_one_more_class_for_spoilt_images(tmp_path):
    data = colored(some_digits(), 8)
    found = judge.read_judge(data, tmp_path)
    features, p = found.look(data.test_images / np.float32(255))
    assert p.shape == (80, 10)
    assert p.sum(axis=1).mean() < 0.99  # After few steps, the further class still has about 1/11
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), judge.LENGTH, rtol=1e-5)
    rng = tf.random.Generator.from_seed(0)
    x = to_float(data.test_images[:60], "float32")
    spoilt, p = judge.spoil_colour(x, rng)
    changed = np.abs(spoilt - x).max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(changed, p[:, 0] > 0)
    np.testing.assert_array_equal(changed, np.arange(60) % 2 == 1)


@pytest.mark.slow
@pytest.mark.parametrize("color", [False, True])
def test_the_judge_is_trained_once_per_data_set_and_always_the_same(color, monkeypatch, tmp_path):
    data = colored(some_digits(), 16) if color else some_digits()
    trainings, file = [], tmp_path / "judge.keras"

    def progress(total, text):
        trainings.append(total)
        return contextlib.nullcontext(tqdm(disable=True))

    monkeypatch.setattr(judge, "progress", progress)

    def read(data=data, **seed):
        return judge.read_judge(data, tmp_path, **seed).fingerprint

    def features():
        return judge.read_judge(data, tmp_path).look(data.test_images / np.float32(255))[0]

    first = read()
    assert (read(), len(trainings)) == (first, 1)
    whole, before = file.read_bytes(), features()
    edit_config(file, lambda it: it["config"]["layers"][1]["config"].update(activation="tanh"))
    np.testing.assert_array_equal(features(), before)
    assert len(trainings) == 1
    for damage in (cut, os.unlink):
        damage(file)
        assert read() == first
    assert len(trainings) == 3
    assert read(seed=1) != first
    assert read(dataclasses.replace(data, train_labels=data.train_labels[::-1].copy())) != first
    assert len(trainings) == 5
    file.write_bytes(whole)
    assert read() == first
    assert len(trainings) == 5


def test_seeds_share_a_column_with_mean_and_standard_deviation(runs, call, drawn, tmp_path):
    places = [runs / "cvae", runs / "mmd", train(tmp_path / "1", "mmd", "--seed=1")]
    folder = tmp_path / "new"
    status, out, _ = call(*places, *QUICK, "--output", folder / "three.md")
    assert status == 0
    assert sorted(os.listdir(folder)) == ["three.json", "three.md", "three.png"]
    markdown = (folder / "three.md").read_text(encoding="utf-8")
    cells = rows(markdown)
    assert rows(out) == cells
    assert cells[""] == ["CVAE", "MMD-VAE", *BASELINES]
    paths = [f"`{place.as_posix()}`" for place in places]
    for words in ("three.png", *paths, *(f"- **{name}**: " for name in METRICS)):
        assert words in markdown

    cvae, mmd = json.loads((folder / "three.json").read_text())["columns"]
    assert [run["run"] for run in mmd["runs"]] == [place.as_posix() for place in places[1:]]
    assert [run["flags"]["seed"] for run in mmd["runs"]] == [0, 1]
    for name, metric in METRICS.items():
        digits = metric.places
        one, two = ([run["metrics"].get(name) for run in column["runs"]] for column in (cvae, mmd))
        assert cells[name][0] == f"{one[0]:.{digits}f}"
        assert cvae["standard_deviation"][name] is None
        if name in CVAE_ALONE:
            assert two == [None, None]
            assert cells[name][1] == "-"
            assert name not in mmd["mean"]
            continue
        mean, sd = sum(two) / 2, abs(two[0] - two[1]) / 2**0.5
        assert mmd["mean"][name] == pytest.approx(mean)
        assert mmd["standard_deviation"][name] == pytest.approx(sd)
        written, spread = cells[name][1].split("±")
        assert written == f"{mean:.{digits}f}"
        assert float(spread) == float(f"{sd:.{digits}f}" if digits <= 3 else f"{sd:.0e}")
    images = some_digits().test_images
    for column, place in zip(*drawn, places[:2], strict=True):
        assert column.about == "digits (scikit-learn), epoch 1, seed 0"
        np.testing.assert_array_equal(column.random_vector, drawn[0][0].random_vector)
        np.testing.assert_array_equal(column.data.test_images, images)
        run = load_run(place)
        np.testing.assert_allclose(column.mean, run.encode(images), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(column.decode(column.mean), run.decode(column.mean), atol=1e-5)


@pytest.mark.slow
def test_other_flags_and_the_same_files_each_time(runs, call, tmp_path):
    other = train(tmp_path / "4", "cvae", "--latent-dim=4", "--dtype=float64", "--beta=2")
    places = [runs / "mmd", other, train(tmp_path / "1", "mmd", "--latent-dim=1")]
    for name in ("a", "b"):
        for place in places:
            (place / "metrics.json").unlink(missing_ok=True)
        status, out, _ = call(*places, *QUICK, "--output", tmp_path / name / "same")
        assert status == 0
    assert rows(out)[""] == [
        "MMD-VAE, latent-dim 2, dtype float32",
        "CVAE, latent-dim 4, dtype float64, beta 2",
        "MMD-VAE, latent-dim 1, dtype float32",
        *BASELINES,
    ]
    markdown = (tmp_path / "a" / "same.md").read_text(encoding="utf-8")
    assert markdown.count("latent mean (") == 2  # only of runs with at most three dimensions
    assert not json.loads((other / "metrics.json").read_text())["latent_covariance"]
    for file in ("same.json", "same.md", "same.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.slow
def test_a_run_is_measured_once_until_its_models_or_the_flags_change(runs, call, monkeypatch):
    evaluated = []

    def counted(run, *args):
        evaluated.append(run.model)
        return evaluate.evaluate(run, *args)

    monkeypatch.setattr(compare, "evaluate", counted)
    assert call(runs / "mmd", *QUICK)[0] == 0
    assert comparisons(runs) == FILES
    assert call(runs, *QUICK)[0] == 0
    before = snapshot(runs)
    assert call(runs, *QUICK)[0] == 0
    assert evaluated == ["mmd", "cvae"]
    assert snapshot(runs) == before
    other = train(runs.parent / "5", "mmd", "--seed=5")
    shutil.copytree(other, runs / "mmd", dirs_exist_ok=True)
    assert call(runs, *QUICK)[0] == 0
    assert evaluated[2:] == ["mmd"]
    assert call(runs, "--iw-samples", 2, *QUICK[2:])[0] == 0
    assert evaluated[3:] == ["cvae", "mmd"]


def test_damaged_or_outdated_measurements_are_not_used(runs):
    run, alone = load_run(runs / "mmd"), read_run(runs / "mmd")
    args, file = compare.get_args([*QUICK]), runs / "mmd" / "metrics.json"
    reference = read_reference(some_digits(), runs)
    judged = reference.judge.fingerprint
    keep(measured := evaluate.evaluate(run, reference, args), args, judged)
    for found in (kept_result(run, args, judged), kept_result(alone, args)):
        assert found[1:] == measured[1:]
    assert kept_result(run, args, "another judge") is None
    with pytest.raises(UserError, match=r"judge\.keras"):
        kept_result(alone, args, "another judge")
    kept = json.loads(file.read_text())
    edited = json.dumps(kept | {"latent_mean": [0.0, 0.0]})
    others = {"version": 1}, {"epochs": 9}, {"models": "0" * 64}, {"iw": [5, 30]}
    others = (kept | {"basis": kept["basis"] | other} for other in others)
    for content in (edited, edited[:99], "", *others):
        write = write_json if isinstance(content, dict) else Path.write_text
        write(file, content)
        assert kept_result(run, args, judged) is None, content
        with pytest.raises(UserError, match=r"metrics\.json"):
            kept_result(alone, args)


@pytest.mark.slow
def test_a_run_without_models_is_only_in_the_table(runs, call, drawn):
    status, out, _ = call(runs, *QUICK)
    assert status == 0
    for file in (runs / "mmd").glob("*.keras"):
        file.unlink()
    assert call(runs, *QUICK)[:2] == (0, out)
    titles = [[column.title for column in columns] for columns in drawn]
    assert titles == [["CVAE", "MMD-VAE"], ["CVAE"]]
    check_error(call(runs, "--iw-samples", 2), "metrics.json", " ".join(QUICK))
    for file in (runs / "cvae").glob("*.keras"):
        file.unlink()
    status, without, _ = call(runs, *QUICK, "--output", runs / "table")
    assert (status, rows(without)) == (0, rows(out))
    assert ".png" not in without
    assert f"{runs / 'comparison.png'}" in call(runs, *QUICK)[1]  # of the earlier comparison
    assert sorted(file.name for file in runs.glob("table*")) == ["table.json", "table.md"]
    assert "png" not in (runs / "table.md").read_text(encoding="utf-8")


COMMAND = """
import runpy, common.data.batches, common.compare.evaluate, common.compare.judge, common.trained
from tests.test_compare import some_digits
common.data.batches.EPOCH, common.compare.judge.EPOCHS = 300, 1
common.compare.evaluate.PRIOR_DRAWS = 300
common.trained.load_dataset = some_digits
runpy.run_module("common.compare", run_name="__main__")
"""


@pytest.mark.slow
def test_without_arguments_the_two_runs_in_outputs(runs, tmp_path):
    folder = (tmp_path / "out").rename(tmp_path / "outputs") / "digits"
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *QUICK],
        cwd=tmp_path, env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(done.stdout)[""] == ["CVAE", "MMD-VAE", *BASELINES]
    assert comparisons(folder) == FILES
    assert imread(folder / "comparison.png").shape[1] > 1800


def test_names_of_the_output_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    stems = {"new/x": "new/x", "x.PNG": "x", "x.y": "x.y", ".": "comparison", "a": "a/comparison"}
    for output, stem in stems.items():
        files = [str(file) for file in compare.output_files(output)]
        assert files == [f"{stem}.png", f"{stem}.md", f"{stem}.json"]


def test_a_replaced_comparison_of_other_runs_is_named(runs, tmp_path):
    file, one, two = tmp_path / "comparison.json", read_run(runs / "cvae"), read_run(runs / "mmd")
    assert compare.replaced(file, [one]) == ""
    column = {"runs": [{"run": one.folder.as_posix()}]}
    file.write_text(json.dumps({"columns": [column]}))
    assert compare.replaced(file, [one]) == ""
    for others in ([two], [one, two]):
        line = compare.replaced(file, others)
        assert "\n" not in line
        for word in (file, one.folder, "--output"):
            assert str(word) in line
    for content in ("{}", "[]", '{"columns": null}', "damaged"):
        file.write_text(content)
        assert compare.replaced(file, [two]) == ""


def test_missing_runs(runs, call, tmp_path, monkeypatch):
    cvae = runs / "cvae"
    check_error(call(cvae, runs / "." / "cvae"), cvae)  # the same run twice
    check_error(call(cvae, runs), cvae)
    check_error(call(cvae, tmp_path / "nowhere" / "vae"), "OUTPUT_DIR/DATASET/cvae")
    shutil.copytree(cvae, tmp_path / "copy" / "cvae")
    check_error(call(runs, tmp_path / "copy"), cvae, tmp_path / "copy" / "cvae", "seed")
    elsewhere = tmp_path / "new" / "mnist" / "mmd"
    command = f"python mmd_cvae.py --dataset=mnist --output-dir={tmp_path / 'new'}"
    check_error(call(cvae, elsewhere), elsewhere, command)
    monkeypatch.chdir(tmp_path)
    check_error(call(), "outputs/fashion_mnist/cvae", "python eager_cvae.py")
    for name in ("digits", "mnist"):
        shutil.copytree(runs, tmp_path / "outputs" / name)
    check_error(call(), "digits", "mnist")
    (runs / "mmd" / "decoder.keras").unlink()
    check_error(call(runs), runs / "mmd", "python mmd_cvae.py")
    assert not list(tmp_path.rglob("*comparison*"))


def test_latent_vectors_that_are_too_large(runs, call, monkeypatch):
    encode = Trained.encode
    monkeypatch.setattr(Trained, "encode", lambda *args: encode(*args) * np.float32(1e25))
    check_error(call(runs / "mmd", *QUICK), runs / "mmd")


def test_unsuitable_output_files_and_flags(runs, call, tmp_path):
    (tmp_path / "file").write_text("")
    check_error(call(runs, "--output", tmp_path / "file" / "x"), tmp_path / "file")
    settings = runs / "mmd" / "settings.json"
    before = settings.read_text()
    for output in (settings, runs / "mmd" / "new"):
        check_error(call(runs, "--output", output), runs / "mmd", "--output")
    assert settings.read_text() == before
    for name in ("README.md", "package.json", "photo.png"):
        (runs / name).write_text("mine")
        check_error(call(runs, "--output", runs / Path(name).stem), runs / name, "--output")
        assert (runs / name).read_text() == "mine"
    (runs / "package.json").write_text("[]")
    check_error(call(runs, "--output", runs / "package"), runs / "package.json")
    for flag in ("--epochs", "--iw-samples"):
        check_error(call(runs, flag, "0"), flag)
    assert comparisons(runs) == []
    (runs / "comparison.md").mkdir()
    check_error(call(runs), runs / "comparison.md")


def test_a_full_disk_or_a_signal_leaves_no_partial_files(runs, call, monkeypatch):
    earlier = json.dumps(dict.fromkeys(("definitions", "columns", "baselines")))
    for file in FILES:
        (runs / file).write_text(earlier)

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return "a table"

    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(report, "to_markdown", full)
    check_error(call(runs, *QUICK), runs / "comparison.md", "No space left on device")
    assert {(runs / file).read_text() for file in FILES} == {earlier}
    monkeypatch.setattr(report, "to_markdown", interrupted)
    assert call(runs, *QUICK)[0] == 130  # after all files are written
    assert (runs / "comparison.md").read_text() == "a table"
    assert json.loads((runs / "comparison.json").read_text())
    assert comparisons(runs) == FILES
