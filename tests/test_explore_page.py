"""Tests of the content of the explorer's page."""

import base64
import json
import re

from common.compare.kept import VERSION
from common.explore import __main__ as explore
from common.explore import page as pages
from common.load import load_run
from common.plotting import latent_plane
from common.program.errors import UserError
from common.program.files import write_json

import numpy as np
import pytest
from explorer import N, data_set, decode_base64, in_page, trained
from support import SCRIPTS, call, cut, few_digits, snapshot


@pytest.fixture
def digits(copied, tmp_path, monkeypatch):
    """Return the folder of two runs on few digits, which outputs/ contains."""
    monkeypatch.setattr("common.trained.load_dataset", few_digits)
    monkeypatch.chdir(tmp_path)
    for model in SCRIPTS:
        copied(model, done=True)
    (tmp_path / "outputs").mkdir()
    return (tmp_path / "digits").rename(tmp_path / "outputs" / "digits")


def test_a_page_has_all_data_and_loads_nothing(digits, capsys):
    before = snapshot(digits)
    capsys.readouterr()
    assert call(explore.main) == 0  # without arguments: the only data set in outputs/
    file = digits / "explorer.html"
    assert re.match(r"outputs/digits/explorer.html, 0\.\d MB\.", capsys.readouterr().out)
    assert snapshot(digits).keys() - before.keys() == {file.relative_to(digits)}
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'; " in text
    links = re.findall(r'<a href="https://[^"]*" rel="noreferrer">', text)
    assert len(re.findall("https?:", text)) == len(links) == 1
    content, data = json.loads(in_page(file)["data"]), few_digits()
    (of_data,) = content["datasets"]
    assert [one["name"] for one in of_data["classes"]] == list(data.class_names)
    assert [one["count"] for one in of_data["classes"]] == np.bincount(data.test_labels).tolist()
    order = decode_base64(of_data["numbers"], "<u4")
    for panel, model in zip(content["runs"], SCRIPTS, strict=True):
        mean = load_run(digits / model).encode(data.test_images)
        np.testing.assert_array_equal(decode_base64(panel["means"]), mean[order].ravel())
        titles = [table["title"] for table in panel["tables"]]
        assert titles == ["Flags", "Losses of the last epoch"]  # there are no metrics


def test_a_damaged_run_leaves_the_page_unchanged(digits, capsys):
    file = digits / "explorer.html"
    assert call(explore.main, digits) == call(explore.main, digits, "--output", file) == 0
    page = file.read_bytes()
    cut(digits / "mmd" / "decoder.keras")
    assert call(explore.main, digits) == 2
    assert "decoder.keras" in capsys.readouterr().err
    assert file.read_bytes() == page


def test_other_files_are_not_replaced(tmp_path, monkeypatch, capsys):
    run = trained("mmd", data_set(), tmp_path)
    monkeypatch.setattr(explore, "load_run", lambda folder: run)
    (tmp_path / "mine.html").write_text("my own")
    run.folder.mkdir()
    (run.folder / "settings.json").write_text("{}")
    for file in ("mine.html", "mine.html/a.html", "mmd/a.html"):
        assert call(explore.main, "a", "--output", tmp_path / file) == 2
        assert str((tmp_path / file).parent) in capsys.readouterr().err
    assert (tmp_path / "mine.html").read_text() == "my own"
    assert [path.name for path in run.folder.iterdir()] == ["settings.json"]
    assert call(explore.main, "a", "--output", tmp_path / "new" / "a.html") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]


def test_a_run_that_diverged_is_refused(tmp_path, monkeypatch):
    run = trained("mmd", data_set(), tmp_path)
    for factor in (1e20, np.nan):
        monkeypatch.setattr(run, "_encode", lambda x, f=factor: np.full((len(x), 2), f))
        with pytest.raises(UserError, match="diverged"):
            pages.content([run])


def test_only_metrics_of_the_same_models_are_shown(tmp_path):
    run = trained("mmd", data_set(), tmp_path)
    run.folder.mkdir()
    basis = {"models": run.fingerprint, "iw": [500, 99], "version": VERSION}
    values, file = {"precision": 0.25}, run.folder / "metrics.json"
    run.settings["models"] = run.fingerprint
    assert pages.measured(run) == ([], {})
    write_json(file, {"basis": basis, "values": values})
    rows, meanings = pages.measured(run)
    assert rows == [["precision", "0.250"]]
    assert meanings.keys() == {"precision"}
    cut(file)
    assert pages.measured(run) == ([], {})
    for name, other in (("models", "another's"), ("version", VERSION - 1)):
        write_json(file, {"basis": basis | {name: other}, "values": values})
        assert pages.measured(run) == ([], {})


def test_the_page_hides_the_folders_of_a_run(tmp_path):
    flags = {"images": "/disk/private/faces", "data_dir": "/disk/a", "output_dir": "/disk/b"}
    run = trained("mmd", data_set(), tmp_path, dataset="emnist/letters", **flags)
    flags = dict(pages.tables(run)[0]["rows"])
    assert (flags["--images"], flags["--dataset"]) == ("faces", "emnist/letters")
    assert "disk" not in str(flags)


def test_a_large_test_set_is_cut_to_its_first_images(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_BYTES", 30_000)
    data = data_set()
    run = trained("cvae", data, tmp_path)
    content = pages.content([run, trained("mmd", data, tmp_path, 1)])
    (found,) = content["datasets"]
    n = found["size"]
    assert 10 < n < N == found["total"]
    assert len(base64.b64decode(found["sprite"].split(",")[1])) < 40_000
    order = decode_base64(found["numbers"], "<u4")
    assert data.test_labels[order].tolist() == sorted(data.test_labels[:n])
    means = decode_base64(content["runs"][0]["means"]).reshape(n, 2)
    np.testing.assert_array_equal(means, run.encode(data.test_images)[order])
    monkeypatch.setattr(pages, "MOST_IMAGES", n - 2)
    for panel in pages.content([run, trained("cvae", data, tmp_path, 1)])["runs"]:
        assert len(decode_base64(panel["points"] or panel["means"])) == 2 * (n - 2)
    monkeypatch.setattr(pages, "WEBP_SIDE", 28 * 3 + 27)
    assert pages.dataset(data)[0]["size"] == 3 * 3


def test_many_dimensions_have_the_plane_of_the_figures_and_eight_components(tmp_path):
    data = data_set()
    run = trained("cvae", data, tmp_path, 12)
    (panel,) = pages.content([run])["runs"]
    mean, axes = run.encode(data.test_images), np.array(panel["axes"])
    points, lift, labels = latent_plane(mean)
    order = np.argsort(data.test_labels, kind="stable")
    np.testing.assert_allclose(decode_base64(panel["points"]), points[order].ravel(), rtol=1e-5)
    place = np.array([[0.3, -1.2]])
    np.testing.assert_allclose(panel["origin"] + place @ axes[:2], lift(place), rtol=1e-5)
    np.testing.assert_allclose(axes @ axes.T, np.eye(10), atol=1e-5)
    assert tuple(panel["labels"]) == labels
    others = (mean - np.array(panel["origin"])) @ axes[2:].T
    np.testing.assert_allclose(panel["spread"], others.std(axis=0, ddof=1), rtol=1e-4)
