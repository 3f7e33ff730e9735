"""How a program starts and ends: common/program/startup.py and common/program/signals.py."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

from common.program.errors import UserError
from common.program.signals import Interrupted, arrived, signals_wait
from common.program.startup import PACKAGES
from common.training.checks import DivergedError

import matplotlib
import pytest
import tensorflow as tf
from support import ROOT, SIGNALS, call, environment

SCRIPT = ROOT / "mmd_cvae.py"
ENDS = [  # an exception, its note, the exit status, what the message must name
    (UserError("--x is 1.\nUse 2."), None, 2, "--x is 1.\nUse 2."),
    (DivergedError("loss is NaN"), None, 1, "loss is NaN"),
    (Interrupted(signal.SIGINT), None, 130, "Stopped"),
    (Interrupted(signal.SIGTERM), "After epoch 3.", 143, "After epoch 3."),
    (OSError(errno.ENOSPC, "no room", "a/b"), "To resume: x", 2, "a/b: no room. To resume: x"),
    (OSError("odd"), None, 2, "standard output: odd"),
    (BrokenPipeError(), None, 1, f"\n{sys.executable} x.py --seed 1\n"),
    (MemoryError(), None, 2, "--batch-size"),
    (tf.errors.ResourceExhaustedError(None, None, ""), None, 2, "--batch-size"),
    (tf.errors.InternalError(None, None, "Collective ops is aborted"), None, 1, "workers"),
]


@pytest.mark.parametrize(("error", "note", "status", "named"), ENDS)
def test_errors_that_users_can_fix_give_a_message(error, note, status, named, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "x.py", "--fresh", "--seed", "1"])
    if note:
        error.add_note(note)
    assert call(Mock(side_effect=error)) == status
    out, message = capsys.readouterr()
    assert (out, message[:6]) == ("", "x.py: ")
    assert named in message


@pytest.mark.parametrize("error", [UserError(""), ZeroDivisionError(), None])
@pytest.mark.parametrize("theirs", [signal.SIG_IGN, signal.default_int_handler, print])
def test_signal_handlers_are_restored(theirs, error):
    within = []

    def main(argv):
        within.extend(map(signal.getsignal, SIGNALS))
        if error:
            raise error

    for number in SIGNALS:
        signal.signal(number, theirs)
    bug = isinstance(error, ZeroDivisionError)  # the traceback of a bug is shown
    with pytest.raises(ZeroDivisionError) if bug else contextlib.nullcontext():
        call(main)
    assert [signal.getsignal(number) for number in SIGNALS] == [theirs] * 2
    assert (within == [signal.SIG_IGN] * 2) == (theirs == signal.SIG_IGN)  # as in a script with `&`


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("first", SIGNALS)
def test_signals_wait_until_the_program_asks_or_the_block_ends(first, polled, request):
    request.addfinalizer(lambda: signal.signal(signal.SIGALRM, signal.SIG_DFL))
    request.addfinalizer(lambda: signal.setitimer(signal.ITIMER_REAL, 0))
    before, reached = [signal.getsignal(number) for number in SIGNALS], []
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stop, signals_wait():  # noqa: PT012
        assert not arrived()
        os.kill(os.getpid(), first)
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)  # also within C++
        reached.append(sum(int(i) for i in tf.range(200)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if polled:
            assert arrived() == first
            raise Interrupted(first)
        reached.append("end")
    assert reached == [19_900, "end"][: 2 - polled]
    assert stop.value.args == (first,)
    assert not arrived()  # each signal is reported once
    assert [signal.getsignal(number) for number in SIGNALS] == before


# Unusual environments ---------------------------------------------------------------------


def start(home, *argv, to="", fakes=None, stdout=subprocess.PIPE, **env):
    """Run `python mmd_cvae.py ARGV TO` in the folder `home`, and return the ended process.

    TO is a redirection of the shell, `fakes` a dict with the code of packages to replace.
    """
    for name, code in (fakes or {}).items():
        (home / f"{name}.py").write_text(code)
    fonts = os.path.dirname(matplotlib.get_cachedir())  # listing the fonts takes seconds
    env = environment(PYTHONPATH=str(home), HOME=str(home), XDG_CACHE_HOME=fonts, **env)
    command = ["sh", "-c", f'exec "$@" {to}', "sh", sys.executable, SCRIPT, *argv]
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True}
    return subprocess.run(command, **pipes, env=env, cwd=home, timeout=120, check=False)


QUICK = [  # flag, redirection, exit status, what the message must name
    ("--help", "", 0, ""),
    ("--help", ">/dev/full", 2, "standard output"),
    ("--help", "2>/dev/full", 0, ""),
    ("--help", ">&-", 0, ""),
    ("--help", "<&- >&- 2>&-", 0, ""),
    ("--nonsense", ">/dev/full", 2, "--nonsense"),
    ("--nonsense", "2>/dev/full", 2, ""),
    ("--nonsense", "2>&-", 2, ""),
    ("--data-dir=a\udcff", "", 2, "--data-dir"),
    ("--fresh=é", "", 2, "--fresh"),
]
FULL_DEVICE = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
QUICK = [pytest.param(*one, marks=FULL_DEVICE if "full" in one[1] else ()) for one in QUICK]
EXIT = "import os; os._exit(77)"  # a fake package that ends the program


@pytest.mark.parametrize(("flag", "to", "status", "named"), QUICK)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_and_errors_come_before_the_imports(flag, to, status, named, unbuffered, tmp_path):
    env = {"MPLBACKEND": "nonsense", "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "ascii"}
    env |= {"PYTHONOPTIMIZE": "2", "PYTHONUNBUFFERED": unbuffered}
    program = start(tmp_path, flag, to=to, fakes={"tensorflow": EXIT, "matplotlib": EXIT}, **env)
    assert program.returncode == status, program.stderr
    assert program.stderr.startswith("mmd_cvae.py: " if named else "")
    assert named in program.stderr
    assert program.stderr.count("\n") == bool(named)
    assert program.stdout.startswith("usage: mmd_cvae.py") == (status == 0 and ">&-" not in to)


def test_help_into_a_closed_pipe(tmp_path):
    read, write = os.pipe()
    os.close(read)
    program = start(tmp_path, "--help", stdout=write)
    os.close(write)
    assert program.returncode == 1
    assert program.stderr.endswith(" --help\n")


WITHIN = """
import contextlib, io, runpy, signal, sys
before, sys.stdout = signal.getsignal(2), io.StringIO()  # has no `reconfigure`
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
def test_a_program_that_runs_or_imports_a_script_keeps_its_state(code):
    command = [sys.executable, "-c", code, SCRIPT, "--help"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(MPLBACKEND="svg"), timeout=120)


