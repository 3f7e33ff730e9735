"""Respond to the signals SIGINT (Ctrl-C) and SIGTERM.

Signal handlers raise no exceptions, because an exception could interrupt any code, even C++ code.
Before TensorFlow is loaded, a signal ends the program at once. In a `signals_wait` block, a signal
waits until the program asks for it with `arrived`, or until the block ends.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading

from common.program.flags import program_name, this_command


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM has arrived. The exception's argument is the number of the signal."""


stderr = 2  # Messages are written to this file descriptor, which startup.py sets
_arrived = []  # numbers of signals
_outer = {}  # handlers set by others


def in_program():
    """Return True in a program, and False in a notebook or a test that calls `main`."""
    return bool(_outer)


def begin_program():
    """Set signal handlers that end the program at once, except in `signals_wait` blocks."""
    for number, handler in _handle(_end_at_once).items():
        _outer.setdefault(number, handler)


def end_program():
    """Restore the signal handlers from before the program. Ignore signals while Python exits."""
    _restore(_outer)
    for number in _outer:
        atexit.register(signal.signal, number, signal.SIG_IGN)
    _outer.clear()


def arrived():
    """Return the number of the signal that has arrived in this `signals_wait` block, or else 0."""
    return _arrived[0] if _arrived else 0


@contextlib.contextmanager
def signals_wait(last=False):
    """Delay signals in a `with` block, and raise Interrupted at its end if a signal has arrived.

    With `last`, signals after the block are ignored, because the program has no more work to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows signal handlers only in the main thread
        return
    before = _handle(lambda number, _: _arrived.append(number))
    try:
        yield
    finally:
        _restore(dict.fromkeys(before, signal.SIG_IGN) if last and _outer else before)
        waiting = _arrived[:1]
        del _arrived[:]
    if waiting:
        raise Interrupted(*waiting)


def _handle(handler):
    """Set the same handler for both signals, and return the previous handlers.

    A signal that was ignored before is still ignored.
    """
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    former = {n: h for n, h in former.items() if h not in (None, signal.SIG_IGN)}
    _restore(dict.fromkeys(former, handler))
    return former


def _restore(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_at_once(number, _):
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    message = f"{program_name()}: Stopped. To run it again:\n{this_command()}\n"
    with contextlib.suppress(OSError):
        os.write(stderr, message.encode(errors="backslashreplace"))
    os._exit(128 + number)
