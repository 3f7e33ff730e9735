"""Every measured number in the READMEs is a rounded number of a kept JSON file.

The kept losses in CSV files are compared in test_readme.py. The runs with more than two dimensions
were not kept, so their table can only be compared with the main README.
"""

import json
import re

import pytest
from support import ROOT

REFERENCE = ROOT / "outputs" / "reference"
TOP, STUDY = ((f / "README.md").read_text(encoding="utf-8") for f in (ROOT, REFERENCE))
KEPT = [json.loads(file.read_text(encoding="utf-8")) for file in REFERENCE.glob("*/*.json")]
COLUMNS = [column for kept in KEPT for column in kept["columns"]]
DIFFERENCES = [one for kept in KEPT for one in kept["differences"]]
WORDS = {  # A number must belong to a metric that the same paragraph names by a word
    "Fréchet": ["Fréchet distance"],
    "[Pp]recision": ["precision", "precision, grid"],
    "share of grid images": ["precision, grid"],
    "[Ss]quared error": ["mean squared error"],
    "cross entropy": ["cross entropy"],
    "ELBO": ["ELBO"],
    "effective samples": ["its effective samples"],
    "mean code|latent mean": ["latent mean to 0"],
    "coverage": ["coverage"],
    "edges": ["edges of draws", "edges kept"],
    "[Ss]ilhouette": ["silhouette"],
    "importance-weighted": ["importance-weighted bound"],
}
# Numbers of images, seeds, epochs, samples, dimensions and settings are not measured
SETTINGS = (
    r"1/100|0\.232|10,000|λ = 1|95 %|\b(?:0|1|2|3|25|32|40|50|100|256|500)\b(?![.±\d]| \[| %)"
)
NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])"


def section(text, heading):
    return re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def paragraphs(text):
    """Return paragraphs, list items and tables without their code, links and other data sets."""
    text = re.sub(r"^\|.*latent dimensions.*$", "", text, flags=re.M)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`|\[\^\w+\]|CIFAR-10", " ", text)
    return [re.sub(r"^\d+\. ", "", part) for part in re.split(r"\n\n|\n(?=- |\d+\. )", text)]


def rounds_to(text, value, percent=False):
    if "e" in text:
        return float(f"{value:.0e}") == float(text)
    places = len(text.partition(".")[2])
    return f"{abs(value) * (100 if percent else 1):.{places}f}" == text.replace(",", "")


def kept_values(names):
    """Return all means, standard deviations, baselines and changes of some metrics."""
    found = [column[of] for column in COLUMNS for of in ("mean", "standard_deviation")]
    found += [one for kept in KEPT for one in kept["baselines"]["columns"].values()]
    values = [one.get(name) for one in found for name in names]
    values += [one["change"] for one in DIFFERENCES if one["metric"] in names]
    return [value for value in values if value is not None]


def check(text):
    """Return the number of measured numbers in a paragraph. Raise AssertionError for wrong ones."""
    names = [name for word, names in WORDS.items() if re.search(word, text) for name in names]
    one = r"(\d+(?:\.\d+)?(?:e-\d+)?)"
    spread, interval = rf"{one}±{one}", rf"{one} \[{one}, {one}\]"
    pairs, triples = re.findall(spread, text), re.findall(interval, text)
    sds = [(column["mean"], column["standard_deviation"]) for column in COLUMNS]
    spreads = [(mean[n], sd[n]) for mean, sd in sds for n in names if sd.get(n) is not None]
    tested = [one for one in DIFFERENCES if one["metric"] in names]
    intervals = [(one["change"], *sorted((one["low"], one["high"]), key=abs)) for one in tested]
    for found, kept in ((pairs, spreads), (triples, intervals)):
        for numbers in found:
            assert any(all(map(rounds_to, numbers, values)) for values in kept), (numbers, text)
    text = re.sub(f"{interval}|{spread}|{SETTINGS}", " ", text)
    numbers, values = list(re.finditer(NUMBER, text)), kept_values(names)
    for number in numbers:
        percent = text[number.end() :].startswith(" %")
        assert any(rounds_to(number[0], value, percent) for value in values), (number[0], text)
    return len(pairs) + len(triples) + len(numbers)


@pytest.mark.parametrize(
    ("page", "headings", "least"),
    [
        (TOP, ["Which setting should I use?", "What the study found"], 25),
        (STUDY, ["Conclusions", "Fashion-MNIST", "MNIST", "Change by change", "The post's claims",
                 "KL and MMD together, and the VampPrior", "CIFAR-10", "Limits"], 100),
    ],
    ids=["main", "study"],
)  # fmt: skip
def test_numbers_are_kept(page, headings, least):
    parts = [part for heading in headings for part in paragraphs(section(page, heading))]
    assert sum(map(check, parts)) >= least


def test_other_numbers_would_be_found():
    good = "The Fréchet distance is 416±74, and falls by 295 [112, 477]. It is 0.4 for real images."
    assert check(good) == 3
    for a, b in (("416", "417"), ("74", "75"), ("295", "294"), ("112", "113"), ("0.4", "0.6")):
        with pytest.raises(AssertionError):
            check(good.replace(a, b))
    with pytest.raises(AssertionError):
        check(good.replace("Fréchet distance", "silhouette"))


def test_runs_with_more_dimensions_have_the_numbers_of_the_study():
    (row,) = re.findall(r"^\|.*latent dimensions \|.*$", TOP, re.M)
    numbers = "; ".join(cell.strip() for cell in row.split("|")[3:5])
    assert f"**{numbers}** |" in section(STUDY, "More dimensions")


def test_the_table_of_settings_has_the_numbers_of_its_commands():
    names = {"eager_cvae.py": "CVAE", "mmd_cvae.py": "MMD-VAE"}
    columns = {
        column["title"].split(": ")[-1]: column
        for column in COLUMNS
        if column["runs"][0]["dataset"] == "fashion_mnist"
    }
    rows = re.findall(r"^\|[^|]*\| `python ([^`]*)`[^|]*\|(.*)\|$", TOP, re.M)
    rows = [(command, cells) for command, cells in rows if "--latent-dim" not in command]
    assert len(rows) == 5
    for command, cells in rows:
        script, *flags = command.split(" --")
        column = columns[", ".join([names[script], *flags])]
        metrics = ["Fréchet distance", "precision", "mean squared error"]
        for cell, name in zip(cells.split("|"), metrics, strict=True):
            values = column["mean"][name], column["standard_deviation"][name]
            assert all(map(rounds_to, cell.strip().split("±"), values)), (command, name)
