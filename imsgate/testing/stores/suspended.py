"""What the checks of suspended attempts share: other processes, and writing to them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imsgate import errors
from imsgate.stores.base import Resumable, ResumableSink, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks
from imsgate.testing.stores.data import MIB, assert_same, body, content, pieces

_CHUNK_BYTES = 300_000


def _write_and_suspend(sink: ResumableSink) -> None:
    sink.write(body(MIB, "late"))  # a driver may collect this much before it notices
    sink.suspend()


#: What a sink that has ended or was overtaken may still try.
LATE: dict[str, Callable[[ResumableSink], Any]] = {
    "write": _write_and_suspend,
    "suspend": lambda sink: sink.suspend(),
    "commit": lambda sink: sink.commit(),
}


class SuspendedAttempts(StoreChecks):
    """Attempts that other processes take over."""

    @contextlib.contextmanager
    def elsewhere(self, store: Store) -> Iterator[Any]:
        """The store in another process."""
        made = self.again(store)
        try:
            yield made
        finally:
            if made is not store and hasattr(made, "close"):
                made.close()

    def finish(self, store: Any, key: str, data: bytes, epoch: int) -> None:
        """Take the attempt over, check what it has, write the rest and read everything."""
        self.finish_at(store, key, data, store.durable(key, None, epoch), epoch)

    def finish_at(self, store: Any, key: str, data: bytes, offset: int, epoch: int) -> None:
        with store.resume(key, None, offset, epoch) as sink:
            write(sink, data[offset:])
            location = self.keep(store, sink.commit())
        assert_same(content(store, location), data, "the object must be what was written")


def need_resumable(store: Store) -> Any:
    """The store, if it is Resumable; skips the check if it is not."""
    if not isinstance(store, Resumable):
        pytest.skip("this driver's attempts cannot be suspended")
    return store


def write(sink: ResumableSink, data: bytes, chunk: int = _CHUNK_BYTES) -> None:
    for piece in pieces(data, chunk):
        sink.write(piece)


def assert_nothing_to_resume(store: Resumable, key: str, offset: int) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "durable": lambda: store.durable(key, None, 9),
        "resume": lambda: store.resume(key, None, offset, 9),
    }
    for name, call in calls.items():
        with pytest.raises(errors.ObjectNotFound):
            call()
            pytest.fail(f"{name} must raise ObjectNotFound if nothing is left of the attempt")


def assert_fails_and_keeps(
    sink: ResumableSink, data: bytes, least: int, failures: tuple[type[errors.Error], ...]
) -> None:
    """Write what the store cannot take, and suspend; ``least`` bytes were durable before."""
    names = " or ".join(failure.__name__ for failure in failures)
    with pytest.raises(failures):
        write(sink, data, 65_536)
        sink.commit()
        pytest.fail(f"write or commit must raise {names}")
    with pytest.raises(REPORTED):
        sink.commit()
        pytest.fail("commit must fail after a failed write; it succeeded")
    with contextlib.suppress(*REPORTED):
        kept = sink.suspend()
        assert kept >= least, f"suspend must return at least {least}, not {kept}"
