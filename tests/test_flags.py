"""The command-line flags: common/program/flags.py and common/objectives/flags.py."""

import contextlib
import io
import math
import re
import shlex

import eager_cvae
import mmd_cvae
from common.objectives.flags import ORIGINAL_SEES, kernel_warning, milder
from common.program.errors import UserError
from common.program.flags import dashed

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

NAMES = [f"--{dashed(name)}" for name in vars(eager_cvae.get_args([]))]
NAMES += ["-h", "--help", "--hel", "--cross-entropy", ""]
ODD = ["", " ", "nan", "inf", "1e400", "٣", "1_000", "0x10", "½", "../..", "~", "~?", "a\udcff"]
GOOD = ["digits", "mnist", "fashion_mnist", "float32", "float64"]
VALUES = st.one_of(
    st.integers().map(str), st.floats().map(str), st.sampled_from(ODD + GOOD), st.text(max_size=20)
)
PAIRS = st.tuples(st.sampled_from(NAMES), VALUES) | st.tuples(st.sampled_from(NAMES))
RANGES = {"epochs": 10**6, "plot_every": 10**6, "latent_dim": 1000, "batch_size": 10_000}


@settings(max_examples=500, deadline=None)
@given(st.lists(PAIRS, max_size=4))
@example([("", "a\nb")])
@example([("--output-dir", "a\udcff")])
@example([("--plot-every", "1000000"), ("--epochs", "1")])
@example([("--dataset", "0")])
@example([("--dataset", "emnist/letters:3.1.0")])
def test_any_command_line_gives_valid_flags_or_help_or_one_line(pairs):
    argv = [part for pair in pairs for part in pair]
    output, args, status, error = io.StringIO(), None, None, None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            args = eager_cvae.get_args(argv)
        except SystemExit as stop:
            status = stop.code
        except UserError as stop:
            error = str(stop)
    if args:
        assert all(1 <= getattr(args, name) <= most for name, most in RANGES.items())
        assert 0 <= args.seed < 2**32
        assert 0 < args.learning_rate < math.inf
        assert args.beta is None or 0 <= args.beta < math.inf
        assert args.dataset is None or re.fullmatch(r"[\w./:-]+", args.dataset, re.ASCII)
        assert args.dataset is None or args.images is None
        assert args.dtype in GOOD[3:]
        for folder in (args.output_dir, args.data_dir or "x", args.images or "x"):
            assert folder.encode().strip()
            assert not folder.startswith("~/")
    elif error is not None:
        assert re.fullmatch(".+", error)
    else:
        assert {"--help", "-h"} & set(argv)
        assert "--epochs" in output.getvalue()
    assert bool(output.getvalue()) == (status == 0)


INVALID = [  # script, command line, what the error message must name
    (mmd_cvae, "--epoch 3", "--epochs"),
    (mmd_cvae, "--lr 1e-3", "--learning-rate"),
    (mmd_cvae, "--bs=10", "--batch-size"),
    (mmd_cvae, "--beta=4", "--beta eager_cvae.py"),
    (mmd_cvae, "--alpha=0", "--alpha eager_cvae.py"),
    (eager_cvae, "--cross-entropy", "--cross-entropy mmd_cvae.py"),
    (mmd_cvae, "digits", "digits"),
    (mmd_cvae, "--output-dir a\udcff", "--output-dir UTF-8"),
    (mmd_cvae, "--output-dir ''", "--output-dir ''"),
    (mmd_cvae, "--epochs 2.5", "--epochs 2.5"),
    (mmd_cvae, "--lambda 0 --kernel imq", "--kernel --lambda"),
    (eager_cvae, "--alpha 0", "--alpha --lambda"),
    (eager_cvae, "--lambda 1", "--alpha --lambda"),
    (eager_cvae, "--beta 1 --lambda 1", "--alpha --lambda"),
    (eager_cvae, "--kernel imq --beta 1", "--kernel --alpha --lambda"),
    (eager_cvae, "--kernel cubic", "--kernel cubic imq"),
    (eager_cvae, "--beta 1 --alpha 0 --lambda 1", "--beta --alpha --lambda"),
    (eager_cvae, "--alpha 0.5 --lambda 0.4", "--alpha 0.5 --lambda 0.4"),
    (eager_cvae, "--alpha 1.5 --lambda 1", "--alpha 1.5"),
    (eager_cvae, "--beta 0 --vamp-prior 5", "--beta --vamp-prior"),
    (eager_cvae, "--alpha 1 --lambda 0 --vamp-prior 5", "--alpha --lambda --vamp-prior"),
    (eager_cvae, "--alpha -1e3 --lambda 1001 --kernel imq", "--alpha -1000 --lambda 1001 --kernel"),
]


@pytest.mark.parametrize(("script", "argv", "named"), INVALID)
def test_an_error_names_the_invalid_flags(script, argv, named):
    with pytest.raises(UserError) as error:
        script.get_args(shlex.split(argv))
    assert [word for word in named.split() if word not in str(error.value)] == []


def test_lambda_1_and_the_original_kernel_equal_the_defaults():
    given = mmd_cvae.get_args(["--lambda", "1", "--kernel", "original"])
    assert vars(given) == vars(mmd_cvae.get_args([]))


@pytest.mark.parametrize(("script", "flags", "advice"), [
    (eager_cvae, "--alpha=-100 --lambda 101", [("--alpha", "-100")]),
    (eager_cvae, "--alpha 0.5 --lambda 9", [("--lambda", "9")]),
    (eager_cvae, "--beta 4", [("--beta", "4")]),
    (mmd_cvae, "--lambda 1000", [("--lambda", "1000")]),
    (mmd_cvae, "", []),
])  # fmt: skip
def test_advice_after_divergence_names_the_large_weights_and_the_rate(script, flags, advice):
    found = re.findall(r"(--[a-z-]+) than ([-.\d]+)", milder(script.get_args(flags.split())))
    assert found == [*advice, ("--learning-rate", "0.0001")]


@pytest.mark.parametrize(("script", "flags", "warns"), [
    (eager_cvae, "", False), (eager_cvae, "--beta 1", False),
    (eager_cvae, "--alpha 0 --lambda 1", False), (eager_cvae, "--alpha 0 --lambda 2", True),
    (eager_cvae, "--alpha 1 --lambda 2 --kernel imq", False),
    (mmd_cvae, "", True), (mmd_cvae, "--lambda 0", False), (mmd_cvae, "--kernel imq", False),
])  # fmt: skip
def test_the_original_kernel_is_warned_about_in_many_dimensions(script, flags, warns):
    for dim in (ORIGINAL_SEES, ORIGINAL_SEES + 1):
        warning = kernel_warning(script.get_args([*flags.split(), "--latent-dim", str(dim)]))
        assert bool(warning) == (warns and dim > ORIGINAL_SEES)
