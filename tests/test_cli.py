"""common/cli.py: flags, signals, errors in a line, and starts in odd surroundings."""

import contextlib
import errno
import io
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from unittest.mock import Mock

import eager_cvae
import mmd_cvae
from common import cli
from common.objectives.flags import ORIGINAL_SEES, kernel_note, milder
from common.program.errors import UserError
from common.program.flags import make_parser
from common.program.signals import Interrupted, arrived, signals_wait
from common.training.run import DivergedError

import matplotlib
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import ROOT, SIGNALS, call, environment

SCRIPT = ROOT / "mmd_cvae.py"

# Flags ------------------------------------------------------------------------

NAMES = [*make_parser("", "")._option_string_actions, "--beta", "--hel", ""]
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
def test_any_command_line(pairs):
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
        assert args.dataset is None or re.fullmatch(r"[\w./-]+", args.dataset, re.ASCII)
        assert args.dataset is None or args.images is None
        assert args.dtype in GOOD[3:]
        for folder in (args.output_dir, args.data_dir or "x", args.images or "x"):
            assert folder.encode().strip()
            assert not folder.startswith("~/")
    elif error:
        assert re.fullmatch(r".+ \(--help explains the flags\)", error)
    else:
        assert {"--help", "-h"} & set(argv)
        assert "--epochs" in output.getvalue()
    assert bool(output.getvalue()) == (status == 0)


HINTS = {
    "--epoch 3": "unknown: --epoch; did you mean --epochs?",
    "--lr 1e-3": "unknown: --lr; did you mean --learning-rate?",
    "--bs=10": "unknown: --bs; did you mean --batch-size?",
    "--beta=4": "--beta is a flag of eager_cvae.py",
    "--alpha=0": "--alpha is a flag of eager_cvae.py",
    "digits": "unknown: digits (",
    "--output-dir a\udcff": "no UTF-8",
    "--output-dir ''": "'' is not a path",
    "--epochs 2.5": "'2.5' is not a whole number from 1 to 1000000",
}


@pytest.mark.parametrize("argv", HINTS)
def test_a_wrong_flag_is_answered_with_a_hint(argv):
    with pytest.raises(UserError, match=re.escape(HINTS[argv])):
        mmd_cvae.get_args(shlex.split(argv))


CONTRADICTIONS = {
    "--alpha 0": "give both",
    "--lambda 1": "give both",
    "--kernel imq --beta 1": "--kernel is of the MMD",
    "--kernel cubic": "neither original nor imq",
    "--beta 1 --alpha 0 --lambda 1": "--beta contradicts --alpha and --lambda",
    "--alpha 0.5 --lambda 0.4": "add up to less than 1",
    "--alpha 1.5 --lambda 1": "more than 1",
    "--beta 1 --lambda 1": "give both",
    "--beta 0 --vamp-prior 5": "nothing that would train --vamp-prior's",
    "--alpha 1 --lambda 0 --vamp-prior 5": "nothing that would train --vamp-prior's",
    "--alpha -1e3 --lambda 1001 --kernel imq": "--alpha -1000 and --lambda 1001 leave out",
}


@pytest.mark.parametrize("argv", CONTRADICTIONS)
def test_flags_that_contradict_one_another(argv):
    with pytest.raises(UserError, match=CONTRADICTIONS[argv]):
        eager_cvae.get_args(argv.split())
    assert eager_cvae.get_args(["--alpha", "0", "--lambda", "1"]).beta is None


def test_a_weight_of_1_and_the_original_kernel_are_the_defaults():
    given = mmd_cvae.get_args(["--lambda", "1", "--kernel", "original"])
    assert vars(given) == vars(mmd_cvae.get_args([]))
    with pytest.raises(UserError, match="--lambda 0 leaves out"):
        mmd_cvae.get_args(["--lambda", "0", "--kernel", "imq"])


@pytest.mark.parametrize(("script", "flags", "advice"), [
    (eager_cvae, "--alpha=-100 --lambda 101", ["a larger --alpha than -100"]),
    (eager_cvae, "--alpha 0.5 --lambda 9", ["a smaller --lambda than 9"]),
    (eager_cvae, "--beta 4", ["a smaller --beta than 4"]),
    (mmd_cvae, "--lambda 1000", ["a smaller --lambda than 1000"]),
    (mmd_cvae, "", []),
])  # fmt: skip
def test_what_is_milder_can_be_given(script, flags, advice):
    rate = "a smaller --learning-rate than 0.0001"
    assert milder(script.get_args(flags.split())) == [*advice, rate]


