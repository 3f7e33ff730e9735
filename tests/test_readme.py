"""README.md keeps up with the code."""

import json
import re
from pathlib import Path

from common import compare
from common.report import definitions
from eager_cvae import get_args

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_test_it_names_exists():
    named = set(re.findall(r"`(test_\w+)`", README))
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    assert len(named) > 10
    assert named <= set(re.findall(r"def (test_\w+)\(", tests))


def test_every_flag_is_in_its_table_with_its_default():
    rows = dict(re.findall(r"^\| `--([a-z-]+)[^|]*\|([^|]*)\|", README, re.MULTILINE))
    args = vars(get_args([]))
    assert {name.replace("-", "_") for name in rows} == set(args)
    for name in ("epochs", "batch-size", "latent-dim", "seed", "plot-every", "output-dir", "dtype"):
        assert rows[name].strip(" `") == str(args[name.replace("-", "_")])
    assert float(rows["learning-rate"]) == args["learning_rate"]


def test_every_file_it_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 4
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_rows_of_its_study_are_those_of_the_comparison():
    section = README.split("## The post's claims, checked")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    table = (ROOT / "outputs/reference/fashion_mnist/comparison.md").read_text(encoding="utf-8")
    assert len(rows) > 10
    assert set(rows) <= set(table.splitlines())


def test_its_study_was_measured_as_a_comparison_without_flags_measures():
    tables = [*ROOT.glob("outputs/reference/*/*.json")]
    assert len(tables) == 4
    for table in tables:
        content = json.loads(table.read_text(encoding="utf-8"))
        assert content["definitions"] == definitions(compare.get_args([]))
    assert "500 samples" in content["definitions"]["bound"]
