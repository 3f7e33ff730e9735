"""The READMEs and the kept results of the study match the code."""

import ast
import csv
import graphlib
import json
import re
import zipfile

import common.data.batches
import eager_cvae
import mmd_cvae
from common.compare.__main__ import get_args, read
from common.compare.kept import kept_result
from common.compare.records import METRICS

import numpy as np
import pytest
from support import ROOT

PAGES = [*ROOT.glob("README.md"), *ROOT.glob("[cot]*/**/README.md")]  # of common, outputs, tests
PAGES = {page: page.read_text(encoding="utf-8") for page in PAGES}
TOP, COMMON, OBJECTIVES, OUTPUTS, STUDY, TESTS = (
    PAGES[ROOT / folder / "README.md"]
    for folder in ("", "common", "common/objectives", "outputs", "outputs/reference", "tests")
)


def test_tests_and_places_named_in_readmes_exist():
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    tests = set(re.findall(r"def (test_\w+)\(", tests))
    assert len(re.findall(r"`test_\w+`", TESTS)) > 10
    for page, text in PAGES.items():
        assert set(re.findall(r"`(test_\w+)`", text)) <= tests, page
        for path, _, heading in re.findall(r"\]\((?!https:)([^)#\s]*)(#([^)\s]+))?\)", text):
            target = (page.parent / path).resolve()
            assert target.exists(), (page, path)
            titles = re.findall(r"^#+ (.+)$", PAGES.get(target, ""), re.MULTILINE)
            anchors = ["", *(re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles)]
            assert heading in anchors, (page, path, heading)


def test_readmes_are_short():
    assert len(TOP.splitlines()) <= 150
    assert sum(len(text.split()) for text in PAGES.values()) <= 10_000


def test_every_flag_is_in_a_table_with_its_default():
    rows = dict(re.findall(r"^\| `--([a-z-]+)[^|]*\|([^|]*)\|", OBJECTIVES + TOP, re.MULTILINE))
    args = vars(eager_cvae.get_args([]))
    every = args.keys() | vars(mmd_cvae.get_args([])).keys()
    assert {name.replace("-", "_") for name in rows} == every
    for name in ("epochs", "batch-size", "latent-dim", "seed", "plot-every", "output-dir", "dtype"):
        assert rows[name].strip(" `") == str(args[name.replace("-", "_")])
    assert float(rows["learning-rate"]) == args["learning_rate"]


def test_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "digits", "--epochs", "1"]
    cvae, mmd = eager_cvae.main(flags), mmd_cvae.main(flags)
    names = {}
    for text in (TOP, OUTPUTS):
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        exec(code.replace("fashion_mnist", "digits"), names)
    ends = cvae.decode(names["mean"][:2])
    np.testing.assert_allclose(names["morph"][[0, -1]], ends, atol=1e-6)
    assert names["reconstructions"].shape == (8, *mmd.data().image_shape)
    assert names["z"].shape == (16, 2)
    assert (tmp_path / "images.png").exists()


# The map of the code -----------------------------------------------------------

LAYERS = [  # a module imports only from its own layer and the layers above it in this list
    {"losses", "program"},
    {"canvas", "data", "devices", "latent_plane", "names", "objectives", "plotting"},
    {"trained", "training"},
    {"eager_cvae", "mmd_cvae"},
    {"load"},
    {"animate", "compare", "explore", "runs"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def module(file):
    """Return the name of a module of the project, such as common.data.tfds."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(name):
    return LAYER[(name.removeprefix("common.")).partition(".")[0]]


def imported(file, modules):
    """Return the modules of the project that a file imports."""
    tree = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
    for node in tree:
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            names += inner or {node.module}
    return set(names) & modules.keys()


def test_imports_point_down():
    files = [*ROOT.glob("*_cvae.py"), *ROOT.glob("common/**/*.py")]
    modules = {module(file): file for file in files}
    imports = {name: imported(file, modules) for name, file in modules.items() if name != "common"}
    assert sum(map(len, imports.values())) > 50
    for name, others in imports.items():
        assert all(layer(other) <= layer(name) for other in others - {"common"}), (name, others)
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError for a circle
    dynamic = re.compile(r"\b(import_module|__import__)\b")
    through_text = [name for name, f in modules.items() if dynamic.search(f.read_text("utf-8"))]
    assert through_text == ["common.program.startup"]  # only packages of others


def test_the_map_names_every_folder_and_module():
    for path in ROOT.glob("common/*"):
        name = f"{path.name}/" * any(path.glob("*.py")) or path.name * (path.suffix == ".py")
        assert name in ("", "__init__.py") or f"`{name}`" in COMMON, name


# What is kept in outputs/reference ---------------------------------------------

REFERENCE = ROOT / "outputs" / "reference"
PLACES = sorted(file.parent for file in REFERENCE.rglob("metrics.json"))


def test_the_study_has_rows_of_its_comparisons():
    rows = [line for line in STUDY.splitlines() if line[2:].split("|")[0].strip() in METRICS]
    tables = REFERENCE.glob("*/comparison.md")
    kept = {line for table in tables for line in table.read_text(encoding="utf-8").splitlines()}
    assert len(rows) == 17
    assert len(PLACES) == 42 + 45 + 6  # A to V, five settings on three data sets, and weights
    assert set(rows) <= kept
    tables = [*REFERENCE.glob("*/*.json")]
    assert len(tables) == 7
    for table in tables:
        assert json.loads(table.read_text(encoding="utf-8"))["definitions"].keys() == METRICS.keys()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(REFERENCE)))
def test_kept_runs_can_be_read(place):
    run = read(place)
    batches = run.settings["dataset"]["train_images"] // 100
    assert run.settings["epoch"] == {"batches": batches, "passes": 1}
    assert len((place / "losses.csv").read_text().splitlines()) == run.flags["epochs"] + 1
    args = get_args(["--iw-images", "1000" if run.flags["epochs"] == 50 else "100"])
    assert kept_result(run, args).values["mean squared error"] < 0.05


def test_kept_numbers_are_those_of_the_kept_judges():
    judges = sorted(REFERENCE.rglob("judge.keras"))
    assert [file.parent.name for file in judges] == ["cifar10", "fashion_mnist", "mnist"]
    for file in judges:
        with zipfile.ZipFile(file) as parts:
            name = json.loads(parts.read("config.json"))["config"]["name"]
        kept = REFERENCE.rglob(f"{file.parent.name}/*/metrics.json")
        used = {json.loads(metrics.read_text())["basis"]["judge"] for metrics in kept}
        assert {name.rpartition("_")[2]} == used


@pytest.mark.parametrize(("model", "places", "whole"), [("cvae", 2, 0), ("mmd", 4, 4)])
def test_losses_to_expect_are_those_of_the_kept_runs(model, places, whole):
    text = TOP + OUTPUTS
    file = REFERENCE / "seed0" / "fashion_mnist" / model / "losses.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    for row in (rows[0], rows[-1])[: 2 if model == "cvae" else 1]:
        terms = [f"{float(v):.{places}f} {k}" for k, v in row.items() if k.endswith("total")]
        assert f"    Losses (epoch): {row['epoch']}:  {',  '.join(terms)}\n" in text
    ends = " | ".join(f"{float(row['total']):,.{whole}f}" for row in (rows[0], rows[-1]))
    assert f"total loss | {ends} |" in text
