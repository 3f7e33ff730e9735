"""A trial of the comparison's rows about images: worse images must have worse values in each."""

import json
import os
from types import SimpleNamespace

import common.data.batches
from common.compare.evaluate import reconstruct, values_of
from common.compare.judge import read_reference
from common.compare.records import DECODED, RECORDS
from common.data.batches import to_float
from common.data.sources import load_dataset

import numpy as np
import pytest
from support import ROOT

OF_IMAGES = ("reconstruction", *DECODED)  # groups
ROWS = [m for m in RECORDS if m.group in OF_IMAGES and m.name != "edges of draws"]
REAL = [pytest.mark.soak, pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="no data")]
NAMES = [pytest.param(name, marks=REAL) for name in ("mnist", "fashion_mnist")]
NAMES.append(pytest.param("digits", marks=pytest.mark.slow))


def blends(images, kind, rng):
    """Return images in five steps from themselves to noise, or to the average of two of them."""
    other = rng.random(images.shape, dtype="float32") if kind == "noise" else images[::-1]
    most = 1 if kind == "noise" else 0.5
    return [images + most * step * (other - images) for step in np.linspace(0, 1, 5)]


@pytest.mark.parametrize("name", NAMES)
def test_more_blended_images_have_worse_values(name, tmp_path, monkeypatch):
    if name == "digits":
        monkeypatch.setattr(common.data.batches, "EPOCH", 6_000)
    reference = read_reference(load_dataset(name), tmp_path)
    assert reference.judge.accuracy > {"digits": 0.9, "mnist": 0.985, "fashion_mnist": 0.9}[name]
    for kind in ("noise", "each other"):
        check_blends(reference, kind)


def check_blends(reference, kind):
    data, rng = reference.data, np.random.default_rng(0)
    train = to_float(data.train_images[:15_000], "float32").numpy()
    found = []
    for drawn in np.array_split(train, 3):
        back = blends(to_float(reference.images, "float32").numpy(), kind, rng)
        for step, images in enumerate(blends(drawn, kind, rng)):
            seen = dict.fromkeys(("draws", "own_draws", "grid"), reference.look([images]))
            seen["reconstruction"] = reconstruct(reference.images, lambda i: i, back[step])
            measured = SimpleNamespace(reference=reference, **seen)
            found.append(values_of(measured, OF_IMAGES))
    for metric in ROWS:
        name, lower = metric.name, metric.better == "lower"
        values = np.array([one[name] for one in found]).reshape(3, 5)
        values = values if lower else -values
        worse = np.diff(values, axis=1)  # of the same draws, from step to step
        least = 1 if name == "classes" else 0
        floor = (np.abs(values.mean(axis=0)) < least + 0.01)[:-1] & (not lower)
        beyond = worse.mean(axis=0) > worse.std(axis=0, ddof=1) / np.sqrt(3)
        assert (floor | beyond).all(), (name, np.abs(values).round(4).tolist())


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
