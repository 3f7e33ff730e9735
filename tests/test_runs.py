"""What several runs are called."""

from types import SimpleNamespace

import eager_cvae
import mmd_cvae
from common.runs import titles


def run(script, *flags):
    flags, model = vars(script.get_args(flags)), "cvae" if script is eager_cvae else "mmd"
    return SimpleNamespace(model=model, title="MNIST", flags=flags, settings={"dataset": {}})


def test_titles_say_what_differs_and_0_is_a_value():
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
