"""A trial of the comparison's rows on images: what is worse has to look worse in every one."""

import json
import os

import common.data.batches
from common.compare import evaluate
from common.compare.report import GROUPS, NO_QUALITY
from common.data.batches import to_float
from common.data.sources import load_dataset

import numpy as np
import pytest
from support import ROOT

MORE_IS_WORSE = {"mean squared error", "cross entropy", "Fréchet distance"}
OF_IMAGES = {"mean squared error", "cross entropy", "edges kept"}
OF_IMAGES |= GROUPS["draws"].keys() | GROUPS["beyond the prior"].keys()
real_data = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="no TFDS_DATA_DIR")


def blends(images, kind, rng):
    """Images in five steps from themselves to white noise, or to the average of two of them."""
    other = rng.random(images.shape, dtype="float32") if kind == "noise" else images[::-1]
    most = 1 if kind == "noise" else 0.5
    return [images + most * step * (other - images) for step in np.linspace(0, 1, 5)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("digits", marks=pytest.mark.slow),
        *(pytest.param(n, marks=[pytest.mark.soak, real_data]) for n in ("mnist", "fashion_mnist")),
    ],
)
def test_blends_are_worse_the_more_they_are_blended(name, tmp_path, monkeypatch):
    if name == "digits":
        monkeypatch.setattr(common.data.batches, "EPOCH", 6_000)
    reference = evaluate.read_reference(load_dataset(name), tmp_path)
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
            seen = reference.look([images])  # once for all three of which there are rows
            known = reference._replace(look=lambda _, seen=seen: seen)
            values = evaluate.likeness(None, None, None, known)
            values |= evaluate.reconstruction(reference.images, lambda i: i, back[step])
            found.append(values)
    assert found[0].keys() == OF_IMAGES
    for row in OF_IMAGES - NO_QUALITY:
        values = np.array([one[row] for one in found]).reshape(3, 5)
        values = values if row in MORE_IS_WORSE else -values
        worse = np.diff(values, axis=1)  # of the same draws, each step further
        least = 1 if row == "classes" else 0
        floor = (np.abs(values.mean(axis=0)) < least + 0.01)[:-1] & (row not in MORE_IS_WORSE)
        beyond = worse.mean(axis=0) > worse.std(axis=0, ddof=1) / np.sqrt(3)
        assert (floor | beyond).all(), (row, np.abs(values).round(4).tolist())


def test_the_baselines_are_beyond_every_trained_model_of_the_study():
    file = ROOT / "outputs" / "reference" / "fashion_mnist" / "comparison.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    assert len(content["columns"]) == 6
    assert {"real images", "white noise", "untrained"} == content["baselines"]["columns"].keys()
    for row in OF_IMAGES - NO_QUALITY:
        sign = 1 if row in MORE_IS_WORSE else -1
        models = [
            run["metrics"][row]
            for c in content["columns"]
            for run in c["runs"]
            if row in run["metrics"]
        ]
        assert len(models) >= 3, row
        models = [sign * value for value in models]
        baselines = content["baselines"]["columns"]
        for title in ("white noise", "untrained"):
            if row in baselines[title]:
                assert sign * baselines[title][row] > max(models), (row, title)
        assert sign * baselines["real images"][row] < min(models), row
