"""The default runs, and the titles of several runs."""

from pathlib import Path
from types import SimpleNamespace

import eager_cvae
import mmd_cvae
from common.runs import find_runs, tell_apart, titles


def run(script, *flags):
    flags, model = vars(script.get_args(flags)), "cvae" if script is eager_cvae else "mmd"
    epochs = flags["epochs"]
    return SimpleNamespace(model=model, title="MNIST", flags=flags, epochs=epochs, settings={})


def test_titles_contain_what_differs_and_0_is_a_value():
    runs = [
        run(eager_cvae, "--alpha", "0", "--lambda", "1000"),
        run(eager_cvae, "--alpha", "1", "--lambda", "784", "--seed", "2"),
        run(mmd_cvae, "--cross-entropy"),
    ]
    assert titles(runs, {"replicas", "output_dir"}) == [
        "CVAE, seed 0, alpha 0, lambda 1000",
        "CVAE, seed 2, alpha 1, lambda 784",
        "MMD-VAE, seed 0, cross-entropy",
    ]
    assert titles(runs[:1], set()) == ["CVAE"]
    runs[1].epochs = 30  # a run that is being extended has models of an earlier epoch
    found = titles(runs[:2], {"seed", "alpha", "lambda"})
    assert found == ["CVAE, epochs 50", "CVAE, epochs 30"]


def test_data_sets_with_the_same_title_get_different_titles():
    found = [("a", 28, "1"), ("a", 28, "1"), ("a", 32, "2"), ("a", 28, "3"), ("b", 32, "4")]
    runs = []
    for title, side, number in found:
        dataset = {"name": title, "image_shape": [side] * 2, "fingerprint": number}
        runs.append(SimpleNamespace(title=title, settings={"dataset": dataset}))
    tell_apart(runs)
    expected = ["a 28 x 28 (1)", "a 28 x 28 (1)", "a 32 x 32", "a 28 x 28 (3)", "b"]
    assert [run.title for run in runs] == expected
    tell_apart(runs[:1])
    assert runs[0].title == "a 28 x 28 (1)"


def test_by_default_the_existing_runs_on_one_data_set_are_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = [Path("outputs", "fashion_mnist", model) for model in ("cvae", "mmd")]
    assert find_runs([]) == both  # An error message names the first one
    other = Path("outputs", "mnist", "mmd")
    for run, expected in ((other, [other]), (both[0], both[:1]), (both[1], both)):
        run.mkdir(parents=True)
        (run / "settings.json").touch()
        assert find_runs([]) == expected
