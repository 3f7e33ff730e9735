"""The tables and the summary of a comparison, and its README's list of metrics."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

from common.compare import __main__ as compare
from common.compare.evaluate import Result
from common.compare.records import METRICS, definitions
from common.compare.report import changes, remarks, summarize, summary, tables, to_json

import numpy as np
from scipy import stats
from support import ROOT


def column(*values, of="t"):
    run = SimpleNamespace(title=of, folder=Path("run"), dataset=of, flags={})
    return [Result(run, one) for one in values]


def cells(table):
    return [[word.strip() for word in line.split("|")[1:-1]] for line in table.splitlines()]


def test_the_readme_lists_the_records():
    args = compare.get_args([])
    about = definitions(args.iw_samples, args.iw_images)
    expected = "\n".join(f"- **{name}**: {about[name]}" for name in METRICS)
    readme = (ROOT / "common" / "compare" / "README.md").read_text(encoding="utf-8")
    rows = readme.partition("## The judge")[0].splitlines()
    listed = "\n".join(line for line in rows if line.startswith("- **"))
    assert listed == expected, f"the list should be:\n{expected}"
    about = definitions(1234, 56)
    assert "1,234 samples" in about["importance-weighted bound"]
    assert "first 56 test images" in about["ELBO, fewer images"]


def test_more_than_three_columns_have_letters(monkeypatch):
    names = ["CVAE", "CVAE, beta 1.0", "MMD-VAE", "MMD-VAE, lambda 2.0"]
    results = column(*({"sure": i / 10} for i in range(4)))
    lettered = [f"{letter}: {name}" for letter, name in zip("ABCD", names, strict=True)]
    for n, expected, top in ((3, names[:3], names[:3]), (4, lettered, [*"ABCD"])):
        monkeypatch.setattr(compare, "titles", lambda *_, n=n: names[:n])
        columns = compare.by_setting(results[:n])
        assert [*columns] == expected
        found = tables(columns, {"untrained": column({"sure": 0})}).split("\n\n")
        heads = [cells(one)[0][1:] for one in found]
        assert heads == ([[*top, "untrained"]] if n == 3 else [[*top], ["untrained"]])


def test_the_table_of_changes_has_significant_differences_and_their_intervals():
    first = [{"sure": v, "classes": v, "silhouette": v, "ELBO": -5.0} for v in (0.1, 0.2, 0.3)]
    shifts = {"sure": 0.7, "classes": 0.2, "silhouette": math.inf}
    then = [{name: one[name] + shift for name, shift in shifts.items()} for one in first]
    columns = {"A: x": column(*first), "B: y": column(*then), "C: z": column(*first)}
    half = stats.t.ppf(0.975, 4) * math.sqrt(2 * 0.01 / 3)  # Both variances are 0.01
    ends = [f"{0.7 + sign * half:+.3f}" for sign in (-1, 1)]
    found = cells(tables(columns, {}).split("\n\n")[1])
    assert found[0] == ["", "A to B", "B to C"]
    (row,) = found[2:]
    assert row[:2] == ["sure", f"+0.700 [{', '.join(ends)}]"]
    kept = json.loads(to_json(columns, {}, {}, compare.get_args([])))["differences"]
    kept = {(one["from"], one["to"], one["metric"]): one for one in kept}
    assert len(kept) == 7  # sure and classes for each two columns, silhouette for A and C
    one = kept["A: x", "B: y", "sure"]
    assert one["significant"]
    np.testing.assert_allclose([one["low"], one["high"]], [0.7 - half, 0.7 + half])
    assert not kept["A: x", "B: y", "classes"]["significant"]
    for name in ("A: x", "C: z"):
        columns[name] = columns[name][:1]
    assert changes(columns, {}) == {}
    assert "one run" in remarks(columns, {}, {})
    several = {"A": column(*first), "B": column(*then, of="u"), "C": column(*first)}
    assert changes(several, {}) == {}


def test_rows_that_are_left_out_are_not_tested():
    columns = {title: column({"sure": v}, {"sure": v + 0.01}) for title, v in (("A", 0), ("B", 9))}
    assert changes(columns, {})
    assert not changes(columns, {"real images": column({"sure": 0.8})})


def test_the_summary_names_significant_differences_and_those_of_single_runs():
    both = {
        "A": [{"sure": v, "classes": v, "silhouette": 0.1 + v / 1e4} for v in (0.2, 0.3)],
        "B": [{"sure": v, "classes": v, "silhouette": 0.2 + v / 1e4} for v in (0.2, 7.2)],
    }
    columns = {title: column(*runs) for title, runs in both.items()}
    (line,) = summary(columns, {}).splitlines()
    for word in ("silhouette", "0.100 (A)", "0.200 (B)"):
        assert word in line
    columns = {
        "A": column({"sure": 0.2, "edges kept": 0.3}),
        "B": column({"sure": 0.8}),
    }
    assert "0.200 (A), 0.800 (B)" in summary(columns, {})
    baselines = {"real images": column({"sure": 0.8}), "white noise": column({"sure": 0})}
    alone = summary({"A": columns["A"]}, baselines)
    assert "sure" in alone
    assert "0.800 (real images)" in alone
    assert "edges kept" not in alone


def test_a_row_is_left_out_if_real_images_are_not_the_best():
    good = {"sure": 0.8, "precision": 0.5, "Fréchet distance": 1.0, "classes": 9.0}
    noise, model = dict.fromkeys(good, 0.0), dict.fromkeys(good, 0.4)
    noise["Fréchet distance"] = model["Fréchet distance"] = 100.0
    baselines = {"real images": column(good), "white noise": column(noise)}
    columns = {"A": column(model)}
    assert "precision" in tables(columns, baselines)
    assert not any(name in remarks(columns, baselines, {"t": 0.9}) for name in good)
    for values, name, value in (
        (noise, "precision", 0.9), (model, "sure", 0.85), (noise, "Fréchet distance", 0.5)
    ):  # fmt: skip
        before, values[name] = values[name], value
        assert f"| {name} " not in tables(columns, baselines)
        assert name not in summary(columns, baselines)
        assert f": {name}." in remarks(columns, baselines, {"t": 0.9})
        values[name] = before
    for value, left_out in ((0.59, False), (0.61, True)):  # with 0.4, means of 0.495 and 0.505
        columns = {"A": column(model, model | {"precision": value})}
        assert ("| precision " not in tables(columns, baselines)) == left_out


def test_rows_about_classes_that_are_missing_are_named_with_the_reason():
    columns = {"A": column({"precision": 0.5})}
    text = remarks(columns, {}, {"t": 0.875, "faces": "only 1 of 2 classes"})
    judged, missing = text.splitlines()
    assert "87.5% on t" in judged
    for words in ("faces", "only 1 of 2 classes", "silhouette", "Fréchet distance", "sure"):
        assert words in missing
    assert "precision" not in missing
    assert "no classes" in remarks(columns, {}, {"faces": "there are no classes"})


def test_infinite_values_have_no_standard_deviation():
    for n in (1, 2):
        assert summarize("silhouette", column({"silhouette": np.inf}) * n) == (np.inf, None)
