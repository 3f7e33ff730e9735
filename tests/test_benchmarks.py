"""Tests of the programs in tests/benchmarks/ that require no other framework."""

import json
import math
import subprocess
import sys
from unittest.mock import Mock

import eager_cvae
from tests.benchmarks import benchmark, tensorflow_vae

import keras
import numpy as np
import pytest
from support import ROOT

BENCHMARKS = ROOT / "tests" / "benchmarks"
README = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
IMAGES = np.random.default_rng(0).integers(0, 256, (2000, 28, 28, 1), dtype=np.uint8)


@pytest.mark.parametrize(("words", "status"), [("benchmark --help", 0), ("operations", 1)])
def test_programs_start(words, status):
    command = [sys.executable, "-m", *f"tests.benchmarks.{words}".split()]
    program = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert program.returncode == status, program.stderr


@pytest.mark.slow
@pytest.mark.parametrize("make", ["make_shipped", "make_eager", "make_fit"])
def test_contestants_train_and_only_ours_has_the_faster_layer(make, monkeypatch):
    parts, make_parts = [], tensorflow_vae.make_parts
    monkeypatch.setattr(
        tensorflow_vae, "make_parts", lambda *args: parts.append(make_parts(*args)) or parts[0]
    )
    run = getattr(tensorflow_vae, make)("mmd", IMAGES, 50)
    state = parts[0][-1]
    encoder, decoder = state["encoder"], state["decoder"]
    assert (type(decoder.deconv3) is keras.layers.Conv2DTranspose) == (make != "make_shipped")
    before = [weight.numpy() for weight in encoder.weights + decoder.weights]
    assert run(7) == 7  # exactly the steps that were asked for
    assert run(4) == 11
    for weight, old in zip(encoder.weights + decoder.weights, before, strict=True):
        assert 0 < np.abs(weight.numpy() - old).max() < 12 * 1e-4  # eleven steps of Adam


def test_the_table_has_quartiles_of_times_and_ratios(capsys):
    product = benchmark.PRODUCT / 100  # at 100 GFLOP/s
    found = {
        "as shipped": [0.04, 0.05, 0.06],
        "JAX jit": [0.4, 1.0, 0.6],
        "product": [product] * 3,
    }
    benchmark.print_steps("cvae", found, (28, 28, 1), (32, 64))
    out = capsys.readouterr().out
    assert "| as shipped | 50.0 (45.0 to 55.0) | 2,000 |  |" in out
    assert "| JAX jit | 600.0 (500.0 to 800.0) | 167 | 10.00 (10.00 to 15.00) |" in out
    assert "100 GFLOP/s" in out
    assert "65%" in out  # 3.27 GFLOP in 50 ms