# How a program ends -------------------------------------------------------------

MEND = "Mend that, or choose another place."
FULL = f"error: standard output: No space left on device. {MEND}\n"
MEMORY = "error: not enough memory.\nTry a smaller --batch-size."
READ = f"Nobody reads the output any more. To go on:\n{sys.executable} x.py --seed 1"
ENDS = [  # an exception, its note, the status, the message
    (UserError("so it is"), None, 2, "error: so it is"),
    (DivergedError("bad numbers"), None, 1, "error: bad numbers"),
    (Interrupted(signal.SIGINT), None, 130, "Stopped."),
    (Interrupted(signal.SIGTERM), "After epoch 3.", 143, "After epoch 3."),
    (OSError(errno.ENOSPC, "no room", "a/b"), "Go on so.", 2, "error: a/b: no room. Go on so."),
    (OSError("odd"), None, 2, f"error: standard output: odd. {MEND}"),
    (BrokenPipeError(), None, 1, READ),
    (MemoryError(), None, 2, MEMORY),
    (tf.errors.ResourceExhaustedError(None, None, ""), None, 2, MEMORY),
]


@pytest.mark.parametrize(("error", "note", "status", "message"), ENDS)
def test_what_can_be_mended_ends_in_words(error, note, status, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "x.py", "--fresh", "--seed", "1"])
    if note:
        error.add_note(note)
    assert call(Mock(side_effect=error)) == status
    assert capsys.readouterr() == ("", f"x.py: {message}\n")