COMMAND = f"{sys.executable} {SCRIPT} --output-dir 'a b'\n"
BROKEN = "raise ImportError('Oh.\\nThere is no x.')"
IMPORTS = [  # a package, its code, the exit status, what the output must name
    *(("tensorflow", f"os.kill(os.getpid(), {n:d})", SIGNALS[n], COMMAND) for n in SIGNALS),
    ("tensorflow", "os.abort()", -signal.SIGABRT, "Fatal Python error: Aborted\n"),
    *((name, BROKEN, 2, f"{name} cannot be imported: There is no x") for name in PACKAGES),
]


@pytest.mark.parametrize(("name", "event", "status", "named"), IMPORTS)
def test_signals_and_errors_while_packages_are_imported(name, event, status, named, tmp_path):
    fakes = dict.fromkeys(PACKAGES, "")
    fakes[name] = f"import os, time\n{event}\ntime.sleep(60)"
    program = start(tmp_path, "--output-dir", "a b", fakes=fakes)
    assert program.returncode == status
    assert named in program.stderr
    assert "Traceback" not in program.stderr


@pytest.mark.parametrize(("name", "value"), [
    ("TF_NUM_INTRAOP_THREADS", "-3"), ("TF_NUM_INTRAOP_THREADS", "two"),
    ("TF_NUM_INTEROP_THREADS", "9999"), ("LOKY_MAX_CPU_COUNT", "x"),
])  # fmt: skip
def test_invalid_numbers_of_threads_are_refused(name, value, tmp_path):
    program = start(tmp_path, fakes={"tensorflow": EXIT}, **{name: value})
    assert program.returncode == 2
    assert f"{name} is '{value}'" in program.stderr


THREADS = ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "LOKY_MAX_CPU_COUNT"]
SHOW = f"import os; print([os.environ.get(x) for x in {THREADS}], flush=True); os._exit(0)"


@pytest.mark.parametrize(("cores", "given", "expected"), [
    (4, {}, ["1", None, None]),
    (5, {}, [None, None, None]),
    (4, {THREADS[0]: "3"}, ["3", None, None]),
    (5, dict.fromkeys(THREADS, ""), [None, None, None]),
])  # fmt: skip
def test_operations_get_one_thread_on_up_to_four_cores(cores, given, expected, tmp_path):
    fakes = dict.fromkeys(PACKAGES, "")
    fakes |= {"joblib": f"cpu_count = lambda: {cores}", "numpy": SHOW}  # numpy is imported later
    assert start(tmp_path, fakes=fakes, **given).stdout == f"{expected}\n"


@pytest.mark.slow
@FULL_DEVICE
def test_settings_of_the_user_do_not_change_a_run(tmp_path, short_epochs):
    flags = ("--dataset", "digits", "--epochs", "1", "--output-dir", str(tmp_path / "é"))
    assert call("mmd", *flags) == 0
    figures = {path: path.read_bytes() for path in tmp_path.rglob("*epoch_1.png")}
    assert len(figures) == 4
    for path in figures:
        path.unlink()
    (tmp_path / ".keras").mkdir()
    for name in ("matplotlibrc", ".keras/keras.json"):
        os.mkfifo(tmp_path / name)  # reading it would block for ever
    env = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONWARNINGS": "error"}
    program = start(tmp_path, *flags, to="<&- 2>/dev/full", PYTHONIOENCODING="ascii", **env)
    assert program.returncode == 0
    assert f"{tmp_path}/\\xe9/digits/mmd" in program.stdout
    assert {path: path.read_bytes() for path in figures} == figures
    program = start(tmp_path, *flags, to=">/dev/full", MPLBACKEND="odd")
    assert program.returncode == 2
    assert "standard output" in program.stderr
