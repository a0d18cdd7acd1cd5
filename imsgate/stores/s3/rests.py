"""The rests of suspended attempts: bytes that are too few for a part, kept in objects of their own.

A rest is called ``KEY.rest-EPOCH-START``: it was kept by the sink of that epoch and begins at that
offset of the image. A *mark*, ``KEY.rest-EPOCH``, is empty: it tells sinks of lower epochs that
they were overtaken. So one listing shows the whole state.

An attempt is fenced by the order of requests. A process that takes it over first makes its mark and
then lists the rests. A sink that suspends first stores its rest and then looks for marks. So either
the sink sees the mark, or the process sees the rest.
"""

import dataclasses
import re
import threading
from collections.abc import Iterator
from typing import Self

from imsgate import errors
from imsgate.stores.s3.bucket import Bucket, StoredObject
from imsgate.stores.s3.reader import RangeReader

_NAME = re.compile(r"(.+)\.rest-([0-9]{1,19})(?:-([0-9]{1,19}))?", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Rest:
    """One rest, or a mark if ``start`` is None. ``age`` is in seconds by the service's clock."""

    attempt: str
    epoch: int
    start: int | None
    size: int = 0
    age: float = 0.0

    @classmethod
    def of(cls, found: StoredObject) -> Self | None:
        """The rest that an object is, or None if it is something else."""
        match = _NAME.fullmatch(found.key)
        if match is None:
            return None
        attempt, epoch, start = match.groups()
        return cls(
            attempt, int(epoch), None if start is None else int(start), found.size, found.age
        )

    @property
    def key(self) -> str:
        """The key of the object."""
        name = f"{self.attempt}.rest-{self.epoch}"
        return name if self.start is None else f"{name}-{self.start}"


def is_rest(key: str) -> bool:
    """Whether this is the key of a rest."""
    return _NAME.fullmatch(key) is not None


class Rests:
    """The rests in one bucket. Requests raise what those of ``Bucket`` raise."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def of(self, attempt: str) -> list[Rest]:
        """All rests and marks of an attempt, the newest first."""
        found = map(Rest.of, self._bucket.objects(f"{attempt}.rest-"))
        rests = (rest for rest in found if rest is not None and rest.attempt == attempt)
        return sorted(rests, key=lambda rest: rest.epoch, reverse=True)

    def all(self) -> Iterator[Rest]:
        """All rests and marks in the bucket."""
        found = map(Rest.of, self._bucket.objects())
        return (rest for rest in found if rest is not None)

    def check(self, attempt: str, epoch: int) -> list[Rest]:
        """Like ``of``. Raises Fenced if a newer epoch has taken the attempt over."""
        rests = self.of(attempt)
        if rests and rests[0].epoch > epoch:
            problem = "a newer request has taken this upload over"
            raise errors.Fenced(store=self._bucket.store, problem=problem)
        return rests

    def take_over(self, attempt: str, epoch: int) -> list[Rest]:
        """Fence off all lower epochs. Returns all rests. Raises Fenced."""
        self.put(Rest(attempt, epoch, None), b"", threading.Event())
        return self.check(attempt, epoch)

    def put(self, rest: Rest, data: bytes | bytearray, stop: threading.Event) -> None:
        """Store a rest; ``stop`` cuts the request off."""
        self._bucket.replace(rest.key, data, stop)

    def read(self, rest: Rest, count: int) -> bytes:
        """The first ``count`` bytes of a rest."""
        return b"".join(RangeReader(self._bucket, rest.key, 0, count, 1))

    def delete(self, rests: list[Rest]) -> None:
        """Remove these rests and marks."""
        for rest in rests:
            self._bucket.delete(rest.key)
