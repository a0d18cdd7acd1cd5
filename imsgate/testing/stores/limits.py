"""Ends what a driver does not end: calls that wait forever, in this thread or in others."""

import contextlib
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator

import pytest

_THREADS = "store-kit-"
_KIT = "imsgate/testing/"
#: Where Python's own modules are.
_LIBRARY = os.path.dirname(threading.__file__)


def _innermost(frame: types.FrameType | None) -> str:
    """Where a thread is: the innermost line outside of Python's own modules."""
    if frame is None:
        return "nowhere"
    lines = traceback.extract_stack(frame)
    ours = [line for line in lines if _KIT in line.filename.replace("\\", "/")]
    called = ours[-1] if ours else lines[-1]
    own = [line for line in lines if not line.filename.startswith(_LIBRARY)]
    at = own[-1] if own else lines[-1]
    return f"`{at.line}`, line {at.lineno} of {at.filename}; the check called `{called.line}`"


def _positions() -> list[str]:
    frames = sys._current_frames()
    threads = [each for each in threading.enumerate() if each.name.startswith(_THREADS)]
    return [_innermost(frames.get(thread.ident or 0)) for thread in threads]


class Alarm:
    """Fails the test if it has not ended ``seconds`` after the last ``start``.

    Only in the main thread, and only if nothing else uses SIGALRM.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        main = threading.current_thread() is threading.main_thread()
        free = main and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        self._works = free and seconds > 0

    def start(self) -> None:
        if self._works:
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    @contextlib.contextmanager
    def set(self) -> Iterator["Alarm"]:
        if not self._works:
            yield self
            return
        signal.signal(signal.SIGALRM, self._ring)
        self.start()
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _ring(self, number: int, frame: types.FrameType | None) -> None:
        waiting = _positions() or [_innermost(frame)]
        pytest.fail(
            f"no call of a store may wait forever; after {self.seconds:g} s, this one had not "
            f"returned: {waiting[0]}. Does it wait for a lock or a connection that another "
            "thread, reader or sink holds, or for a server without a timeout? (TIMEOUT sets the "
            "seconds.)"
        )


def together(count: int, work: Callable[[int], None], seconds: float, rule: str) -> None:
    """Run ``work`` in ``count`` threads. Fails with ``rule`` if one does not end in time."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    # Daemons, so that a thread that waits forever does not keep the process from ending.
    threads = [
        threading.Thread(target=run, args=(number,), name=f"{_THREADS}{number}", daemon=True)
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
        if thread.is_alive():
            break
    if failures:
        raise failures[0]
    stuck = _positions()
    if any(thread.is_alive() for thread in threads):
        pytest.fail(
            f"{rule}; after {seconds:g} s, {len(stuck)} of {count} threads had not ended. "
            f"One of them is at {stuck[0]}"
        )
