"""The tables and the summary of a comparison, and its README's list of metrics."""

import math
from types import SimpleNamespace

from common.compare import __main__ as compare
from common.compare.evaluate import Result
from common.compare.records import METRICS, definitions
from common.compare.report import changes, difference, remarks, summarize, summary, tables

import numpy as np
from support import ROOT


def column(*values, of="t"):
    return [Result(SimpleNamespace(title=of), one) for one in values]


def cells(table):
    return [[word.strip() for word in line.split("|")[1:-1]] for line in table.splitlines()]


def test_the_readme_lists_the_records():
    args = compare.get_args([])
    about = definitions(args.iw_samples, args.iw_images)
    expected = "\n".join(f"- **{name}**: {about[name]}" for name in METRICS)
    readme = (ROOT / "common" / "compare" / "README.md").read_text(encoding="utf-8")
    listed = "\n".join(line for line in readme.splitlines() if line.startswith("- **"))
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


def test_changes_are_larger_than_the_spread():
    first = [{"sure": v, "classes": v, "silhouette": v, "ELBO": -5.0} for v in (0.1, 0.2, 0.3)]
    shifts = {"sure": 0.31, "classes": 0.29, "silhouette": math.inf}  # the limit is 3 * 0.1
    then = [{name: one[name] + shift for name, shift in shifts.items()} for one in first]
    columns = {"A: x": column(*first), "B: y": column(*then), "C: z": column(*first)}
    found = cells(tables(columns, {}).split("\n\n")[1])
    assert found[0] == ["", "A to B", "B to C"]
    assert found[2:] == [["sure", "+0.310", "-0.310"]]
    columns["B: y"].pop()
    assert changes(columns) == {}
    several = {"A": column(*first), "B": column(*then, of="u"), "C": column(*first)}
    assert changes(several) == {}


def test_chance_makes_a_difference_in_two_rows_of_a_hundred():
    draws = np.random.default_rng(0).normal(scale=1e4, size=(20_000, 2, 3))
    runs = [[column(*({"classes": v} for v in values)) for values in pair] for pair in draws]
    found = [draws[i] for i, (a, b) in enumerate(runs) if difference("classes", a, b)]
    assert 0.018 < len(found) / len(draws) < 0.025
    assert all(a.min() > b.max() or b.min() > a.max() for a, b in found)


def test_the_summary_names_differences_beyond_the_spread():
    columns = {
        "A": column({"sure": 0.2, "classes": 2.0, "silhouette": 0.1, "edges kept": 0.3}),
        "B": column(*({"sure": v, "classes": v, "silhouette": 0.11} for v in (0.2, 7.2))),
    }
    (line,) = summary(columns, {}).splitlines()
    for word in ("silhouette", "0.100 (A)", "0.110 (B)"):
        assert word in line
    columns["B"][0].values["sure"] = columns["B"][1].values["sure"] = 0.8
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
