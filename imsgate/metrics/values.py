"""The numbers of all processes of a host, which survive the processes.

Each process has a file in one directory and counts in it by memory mapping, so that kill -9 loses
nothing. It holds a lock on the file for as long as it lives. Whoever starts or reports adds the
files of dead processes to the file ``ended`` and removes them: the number of files is bounded, and
counters never go back.

prometheus_client's own multiprocess mode keeps a file of each process that ever lived. This module
uses its file format, a private part; the versions it was verified with are in
tests/metrics/test_values.py.
"""

import atexit
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import secrets
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any

LOG = logging.getLogger(__name__)

#: The name of a metric and the values of its labels; of a histogram, then ``sum`` or ``le=BOUND``.
Key = tuple[str, ...]
#: What is added to the number with a key.
Change = tuple[Key, float]
Numbers = dict[Key, float]

#: Bytes of a process's file, allocated at once: to write into a mapped file on a full disk would
#: kill the process. It is enough for some 8000 numbers. Further ones are not counted.
FILE_BYTES = 1 << 20
#: What an entry of the file takes at most besides its name.
_ENTRY_BYTES = 32

_ENDED, _LOCK, _SUFFIX = "ended", "lock", ".db"
#: What reading a file raises that a power failure has damaged.
_DAMAGED = (RuntimeError, ValueError, struct.error, OSError)


def _mapped_file() -> Any:
    """The library's class. Only processes that count need the library."""
    from prometheus_client import mmap_dict  # noqa: PLC0415

    return mmap_dict.MmapedDict


class _Own:
    """The file of this process."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.adding = threading.Lock()
        self.is_closed = False
        self.places: dict[Key, int] = {}
        self._room = FILE_BYTES - _ENTRY_BYTES
        path = directory / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        with _locked(directory):  # so that nobody takes a file without a lock for a dead process's
            self._lock = open(path, "xb")  # noqa: SIM115 - as long as the process lives
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                os.posix_fallocate(self._lock.fileno(), 0, FILE_BYTES)
                self._file = _mapped_file()(str(path))
                # Its method write_value takes five times as long.
                self.numbers = memoryview(self._file._m).cast("d")
            except OSError:
                self._lock.close()
                path.unlink()
                raise

    def begin(self, key: Key) -> int:
        """Where a number is in the file; -1 if there is no room for it."""
        name = json.dumps(key)
        self._room -= len(name) + _ENTRY_BYTES
        place = -1
        if self._room >= 0:
            self._file.write_value(name, 0.0, 0.0)
            place = self._file._positions[name] // self.numbers.itemsize
        self.places[key] = place
        return place

    def close(self) -> None:
        """End counting. The numbers stay."""
        with self.adding:  # another thread may be counting
            self.is_closed = True
            self.leave()

    def leave(self) -> None:
        """Release file and lock, on the only thread."""
        self.numbers.release()
        self._lock.close()
        self._file.close()


_own: _Own | None = None
#: Where a forked process has to begin its own file before it counts.
_forked: pathlib.Path | None = None
_beginning = threading.Lock()


def begin(directory: str) -> None:
    """Count in this process from now on. Does nothing if it counts already. Raises OSError."""
    global _own, _forked
    with _beginning:
        if _own is None:
            path = pathlib.Path(directory)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            collect(directory)
            _own, _forked = _Own(path), None


def end() -> None:
    """Stop counting in this process."""
    global _own, _forked  # noqa: PLW0603
    if _own is not None:
        _own.close()
    _own = _forked = None


def add(*changes: Change) -> None:
    """Add each amount to the number with its key, if this process counts."""
    own = _own
    if own is not None:
        with own.adding:  # without further calls: a small request does this five times
            for key, amount in () if own.is_closed else changes:
                place = own.places.get(key) or own.begin(key)
                if place > 0:
                    own.numbers[place] += amount
    elif _forked is not None:
        _begin_after_fork(str(_forked))
        add(*changes)


def _begin_after_fork(directory: str) -> None:
    global _forked  # noqa: PLW0603
    try:
        begin(directory)
    except OSError as error:
        _forked = None
        LOG.error("This process counts nothing: %s", error)


def _after_fork() -> None:
    """A child leaves its parent's file alone, and gives up the parent's lock."""
    global _own, _forked, _beginning  # noqa: PLW0603
    _beginning = threading.Lock()  # another thread of the parent may have held it
    if _own is not None:
        _forked = _own.directory
        _own.leave()
        _own = None


os.register_at_fork(after_in_child=_after_fork)
# Otherwise an embedded interpreter (uWSGI) warns at its end that the files were not closed.
atexit.register(end)


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
    with open(directory / _LOCK, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def collect(directory: str) -> tuple[Numbers, Numbers, int]:
    """The numbers of the dead processes, those of the living ones, and the number of these.

    Raises OSError if the directory cannot be used.
    """
    path = pathlib.Path(directory)
    if not path.exists():  # no process has counted yet
        return {}, {}, 0
    with _locked(path):
        ended, absorbed = _read_ended(path)
        living: Numbers = {}
        count, dead = 0, []
        for file in path.glob(f"*{_SUFFIX}"):
            if _is_alive(file):
                count += 1
                _sum(living, _read(file))
            else:
                dead.append(file)
                if file.name not in absorbed:
                    _sum(ended, _read(file))
        if dead:
            _absorb(path, ended, dead)
    return ended, living, count


def _sum(total: Numbers, numbers: Iterable[tuple[Key, float]]) -> None:
    for key, number in numbers:
        total[key] = total.get(key, 0.0) + number


def _is_alive(path: pathlib.Path) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _read(path: pathlib.Path) -> list[tuple[Key, float]]:
    try:
        numbers = _mapped_file().read_all_values_from_file(str(path))
        return [(tuple(json.loads(name)), number) for name, number, *_ in numbers]
    except _DAMAGED as error:
        LOG.warning("The metrics in %s are lost: %s", path, error)
        return []


def _read_ended(directory: pathlib.Path) -> tuple[Numbers, list[str]]:
    """The sum over dead processes, and the files that are in it but may not be removed yet."""
    try:
        document: Any = json.loads((directory / _ENDED).read_text())
        return {tuple(key): number for key, number in document["sum"]}, document["of"]
    except FileNotFoundError:
        return {}, []
    except (ValueError, KeyError, TypeError) as error:
        LOG.warning("The metrics of ended processes are lost: %s", error)
        return {}, []


def _absorb(directory: pathlib.Path, ended: Numbers, dead: list[pathlib.Path]) -> None:
    """Write the sum and whose it is in one step: if this process dies, no file is added twice."""
    draft = directory / f"{_ENDED}.new"
    document = {"sum": list(ended.items()), "of": [file.name for file in dead]}
    try:
        draft.write_text(json.dumps(document))
        draft.replace(directory / _ENDED)
    except OSError as error:  # the disk is full: the next one may succeed
        LOG.warning("The files of ended processes stay in %s: %s", directory, error)
        return
    for file in dead:
        file.unlink()
