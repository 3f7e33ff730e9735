"""A trial of the comparison's rows about images: worse images must have worse values in each."""

import json
import os
from types import SimpleNamespace

import common.data.batches
import eager_cvae
from common.compare.evaluate import reconstruct, values_of
from common.compare.judge import is_colour, read_reference
from common.compare.records import DECODED, RECORDS
from common.data.batches import to_float
from common.data.sources import load_dataset
from common.load import untrained

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter, zoom
from support import ROOT

OF_IMAGES = ("reconstruction", *DECODED)  # groups
ROWS = [m for m in RECORDS if m.group in OF_IMAGES and m.name != "edges of draws"]
# The rows "beyond the prior" are the precision of other images
TRIED = [m for m in ROWS if m.group != "beyond the prior"]
REAL = [pytest.mark.soak, pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="no data")]
NAMES = [pytest.param(name, marks=REAL) for name in ("mnist", "fashion_mnist", "cifar10")]
NAMES.append(pytest.param("digits", marks=pytest.mark.slow))
JUDGES = 3
LEAST_ACCURACY = {"digits": 0.85, "mnist": 0.985, "fashion_mnist": 0.89, "cifar10": 0.75}


def worsened(images, kind, rng):
    """Yield images, and three steps to something else: a strong blur, or what `kind` says.

    Fragments are bright spots with sharp edges.
    """
    n, height, width, channels = images.shape
    other = (images + images[::-1]) / 2
    if kind == "noise":
        other = rng.random(images.shape, dtype="float32")
    if kind == "fragments":
        spots = zoom(rng.random((n, 6, 6, channels)), (1, height / 6, width / 6, 1), order=1)
        other = np.clip(0.5 + 6 * (spots - 0.5), 0, 1).astype("float32")
    for step in np.linspace(0, 1, 4, dtype="float32"):
        if kind == "blur":
            yield gaussian_filter(images, (0, 4 * step, 4 * step, 0))
        else:
            yield images + step * (other - images)


@pytest.mark.parametrize("name", NAMES)
def test_worse_images_have_worse_values_with_each_judge(name, tmp_path, monkeypatch):
    if name == "digits":
        monkeypatch.setattr(common.data.batches, "EPOCH", 6_000)
    data = load_dataset(name)
    references = [read_reference(data, tmp_path, seed) for seed in range(JUDGES)]
    assert min(one.judge.accuracy for one in references) > LEAST_ACCURACY[name]
    flags = vars(eager_cvae.get_args([]))
    decoder = untrained(eager_cvae, flags, data.image_shape)["decoder"]
    decoded = eager_cvae.decode(decoder, tf.random.stateless_normal((1000, 2), (0, 0))).numpy()
    before = [values_of(seen(one, decoded), ["draws"]) for one in references]
    kinds = ["noise", "blur", "each other"]
    if is_colour(data):  # Judges of greyscale images are not trained on fragments
        kinds.append("fragments")
    found = {kind: [measure(one, kind) for one in references] for kind in kinds}
    for metric in TRIED:
        values = {k: np.array([one[metric.name] for one in v]) for k, v in found.items()}
        check(metric, values["noise"], *values.values())
        if metric.group == "draws":
            real = values["noise"][:, :, 0].mean(axis=1)
            bad = np.array([one[metric.name] for one in before])
            assert (real < bad if metric.better == "lower" else real > bad).all(), metric.name


def seen(reference, images):
    """Return the measurements of images in place of decoded images."""
    return SimpleNamespace(reference=reference, draws=reference.look([images]))


def measure(reference, kind):
    """Return a dict from rows to values (3, 4) of three groups of images, from step to step."""
    data, rng = reference.data, np.random.default_rng(0)
    train = to_float(data.train_images[:15_000], "float32").numpy()
    found = []
    test = to_float(reference.images, "float32").numpy()
    for drawn in np.array_split(train, 3):
        steps = zip(worsened(drawn, kind, rng), worsened(test, kind, rng), strict=True)
        for images, back in steps:
            measured = seen(reference, images)
            measured.reconstruction = reconstruct(reference.images, lambda i: i, back)
            found.append(values_of(measured, ["reconstruction", "draws"]))
    return {m.name: np.reshape([one[m.name] for one in found], (3, 4)) for m in TRIED}


def check(metric, noise, *worsened):
    """Check that each step makes a row worse, on average over the three groups, with each judge.

    All arguments except the metric are values (judges, 3, 4). Those in `noise` end with pure noise.
    A step is not checked if the images before it are hardly better than pure noise: by less than
    five standard deviations, which are pooled from the variation between judges and groups.
    """
    real, worst = (noise.mean(axis=1, keepdims=True)[:, :, [step]] for step in (0, -1))
    assert (real < worst if metric.better == "lower" else real > worst).all(), metric.name
    for values in worsened:
        places = (values - real) / (worst - real)  # 0 for real images, 1 for pure noise
        spread = np.sqrt(places.var(axis=(0, 1), ddof=1).mean())
        checked = 1 - places.mean(axis=(0, 1)) > 5 * spread
        assert checked[0], metric.name
        worse = np.diff(places.mean(axis=1)) > 0  # (judges, 3)
        assert worse[:, checked[:-1]].all(), (metric.name, values.mean(axis=1).round(4).tolist())


def test_every_trained_model_of_the_study_is_between_noise_and_real_images():
    file = ROOT / "outputs" / "reference" / "fashion_mnist" / "comparison.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    assert len(content["columns"]) == 6
    baselines = content["baselines"]["columns"]
    assert {"real images", "white noise", "untrained"} == baselines.keys()
    for metric in ROWS:
        name, sign = metric.name, 1 if metric.better == "lower" else -1
        runs = [run["metrics"] for column in content["columns"] for run in column["runs"]]
        models = [sign * values[name] for values in runs if name in values]
        assert len(models) >= 3, name
        for title in ("white noise", "untrained"):
            if name in baselines[title]:
                assert sign * baselines[title][name] > max(models), (name, title)
        assert sign * baselines["real images"][name] < min(models), name
