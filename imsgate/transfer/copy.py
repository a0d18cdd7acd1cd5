"""The loop that moves image data: from a tapped body into a sink and its digests.

Request bodies, imports, copies between stores, exports and checks of objects in place all pass
through :func:`copy`. Quotas, inspection, signatures and progress watch the body as its taps.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from imsgate import errors, hashing, metrics
from imsgate.http.body import Tapped
from imsgate.model import Location
from imsgate.stores.base import Sink, Store
from imsgate.transfer.digests import BEST_CHUNK_BYTES, Digests

#: The first read is small, so that a bad image is refused by its first bytes. Reads of a slow
#: client stay this small, because whatever may end an upload is checked between two reads.
FIRST_READ_BYTES = 1 << 16
#: The next read is twice as large after a read that took less than the first of these, and half
#: as large after one that took more than the second.
QUICK_READ_SECONDS, SLOW_READ_SECONDS = 1.0, 4.0


def copy(body: Tapped, sink: Sink | None, digests: Digests, check: Callable[[], object]) -> int:
    """Move a body into a sink and its digests; return the number of bytes.

    Without a sink the body is only read. ``check`` is called before each read and after the last
    one, and may raise to stop. Raises whatever reading and storing raise.
    """
    count, size = 0, FIRST_READ_BYTES
    check()
    with _Phases() as phases:
        while chunk := phases.read(body, size):
            size = _next_size(size, phases.last)
            digests.feed(chunk)
            if sink is not None:
                phases.write(sink, chunk)
            count += len(chunk)
            del chunk  # free its memory before the next chunk is received
            check()
    return count


class _Phases:
    """The seconds that a copy waits for its source and for its sink, counted at its end."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._receive = self._write = 0.0
        #: The seconds of the last read.
        self.last = 0.0

    def read(self, body: Tapped, size: int) -> bytes:
        began = time.monotonic()
        chunk = body.read(size)
        self.last = time.monotonic() - began
        self._receive += self.last
        if self._first is None:
            self._first = self.last
        return chunk

    def write(self, sink: Sink, chunk: bytes) -> None:
        began = time.monotonic()
        sink.write(chunk)
        self._write += time.monotonic() - began

    def __enter__(self) -> "_Phases":
        return self

    def __exit__(self, *_: object) -> None:
        if self._first is not None:
            metrics.PHASE_SECONDS.observe("first_byte", seconds=self._first)
            metrics.PHASE_SECONDS.observe("receive", seconds=self._receive)
            metrics.PHASE_SECONDS.observe("write", seconds=self._write)


def _next_size(size: int, seconds: float) -> int:
    """Bytes to ask for after a read of ``size`` bytes that took ``seconds``."""
    if seconds < QUICK_READ_SECONDS:
        return min(2 * size, BEST_CHUNK_BYTES)
    return max(size // 2, FIRST_READ_BYTES) if seconds > SLOW_READ_SECONDS else size


def write(
    store: Store,
    sink: Sink,
    body: Tapped,
    *,
    size: int | None,
    algorithms: hashing.RecordAlgorithms,
    check: Callable[[], object],
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Fill a sink of ``store`` and commit it; return the fields of a record that has the data.

    ``size`` is the announced number of bytes, or None if it is unknown. ``complete`` is called
    with size and digests after the last byte; it returns further fields, or raises to refuse
    the data. ``check`` may raise at any time to stop. Raises SizeMismatch, and whatever reading
    and storing raise; the store then holds nothing.
    """
    with sink:
        digests = Digests(algorithms.names())
        count = copy(body, sink, digests, check)
        if size is not None and count != size:
            raise errors.SizeMismatch(announced=size, received=count)
        fields = data_fields(count, digests, algorithms)
        fields.update(complete(fields))
        check()
        with metrics.PHASE_SECONDS.time("commit"):
            place = sink.commit()
        return {**fields, "locations": (Location(store.name, place),)}


def data_fields(
    size: int, digests: Digests, algorithms: hashing.RecordAlgorithms
) -> dict[str, Any]:
    """What a record with these algorithms says of ``size`` bytes with these digests."""
    values = digests.values()
    return {
        "size": size,
        "checksum": algorithms.checksum and values[algorithms.checksum],
        "os_hash_algo": algorithms.os_hash,
        "os_hash_value": algorithms.os_hash and values[algorithms.os_hash],
    }
