"""Every measured number in the READMEs is a rounded number of a kept JSON or CSV file.

The losses that users should expect are compared in test_readme.py, times in test_benchmarks.py.
"""

import csv
import json
import re

import pytest
from support import ROOT

REFERENCE = ROOT / "outputs" / "reference"
TOP, STUDY, GUIDE = (
    (folder / "README.md").read_text(encoding="utf-8")
    for folder in (ROOT, REFERENCE, ROOT / "common" / "data")
)
KEPT = [json.loads(file.read_text(encoding="utf-8")) for file in REFERENCE.glob("*/*.json")]
COLUMNS = [column for kept in KEPT for column in kept["columns"]]
DIFFERENCES = [one for kept in KEPT for one in kept["differences"]]
# The largest share of its whole fall since epoch 1 by which a loss fell in the last epoch, for
# five settings with three seeds
LAST_FALLS = [
    max(
        (loss[-2] - loss[-1]) / (loss[0] - loss[-1])
        for file in REFERENCE.glob(f"{name}/*_seed?/*/*/losses.csv")
        if (loss := [float(row["total"]) for row in csv.DictReader(file.read_text().splitlines())])
        and not re.match(r"weight\d", file.parts[-4])
    )
    for name in ("cifar10_64", "fashion_mnist_16", "fashion_mnist_2")
]
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
    r"KL\(|KL divergence|KL of \d": ["KL part of the ELBO", "KL(latent Gaussian, prior)"],
    "active": ["active dimensions"],
    "last epoch": ["last fall"],
}
# Numbers of images, seeds, epochs, samples, dimensions and settings are not measured
SETTINGS = (
    r"1/100|0\.232|[1-6]0,000|λ = 1|95 %|[Ww]eight (?:of )?[\d.]+|\d+\u00d7\d+"
    r"|\b(?:0|1|2|3|4|8|16|32|40|50|64|100|256|500)\b(?![.±\d]| \[| %)"
)
NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])"


def section(text, heading):
    return re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def paragraphs(text):
    """Return paragraphs, list items and tables without their code and links."""
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
    if "last fall" in names:
        values += LAST_FALLS
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
        (STUDY, ["Conclusions", "Fashion-MNIST", "MNIST", "Change by change",
                 "Further claims of the post", "KL and MMD together, and the VampPrior",
                 "Photographs and more dimensions", "Limits"], 100),
        (GUIDE, ["A guide for your own pictures"], 4),
    ],
    ids=["main", "study", "guide"],
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


def test_the_table_of_settings_has_the_numbers_of_its_commands():
    names = {"eager_cvae.py": "CVAE", "mmd_cvae.py": "MMD-VAE"}
    many = json.loads((REFERENCE / "fashion_mnist_16" / "comparison.json").read_text())["columns"]
    columns = [c for c in COLUMNS if c["runs"][0]["dataset"] == "fashion_mnist"]
    few, many = (
        {column["title"].split(": ")[-1]: column for column in found}
        for found in ([c for c in columns if c["runs"][0]["flags"]["epochs"] == 50], many)
    )
    rows = re.findall(r"^\|[^|]*\| `python ([^`]*)`[^|]*\|(.*)\|$", TOP, re.M)
    assert len(rows) == 6
    for command, cells in rows:
        script, *flags = command.replace(" --latent-dim 16", "").split(" --")
        column = (many if "--latent-dim" in command else few)[", ".join([names[script], *flags])]
        metrics = ["Fréchet distance", "precision", "mean squared error"]
        for cell, name in zip(cells.split("|"), metrics, strict=True):
            values = column["mean"][name], column["standard_deviation"][name]
            assert all(map(rounds_to, cell.strip().split("±"), values)), (command, name)


FINDINGS = [  # data set, metric, letters of the settings in the study, and the sentence
    ("fashion_mnist", "latent mean to 0", "ABF",
     r"test images is (\S+) with the post's VAE, (\S+) with `--beta 1` and (\S+) with the MMD"),
    ("fashion_mnist", "edges of draws", "FAB",
     r"MMD-VAE's edges are (\S+) times .*? edges (\S+) times .*? 1` \((\S+)\)"),
    ("mnist", "precision, grid", "AF",
     r"digits is (\S+) with the post's VAE and (\S+) with the MMD"),
    ("mnist", "Fréchet distance", "AF",
     r"Fréchet distance is (\S+) with the post's VAE and (\S+) with the MMD"),
    ("fashion_mnist", "mean squared error", "BF",
     r"`--beta 1` reconstructs better than the MMD-VAE \(squared error (\S+) and (\S+)\)"),
]  # fmt: skip


def kept_study(dataset):
    """Return the columns of a data set by letter, and the significance by letters and metric."""
    kept = json.loads((REFERENCE / dataset / "comparison.json").read_text(encoding="utf-8"))
    significant = {
        (one["from"][0] + one["to"][0], one["metric"]): one["significant"]
        for one in kept["differences"]
    }
    return {column["title"][0]: column for column in kept["columns"]}, significant


@pytest.mark.parametrize(("dataset", "metric", "letters", "sentence"), FINDINGS)
def test_findings_have_the_numbers_of_their_settings(dataset, metric, letters, sentence):
    numbers = re.search(sentence, " ".join(section(TOP, "What the study found").split())).groups()
    columns, _ = kept_study(dataset)
    for letter, found in zip(letters, numbers, strict=True):
        values = columns[letter]["mean"][metric], columns[letter]["standard_deviation"][metric]
        assert all(map(rounds_to, found.split("±"), values)), (letter, found)


def test_statements_about_significance_are_kept():
    clothes, digits = (kept_study(dataset)[1] for dataset in ("fashion_mnist", "mnist"))
    assert not clothes["BF", "edges of draws"]  # finding 2
    assert clothes["BF", "mean squared error"]  # finding 5
    assert digits["AF", "Fréchet distance"]  # finding 4
    assert digits["AF", "precision, grid"]  # finding 3
    assert not any(value for (_, m), value in clothes.items() if m == "precision, grid")
    equal = [(clothes, "CD"), (digits, "DE"), (digits, "EF")]  # "no metric differs significantly"
    for kept, pair in equal:
        assert not any(value for (letters, _), value in kept.items() if letters == pair)
    worse = ("cross entropy", "mean squared error", "coverage")  # F compared with B
    for metric in (*worse, "classes", "sure", "precision, own Gaussian"):
        assert clothes["BF", metric], metric
    for metric in (*worse, "precision", "edges of draws"):
        assert digits["BF", metric], metric
    for metric in ("latent mean to 0", "KL(latent Gaussian, prior)", "MMD^2 to prior"):
        assert clothes["BF", metric], metric
        assert digits["BF", metric], metric
