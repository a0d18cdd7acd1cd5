"""Ready-made hooks for a driver whose medium is a directory of this host.

They see the calls of ``os`` that the driver makes, not those of C libraries or other processes.
"""

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest


class _Syncs:
    """Calls ``before`` before each sync, and notes new directories whose name is not durable."""

    def __init__(self, before: Callable[[int | None], None]) -> None:
        self._before = before
        self._made: dict[tuple[int, int], str] = {}
        self.failed = False

    def sync(self, call: Callable[[Any], None], file: Any) -> None:
        status = os.fstat(file if isinstance(file, int) else file.fileno())
        try:
            self._before(None if stat.S_ISDIR(status.st_mode) else status.st_size)
        except BaseException:
            self.failed = True
            raise
        call(file)
        self._made.pop((status.st_dev, status.st_ino), None)

    def mkdir(self, call: Callable[..., None], path: Any, *args: Any, **options: Any) -> None:
        call(path, *args, **options)
        if "dir_fd" not in options:
            above = os.stat(os.path.dirname(os.path.abspath(os.fspath(path))))
            self._made[above.st_dev, above.st_ino] = os.fspath(path)

    def assert_directories(self) -> None:
        assert self.failed or not self._made, (
            "a directory is durable only if the one that contains it was synced after it was "
            f"made; after a power failure, these may be gone with all that is in them: "
            f"{[*self._made.values()]} (Sink.commit: visible, complete and durable)"
        )


@contextlib.contextmanager
def syncs(before: Callable[[int | None], None]) -> Iterator[None]:
    """For ``sync_fault``: call ``before`` before each ``os.fsync`` and ``os.fdatasync``.

    Its argument is the size of the file in bytes, or None for a directory. Fails at the end if
    a directory was made and the one that contains it was not synced.
    """
    seen = _Syncs(before)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, functools.partial(seen.sync, getattr(os, name)))
        patch.setattr(os, "mkdir", functools.partial(seen.mkdir, os.mkdir))
        yield
    seen.assert_directories()


@contextlib.contextmanager
def removals(before: Callable[[], None]) -> Iterator[None]:
    """For ``removals``: call ``before`` before each ``os.unlink`` and ``os.remove``."""

    def wrap(call: Callable[..., None]) -> Callable[..., None]:
        def remove(*args: Any, **options: Any) -> None:
            before()
            call(*args, **options)

        return remove

    with pytest.MonkeyPatch.context() as patch:
        for name in ("unlink", "remove"):
            patch.setattr(os, name, wrap(getattr(os, name)))
        yield


@contextlib.contextmanager
def others(directory: str | os.PathLike[str], names: Collection[str]) -> Iterator[None]:
    """For ``others``: files of these names are in ``directory``."""
    paths = [os.path.join(directory, name) for name in names]
    for path in paths:
        with open(path, "xb") as file:
            file.write(b"other")
    yield
    for path in paths:
        os.unlink(path)


def truncate(path: str | os.PathLike[str], size: int) -> None:
    """For ``truncate``: cut the object's file, also if it is read-only."""
    os.chmod(path, 0o600)
    os.truncate(path, size)
