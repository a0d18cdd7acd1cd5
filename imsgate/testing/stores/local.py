"""Ready-made hooks for a driver whose medium is a directory of this host.

They see the calls of ``os`` that the driver makes, not those of C libraries or other processes.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def syncs(before: Callable[[int | None], None]) -> Iterator[None]:
    """For ``sync_fault``: call ``before`` before each ``os.fsync`` and ``os.fdatasync``.

    Its argument is the size of the file in bytes, or None for a directory.
    """

    def wrap(call: Callable[[Any], None]) -> Callable[[Any], None]:
        def sync(file: Any) -> None:
            status = os.fstat(file if isinstance(file, int) else file.fileno())
            before(None if stat.S_ISDIR(status.st_mode) else status.st_size)
            call(file)

        return sync

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, wrap(getattr(os, name)))
        yield


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


def truncate(path: str | os.PathLike[str], size: int) -> None:
    """For ``truncate``: cut the object's file, also if it is read-only."""
    os.chmod(path, 0o600)
    os.truncate(path, size)