@pytest.mark.parametrize("error", [UserError(""), ZeroDivisionError(), None])
@pytest.mark.parametrize("theirs", [signal.SIG_IGN, signal.default_int_handler, print])
def test_signal_handlers_are_as_they_were_afterwards(theirs, error):
    within = []

    def main(argv):
        within.extend(map(signal.getsignal, SIGNALS))
        if error:
            raise error

    for number in SIGNALS:
        signal.signal(number, theirs)
    fault = isinstance(error, ZeroDivisionError)  # the program's own, which is not hidden
    with pytest.raises(ZeroDivisionError) if fault else contextlib.nullcontext():
        call(main)
    assert [signal.getsignal(number) for number in SIGNALS] == [theirs] * 2
    assert (within == [signal.SIG_IGN] * 2) == (theirs == signal.SIG_IGN)  # as for `&` in a script


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("first", SIGNALS)
def test_signals_wait_until_they_are_asked_for_or_the_block_ends(first, polled, request):
    request.addfinalizer(lambda: signal.signal(signal.SIGALRM, signal.SIG_DFL))
    request.addfinalizer(lambda: signal.setitimer(signal.ITIMER_REAL, 0))
    before, reached = [signal.getsignal(number) for number in SIGNALS], []
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stop, signals_wait():  # noqa: PT012
        assert not arrived()
        os.kill(os.getpid(), first)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)  # a storm, TensorFlow's C++ in its midst
        reached.append(sum(int(i) for i in tf.range(200)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if polled:
            assert arrived() == first
            raise Interrupted(first)
        reached.append("end")
    assert reached == [19_900, "end"][: 2 - polled]
    assert stop.value.args == (first,)
    assert not arrived()  # it is told once
    assert [signal.getsignal(number) for number in SIGNALS] == before


# Odd starts ---------------------------------------------------------------------


def start(home, *argv, to="", fakes=None, stdout=subprocess.PIPE, **env):
    """Do `python mmd_cvae.py ARGV TO`, where TO is a shell's redirection, in a home and folder.

    Before that, it fakes packages: `fakes` is a dict of their code.
    """
    for name, code in (fakes or {}).items():
        (home / f"{name}.py").write_text(code)
    fonts = os.path.dirname(matplotlib.get_cachedir())  # to list them takes seconds
    env = environment(PYTHONPATH=str(home), HOME=str(home), XDG_CACHE_HOME=fonts, **env)
    command = ["sh", "-c", f'exec "$@" {to}', "sh", sys.executable, SCRIPT, *argv]
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True}
    return subprocess.run(command, **pipes, env=env, cwd=home, timeout=120, check=False)


QUICK = [  # flags, redirection, status, message
    ("--help", "", 0, ""),
    ("--help", ">/dev/full", 2, FULL),
    ("--help", "2>/dev/full", 0, ""),
    ("--help", ">&-", 0, ""),
    ("--help", "<&- >&- 2>&-", 0, ""),
    ("--nonsense", ">/dev/full", 2, "error: unknown: --nonsense ("),
    ("--nonsense", "2>/dev/full", 2, ""),
    ("--nonsense", "2>&-", 2, ""),
    ("--data-dir=a\udcff", "", 2, r"error: argument --data-dir: the bytes of 'a\udcff' are no"),
    ("--fresh=é", "", 2, r"error: argument --fresh: ignored explicit argument '\xe9' ("),
]
FULL_DEVICE = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
QUICK = [pytest.param(*one, marks=FULL_DEVICE if "full" in one[1] else ()) for one in QUICK]
EXIT = "import os; os._exit(77)"  # once it is imported


@pytest.mark.parametrize(("flag", "to", "status", "message"), QUICK)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_flags_are_answered_at_once(flag, to, status, message, unbuffered, tmp_path):
    env = {"MPLBACKEND": "nonsense", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "ascii"}
    env |= {"PYTHONOPTIMIZE": "2", "PYTHONUNBUFFERED": unbuffered}
    program = start(tmp_path, flag, to=to, fakes={"tensorflow": EXIT, "matplotlib": EXIT}, **env)
    assert program.returncode == status, program.stderr
    assert program.stderr.startswith(f"mmd_cvae.py: {message}" if message else "")
    assert program.stderr.count("\n") == bool(message)
    assert program.stdout.startswith("usage: mmd_cvae.py") == (status == 0 and ">&-" not in to)


def test_help_that_nobody_reads(tmp_path):
    read, write = os.pipe()
    os.close(read)
    program = start(tmp_path, "--help", stdout=write)
    os.close(write)
    assert program.returncode == 1
    assert re.fullmatch(r"mmd_cvae.py: Nobody reads .*\n.* --help\n", program.stderr)


WITHIN = """
import contextlib, io, runpy, signal, sys
before, sys.stdout = signal.getsignal(2), io.StringIO()  # which has no reconfigure
with contextlib.suppress(SystemExit):
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
assert "--epochs" in sys.stdout.getvalue()
assert signal.getsignal(2) is before
"""
IMPORT = """
import faulthandler, os, signal, sys, warnings
def state():
    ours = ("MPLBACKEND", "TF_NUM_INTRAOP_THREADS", "KERAS_HOME", "MATPLOTLIBRC")
    handlers = signal.getsignal(2), signal.getsignal(15), faulthandler.is_enabled()
    return handlers, [os.environ.get(name) for name in ours], sys.stdout.errors, sys.stderr.errors
before = state()
import eager_cvae
assert state() == before
assert ("ignore", None, Warning, None, 0) not in warnings.filters
"""


@pytest.mark.parametrize("code", [WITHIN, pytest.param(IMPORT, marks=pytest.mark.slow)])
def test_another_program_is_left_alone(code):
    command = [sys.executable, "-c", code, SCRIPT, "--help"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(MPLBACKEND="svg"), timeout=120)


STOPPED = "Stopped. Once more:\n"
STOPPED += f"{sys.executable} {SCRIPT} --output-dir 'a b'\n"
BROKEN = "print('!', file=sys.stderr)\nraise ImportError('Oh.\\nThere is no x.')"
ASK = "Is this the environment of `pip install -r requirements.txt`?\n"
IMPORTS = [  # a package, what happens while it is imported, the status, the message
    *(("tensorflow", f"os.kill(os.getpid(), {n:d})", SIGNALS[n], STOPPED) for n in SIGNALS),
    ("tensorflow", "os.abort()", -signal.SIGABRT, "Fatal Python error: Aborted\n"),
    *((p, BROKEN, 2, f"error: {p} cannot be imported: There is no x. {ASK}") for p in cli.PACKAGES),
]


@pytest.mark.parametrize(("name", "event", "status", "message"), IMPORTS)
def test_the_end_while_a_package_is_imported(name, event, status, message, tmp_path):
    fakes = dict.fromkeys(cli.PACKAGES, "")
    fakes[name] = f"import os, sys, time\n{event}\ntime.sleep(60)"
    program = start(tmp_path, "--output-dir", "a b", fakes=fakes)
    assert program.returncode == status
    if status < 0:
        assert program.stderr.startswith(message)  # Python's own
    else:
        assert program.stderr == f"mmd_cvae.py: {message}"


@pytest.mark.parametrize(("name", "value"), [
    ("TF_NUM_INTRAOP_THREADS", "-3"), ("TF_NUM_INTRAOP_THREADS", "two"),
    ("TF_NUM_INTEROP_THREADS", "9999"), ("LOKY_MAX_CPU_COUNT", "x"),
])  # fmt: skip
def test_numbers_of_threads_that_others_would_abort_at(name, value, tmp_path):
    program = start(tmp_path, fakes={"tensorflow": EXIT}, **{name: value})
    told = f"mmd_cvae.py: error: {name} is '{value}': set it to a number of threads"
    assert (program.returncode, program.stderr) == (2, f"{told}, or unset it.\n")


def test_no_number_of_threads_is_as_if_unset(tmp_path):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT")
    code = f"import os; os._exit(1 if {set(names)} & {{*os.environ}} else 77)"
    program = start(tmp_path, fakes={"tensorflow": code}, **dict.fromkeys(names, ""))
    assert program.returncode == 77, program.stderr


SHOW = "import os; print(os.environ.get('TF_NUM_INTRAOP_THREADS'), flush=True); os._exit(0)"


@pytest.mark.parametrize(("cores", "given", "threads"), [
    (4, {}, "1"), (5, {}, "None"), (4, {"TF_NUM_INTRAOP_THREADS": "3"}, "3"),
])  # fmt: skip
def test_one_thread_an_operation_on_up_to_four_cores(cores, given, threads, tmp_path):
    fakes = dict.fromkeys(cli.PACKAGES, "")
    fakes |= {"joblib": f"cpu_count = lambda: {cores}", "psutil": SHOW}  # imported after these
    assert start(tmp_path, fakes=fakes, **given).stdout == f"{threads}\n"


@pytest.mark.parametrize(("script", "flags", "told"), [
    (eager_cvae, "", False), (eager_cvae, "--beta 1", False),
    (eager_cvae, "--alpha 0 --lambda 1", False), (eager_cvae, "--alpha 0 --lambda 2", True),
    (eager_cvae, "--alpha 1 --lambda 2 --kernel imq", False),
    (mmd_cvae, "", True), (mmd_cvae, "--lambda 0", False), (mmd_cvae, "--kernel imq", False),
])  # fmt: skip
def test_where_the_originals_kernel_hardly_sees_a_spread_is_told(script, flags, told):
    for dim in (ORIGINAL_SEES, ORIGINAL_SEES + 1):
        note = kernel_note(script.get_args([*flags.split(), "--latent-dim", str(dim)]))
        assert bool(note) == (told and dim > ORIGINAL_SEES)


@pytest.mark.slow
@FULL_DEVICE
def test_odd_settings_files_and_streams_leave_a_run_as_it_is(tmp_path, short_epochs):
    flags = ("--dataset", "digits", "--epochs", "1", "--output-dir", str(tmp_path / "é"))
    assert call("mmd", *flags) == 0
    figures = {path: path.read_bytes() for path in tmp_path.rglob("*epoch_1.png")}
    assert len(figures) == 4
    for path in figures:
        path.unlink()
    (tmp_path / ".keras").mkdir()
    for name in ("matplotlibrc", ".keras/keras.json"):
        os.mkfifo(tmp_path / name)  # who reads of it waits for ever
    env = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONWARNINGS": "error"}
    program = start(tmp_path, *flags, to="<&- 2>/dev/full", PYTHONIOENCODING="ascii", **env)
    assert program.returncode == 0
    assert "Nothing left to train: 1 epochs" in program.stdout
    assert f"in {tmp_path}/\\xe9/digits/mmd" in program.stdout
    assert {path: path.read_bytes() for path in figures} == figures
    program = start(tmp_path, *flags, to=">/dev/full", MPLBACKEND="odd")
    assert (program.returncode, program.stderr) == (2, f"mmd_cvae.py: {FULL}")