@pytest.mark.parametrize("filters", [(32, 64), (16, 32, 8)])
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (28, 20, 1)])
def test_multiply_adds_are_those_of_the_layers(shape, filters):
    expected = []
    multiple = 2 ** len(filters)
    shape = (*(side // multiple * multiple for side in shape[:2]), shape[2])
    models = eager_cvae.Encoder(2, filters), eager_cvae.Decoder(2, shape, filters)
    for model, x in zip(models, [(1, *shape), (1, 2)], strict=True):
        model(np.zeros(x, np.float32))
        for layer in model.layers:
            y = layer.compute_output_shape(x)
            if layer.weights:
                pixels = x if isinstance(layer, keras.layers.Conv2DTranspose) else y
                expected.append(math.prod((*pixels[1:-1], *layer.kernel.shape)) / 1e6)
            x = y
    assert [*benchmark.macs(shape, filters).values()] == pytest.approx(expected)
    if (shape, filters) == ((28, 28, 1), (32, 64)):
        assert benchmark.gflop(shape, filters) == pytest.approx(3.27, rel=0.005)


def test_a_contestant_must_run_the_steps_that_it_is_asked_for(monkeypatch):
    steps = iter([20, 26, 36])  # the second call runs ten steps instead of six
    monkeypatch.setattr(benchmark, "make", lambda *_: (lambda _: next(steps), None))
    pipe = Mock(recv=Mock(return_value=6))
    with pytest.raises(AssertionError, match="10 instead of 6"):
        benchmark.contestant(pipe, 20, "ours", "cvae", (28, 28, 1), (32, 64), 100)
    assert pipe.send.call_count == 2


@pytest.mark.parametrize("name", benchmark.CONTESTANTS[:4])
def test_only_the_scripts_run_in_their_deterministic_set_up(name, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # `make` changes it
    monkeypatch.setattr("common.program.startup.start", Mock())
    for kind in ("shipped", "eager", "fit", "product"):
        monkeypatch.setattr(tensorflow_vae, f"make_{kind}", Mock())
    monkeypatch.setattr(benchmark, "steps_per_turn", lambda *_: 1)
    benchmark.make(name, "cvae", (8, 8, 1), (32, 64), 10, stack := Mock())
    assert stack.enter_context.called == (name in ("as shipped", "with --vamp-prior 500"))


def test_a_contestant_that_cannot_start_sends_the_reason(monkeypatch):
    error = ModuleNotFoundError("No module named 'torch'")
    monkeypatch.setattr(benchmark, "make", Mock(side_effect=error))
    pipe = Mock()
    benchmark.contestant(pipe, 20, "PyTorch", "cvae", (28, 28, 1), (32, 64), 100)
    pipe.send.assert_called_once_with("ModuleNotFoundError: No module named 'torch'")


def kept(name):
    return json.loads((BENCHMARKS / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_readme_has_the_kept_times_of_steps():
    kept_results = [kept(name) for name in ("28x28x1", "32x32x3", "64x64x3")]
    found = [kept(file.stem) for file in (BENCHMARKS / "results").iterdir()]
    first, last = min(one["date"] for one in found), max(one["date"] for one in found)
    assert {f"{one['processor']}, {first} and {last[-2:]}" in README for one in found} == {True}
    for name in benchmark.CONTESTANTS:
        cells = [name]
        for one in kept_results:
            ours = [one[model]["as shipped"] for model in ("cvae", "mmd")]
            theirs = [one[model].get(name) for model in ("cvae", "mmd")]
            if theirs == ours:
                pair = [f"{1000 * np.median(own):.1f}" for own in ours]
            else:
                ratios = [
                    t and np.median(np.divide(t, own)) for t, own in zip(theirs, ours, strict=True)
                ]
                pair = [f"{ratio:.2f}" if ratio else "-" for ratio in ratios]
            cells.append("/".join(pair))
        assert f"| {' | '.join(cells)} |\n" in README


def test_the_readme_has_the_kept_times_of_sizes():
    ratios = {}  # of `fit`
    for one in kept("sizes")["sizes"]:
        theirs, ours = one["seconds"][benchmark.FIT], one["seconds"]["as shipped"]
        ratios[*one["image_shape"], one["batch_size"]] = np.median(np.divide(theirs, ours))
    for shape in benchmark.SIZES:
        found = [ratios.get((*shape, n)) for n in benchmark.BATCH_SIZES]
        cells = ["-" if ratio is None else f"{ratio:.2f}" for ratio in found]
        assert f"| {'x'.join(map(str, shape))} | {' | '.join(cells)} |\n" in README


def test_the_readme_has_the_kept_times_with_more_filters():
    found = [kept(f"{size}_32_64_128")["cvae"] for size in ("32x32x3", "64x64x3")]
    a, b = (f"{1000 * np.median(one['as shipped']):.1f}" for one in found)
    assert f"takes {a} ms per step for 32x32x3 and {b} ms for 64x64x3" in README
    a, b = (
        min(np.median(np.divide(t, one["as shipped"])) for n, t in one.items() if "PyTorch" in n)
        for one in found
    )
    assert f"PyTorch's best\ntakes {a:.2f} and {b:.2f} times as long" in README


def test_the_readmes_have_the_kept_times_of_whole_runs():
    runs = kept("whole")["whole"]
    eager, mmd = (runs[script]["seconds"] / 60 for script in ("eager_cvae", "mmd_cvae"))
    assert f"50 epochs take {eager:.1f} minutes (`mmd_cvae.py`: {mmd:.1f})" in README
    top = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"the training takes about {eager:.0f} minutes" in top


def test_the_guide_has_the_kept_times_of_epochs():
    guide = (ROOT / "common" / "data" / "README.md").read_text(encoding="utf-8")
    sizes = [one for one in kept("sizes")["sizes"] if one["batch_size"] == 100]
    sizes = {"x".join(map(str, one["image_shape"])): one["seconds"] for one in sizes}
    for size in ("28x28x1", "32x32x3", "64x64x3", "128x128x3", "256x256x3"):
        cells = []
        for name in (size, f"{size}_32_64_128"):
            if (BENCHMARKS / "results" / f"{name}.json").exists():
                found = kept(name)["cvae"]
            else:
                found = sizes[size] if name == size else {}
            times = found.get("as shipped")
            cells.append(f"{600 * np.median(times):,.0f}" if times else "-")
        assert f"| {size} | {' | '.join(cells)} |\n" in guide


def test_the_readme_has_the_kept_times_of_commands():
    found = kept("28x28x1")["commands"]
    start = np.median(found["start"]["eager_cvae, fashion_mnist"]) - np.median(found["import"])
    memory = found["epoch"]["eager_cvae"]["megabytes"] / 1000
    for text in (f"{start:.1f} seconds", f"{memory:.1f} GB"):
        assert text in README, text
