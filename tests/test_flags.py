"""The command-line flags: common/program/flags.py and common/objectives/flags.py."""

import contextlib
import io
import math
import os
import re
import shlex
import sys
from types import SimpleNamespace

import eager_cvae
import mmd_cvae
from common import animate
from common.compare import __main__ as compare
from common.data.sources import load_dataset
from common.explore import __main__ as explore
from common.objectives.flags import ORIGINAL_SEES, kernel_warning, milder
from common.program.errors import UserError
from common.program.flags import command_line, dashed, path, this_command

import psutil
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


URLS = ["gs://bucket/x", "S3://bucket", "hdfs:///x", "http://host/x?y=1", "file:///home", "a+b://c"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(("get_args", "argv"), [
    (eager_cvae.get_args, ["--output-dir"]), (mmd_cvae.get_args, ["--images"]),
    (mmd_cvae.get_args, ["--data-dir"]), (compare.get_args, []), (compare.get_args, ["--output"]),
    (explore.get_args, ["--output"]), (animate.get_args, []),
])  # fmt: skip
def test_a_url_is_refused_in_place_of_a_path(get_args, argv, url):
    with pytest.raises(UserError) as error:
        get_args([*argv, url])
    assert re.fullmatch(f".*{''.join(argv)}.*{re.escape(url)}.* URL.*", str(error.value))


@pytest.mark.parametrize("url", URLS)
def test_a_url_in_tfds_data_dir_is_refused(url, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", url)
    with pytest.raises(UserError, match=f"TFDS_DATA_DIR.*{re.escape(url)}.* URL"):
        load_dataset("mnist")


@pytest.mark.parametrize("text", [r"C:\data", "C:/data", "c:data", r"\\host\data", "a:b", "a/b:/c"])
def test_paths_with_colons_are_not_urls(text):
    assert path(text) == text


SPACES = r"C:\path with spaces\python.exe"
JANE = "C:\\Jane\u2019s\\python.exe"


@pytest.mark.parametrize(("shells", "words", "expected"), [
    (["powershell.exe", "cmd.exe"], [SPACES, "x.py"], r"& 'C:\path with spaces\python.exe' x.py"),
    (["python.exe", "pwsh.exe"], [r"C:\p.exe", "--a=b c", "$x"], r"C:\p.exe '--a=b c' '$x'"),
    (["pwsh.exe"], [JANE, "it's"], "& 'C:\\Jane\u2019\u2019s\\python.exe' 'it''s'"),
    (["py.exe", "cmd.exe", "pwsh.exe"], [SPACES, "a b"], rf'"{SPACES}" "a b"'),
    (["bash.exe"], [SPACES, "x.py"], rf"'{SPACES}' x.py"),
    (["explorer.exe"], [SPACES, "x.py"], rf'"{SPACES}" x.py'),
    (psutil.AccessDenied(), [SPACES, "x.py"], rf'"{SPACES}" x.py'),
])  # fmt: skip
def test_commands_on_windows_fit_the_shell(shells, words, expected, monkeypatch):
    """Simulate Windows: the name of the system, and the processes that started this process."""

    def parents(_):
        if isinstance(shells, Exception):
            raise shells
        return [SimpleNamespace(name=lambda name=name: name) for name in shells]

    monkeypatch.setattr(psutil.Process, "parents", parents)
    monkeypatch.setattr(os, "name", "nt")
    found = command_line(words)
    monkeypatch.undo()
    assert found == expected


@pytest.mark.parametrize(("argv", "orig_argv", "expected"), [
    (["x.py", "--epochs", "2"], ["python", "-m", "ipykernel_launcher", "-f", "k.json"],
     "%run x.py --epochs 2 --dataset digits"),
    (["a b/x.py", "--fresh"], ["python", "ipython"], "%run 'a b/x.py' --dataset digits"),
    (["/a/x.py", "-h"], ["python", "ipython", "x.py", "--", "-h"],
     f"{sys.executable} ipython x.py -- -h --dataset digits"),
])  # fmt: skip
@pytest.mark.parametrize("ipython", [True, False])
def test_the_command_in_ipython_is_that_of_run(argv, orig_argv, expected, ipython, monkeypatch):
    """Simulate IPython: its module, which tells whether IPython runs in this process."""
    shell = SimpleNamespace(get_ipython=lambda: object() if ipython else None)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    found = this_command("--dataset", "digits", without="--fresh")
    plain = shlex.join([sys.executable, *orig_argv[1:], "--dataset", "digits"])
    assert found == (expected if ipython else plain)
