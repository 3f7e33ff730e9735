"""Tests that an epoch gives the losses that the READMEs promise, on any processor."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, SCRIPTS

PROMISED = {"cvae": ROOT / "README.md", "mmd": ROOT / "outputs" / "README.md"}
DIGITS_FLOAT64 = {  # After one epoch on the digits, in nats per batch (cvae) and without unit (mmd)
    "cvae": {
        "logpx_z_total": -26086.086883607775,
        "logpz_total": -115.31069063972126,
        "logqz_x_total": -3.314088058462917,
        "total": 26198.083486189025,
    },
    "mmd": {
        "loss_nll_total": 0.07691439283200822,
        "loss_mmd_total": 0.0922968331948347,
        "total": 0.169211226026843,
    },
}
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("model", SCRIPTS)]


def train(model, dataset, folder, *flags):
    """Return the losses of one epoch of a script that runs in a new process, as a dict."""
    script = SCRIPTS[model].__file__
    words = [sys.executable, script, "--dataset", dataset, "--epochs", "1", *flags]
    subprocess.run([*words, "--output-dir", folder], check=True, capture_output=True)
    with (folder / dataset / model / "losses.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return {name: float(value) for name, value in row.items() if name not in ("epoch", "seconds")}


def test_an_epoch_of_fashion_mnist_gives_the_losses_in_the_readme(model, tmp_path):
    if not Path(os.environ.get("TFDS_DATA_DIR", ""), "fashion_mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR has no fashion_mnist")
    text = PROMISED[model].read_text(encoding="utf-8")
    line = re.search(r"Losses \(epoch\): 1:  (.*)", text)[1]
    promised = {name: value for value, name in (term.split() for term in line.split(",  "))}
    losses = train(model, "fashion_mnist", tmp_path)
    assert losses.keys() == promised.keys()
    for name, text in promised.items():
        # The README is rounded to its last digit. A difference of 0.1 % is allowed in addition
        rounding = 0.5 * 10.0 ** -len(text.partition(".")[2])
        assert abs(losses[name] - float(text)) <= rounding + 1e-3 * abs(float(text)), name


def test_an_epoch_in_float64_gives_stored_losses(model, tmp_path):
    losses = train(model, "digits", tmp_path, "--dtype", "float64")
    assert losses == pytest.approx(DIGITS_FLOAT64[model], rel=1e-6)
