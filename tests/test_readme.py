"""The READMEs keep up with the code."""

import ast
import csv
import graphlib
import json
import re
import zipfile
from pathlib import Path

import common.data.batches
import eager_cvae
import mmd_cvae
from common.compare.__main__ import get_args, read
from common.compare.evaluate import kept_result
from common.compare.report import METRICS, definitions
from tests.test_data import prepared  # noqa: F401, a fixture

import matplotlib
import numpy as np
import pytest
from support import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("common/**/*.md"), *ROOT.glob("tests/benchmarks/*.md")]
PAGES += [*ROOT.glob("outputs/reference/*.md")]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_test_they_name_and_every_file_they_link_to_exists():
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    tests = set(re.findall(r"def (test_\w+)\(", tests))
    assert len(PAGES) >= 5
    assert len(re.findall(r"`test_\w+`", README)) > 10
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`(test_\w+)`", text)) <= tests, page
        for link in re.findall(r"\]\(([^)#\s]+)\)", text):
            assert "://" in link or (page.parent / link).exists(), (page, link)


def test_every_flag_is_in_its_table_with_its_default():
    rows = dict(re.findall(r"^\| `--([a-z-]+)[^|]*\|([^|]*)\|", README, re.MULTILINE))
    args = vars(eager_cvae.get_args([]))
    every = args.keys() | vars(mmd_cvae.get_args([])).keys()
    assert {name.replace("-", "_") for name in rows} == every
    for name in ("epochs", "batch-size", "latent-dim", "seed", "plot-every", "output-dir", "dtype"):
        assert rows[name].strip(" `") == str(args[name.replace("-", "_")])
    assert float(rows["learning-rate"]) == args["learning_rate"]


def test_its_lines_of_python_run_as_they_stand(prepared, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    monkeypatch.chdir(tmp_path)
    trained = eager_cvae.main(["--epochs", "1", "--batch-size", "20"])
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code, names)
    assert len(code.splitlines()) <= 11
    assert names["reconstructions"].shape == (8, *trained.data().image_shape)
    assert names["z"].shape == (16, 2)
    morph = names["morph"]
    np.testing.assert_allclose(morph[[0, -1]], trained.decode(names["mean"][:2]), atol=1e-6)
    shown = matplotlib.image.imread("morph.png")[..., 0]
    grey = (morph[0, ..., 0] - morph.min()) / np.ptp(morph)
    np.testing.assert_allclose(shown[:, :28], grey, atol=0.01)
    assert shown.shape == (28, 280)


def test_imports_point_down_and_every_module_is_on_the_map():
    text = (ROOT / "common" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.+?) \|", text, re.MULTILINE)
    floors = {Path(n).stem: int(floor) for floor, cell in rows for n in re.findall("`(.+?)`", cell)}
    imports = {}
    for file in [*ROOT.glob("*_cvae.py"), *ROOT.glob("common/**/*.py")]:
        parts = file.relative_to(ROOT).with_suffix("").parts
        here = parts[min(1, len(parts) - 1)]
        assert here in floors
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names)):
                there = name.split(".")[name.startswith("common.")]
                if there in floors and there != here:
                    assert floors[there] <= floors[here], (file, name)
                    imports.setdefault(here, set()).add(there)
    assert len(imports) > 10
    graphlib.TopologicalSorter(imports).prepare()  # raises where there is a circle


# What is kept in outputs/reference ---------------------------------------------

REFERENCE = ROOT / "outputs" / "reference"
STUDY = get_args(["--iw-images", "1000"])
PLACES = sorted({file.parent for file in REFERENCE.glob("*/*/*/metrics.json")})


def test_the_study_has_the_rows_of_its_comparisons():
    study = (REFERENCE / "README.md").read_text(encoding="utf-8")
    rows = [line for line in study.splitlines() if line[2:].split("|")[0].strip() in METRICS]
    tables = [REFERENCE / name / "comparison.md" for name in ("fashion_mnist", "mnist", "family")]
    kept = {line for table in tables for line in table.read_text(encoding="utf-8").splitlines()}
    assert len(rows) > 25
    assert len(PLACES) > 20
    assert set(rows) <= kept
    tables = [*REFERENCE.glob("*/*.json")]
    assert len(tables) == 4
    for table in tables:
        content = json.loads(table.read_text(encoding="utf-8"))
        assert content["definitions"] == definitions(STUDY.iw_samples, STUDY.iw_images)
    assert "500 samples" in content["definitions"]["importance-weighted bound"]
    assert set(METRICS) == set(content["definitions"])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(REFERENCE)))
def test_what_is_kept_of_a_run_is_read(place):
    run = read(place)
    batches = run.settings["dataset"]["train_images"] // 100
    assert run.settings["epoch"] == {"batches": batches, "passes": 1}
    assert len((place / "losses.csv").read_text().splitlines()) == run.flags["epochs"] + 1
    assert kept_result(run, STUDY).values["mean squared error"] < 0.05


def test_the_kept_judges_are_those_of_the_kept_numbers():
    judges = sorted(REFERENCE.glob("*/*/judge.keras"))
    assert [file.parent.name for file in judges] == ["cifar10", "fashion_mnist", "mnist"]
    for file in judges:
        with zipfile.ZipFile(file) as parts:
            name = json.loads(parts.read("config.json"))["config"]["name"]
        kept = REFERENCE.glob(f"*/{file.parent.name}/*/metrics.json")
        used = {json.loads(metrics.read_text())["basis"]["judge"] for metrics in kept}
        assert {name.rpartition("_")[2]} == used


@pytest.mark.parametrize(("model", "places", "whole"), [("cvae", 2, 0), ("mmd", 4, 4)])
def test_the_losses_to_expect_are_those_of_the_kept_runs(model, places, whole):
    file = REFERENCE / "seed0" / "fashion_mnist" / model / "losses.csv"
    first, *_, last = csv.DictReader(file.read_text().splitlines())
    terms = [f"{float(v):.{places}f} {k}" for k, v in first.items() if k.endswith("total")]
    assert f"    Losses (epoch): 1:  {',  '.join(terms)}\n" in README
    ends = " | ".join(f"{float(row['total']):,.{whole}f}" for row in (first, last))
    assert f"total loss | {ends} |" in README
