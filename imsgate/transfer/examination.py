"""The digests and taps of a resumable upload, which examine its data over several requests.

The state of a digest or an inspection cannot be passed to another process. It stays in the memory
of the process that received the last request. If the next request reaches another process, or comes
too late, all data is read again at the end.
"""

import collections
import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imsgate import errors, hashing
from imsgate.http.body import Tap, Tapped
from imsgate.model import Image
from imsgate.transfer.copy import data_fields
from imsgate.transfer.digests import Digests

#: Uploads whose examinations a process keeps between two requests. One takes up to a few MiB.
KEPT = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The examination of one upload from its first byte on.

    ``content_fields`` is called after the last byte, and returns further fields of the record.
    """

    digests: Digests
    taps: Sequence[Tap]
    content_fields: Callable[[Image], Mapping[str, Any]]

    def watch(self, body: Tapped) -> None:
        """Examine what is read of ``body``, which is a part of the whole."""
        for tap in self.taps:
            body.join(tap)

    def fields(
        self,
        image: Image,
        size: int,
        algorithms: hashing.RecordAlgorithms,
        expected: Mapping[str, bytes],
    ) -> dict[str, Any]:
        """The fields of a record with the data, now that all of it has arrived.

        ``expected`` are digests that it must have, by algorithm. Raises DigestMismatch, and the
        refusal of a tap.
        """
        for tap in self.taps:
            tap.finish()
        check_digests(self.digests, expected)
        return {**data_fields(size, self.digests, algorithms), **self.content_fields(image)}


def check_digests(digests: Digests, expected: Mapping[str, bytes]) -> None:
    """Raises DigestMismatch."""
    values = digests.values()
    for algorithm, value in expected.items():
        if values[algorithm] != value.hex():
            raise errors.DigestMismatch(
                algorithm=algorithm, found=values[algorithm], expected=value.hex()
            )


class Examinations:
    """The examinations of the uploads that this process received last."""

    def __init__(self, limit: int = KEPT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[str, tuple[int, int, Examination]] = (
            collections.OrderedDict()
        )

    def keep(self, upload_id: str, epoch: int, offset: int, examination: Examination) -> None:
        """Keep the examination of the first ``offset`` bytes, as the request with this epoch left
        it."""
        with self._lock:
            self._kept[upload_id] = epoch, offset, examination
            self._kept.move_to_end(upload_id)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    def take(self, upload_id: str, epoch: int, offset: int) -> Examination | None:
        """Remove and return the examination that was kept with this epoch and offset, or None.

        With another epoch, another process has received data that this one has not seen.
        """
        with self._lock:
            kept = self._kept.pop(upload_id, None)
        return kept[2] if kept and kept[:2] == (epoch, offset) else None
