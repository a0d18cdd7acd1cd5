"""One request of a resumable upload: what it says, the taps on its content, and its result."""

import dataclasses
from collections.abc import Callable, Mapping

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.model import Image, Upload
from imsgate.transfer.digests import Digests
from imsgate.transfer.examination import Examination


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a request says about its content, and how the complete upload is examined.

    ``complete`` is whether the content ends the upload; None if it does so when the length is
    reached. ``length`` is that of the whole, if the request names one. ``content_digests`` are
    those that ``content`` must have, by algorithm: the content as the client sent it, compressed
    or not. ``examine`` begins the examination of the whole; it is called with the algorithms of
    its digests when the first byte is due.
    ``reauthorize`` is called before the upload is completed, and raises if the request would be
    refused now.
    """

    offset: int
    complete: bool | None
    length: int | None
    content_digests: Mapping[str, bytes]
    content: Tapped
    examine: Callable[[Digests], Examination]
    reauthorize: Callable[[], object]

    def completes(self, total: int, length: int | None) -> bool:
        """Whether the upload is to be completed when ``total`` of ``length`` bytes are there."""
        return total == length if self.complete is None else self.complete


@dataclasses.dataclass(frozen=True, slots=True)
class Appended:
    """The result of a request. ``has_all`` is true if all data has arrived. ``image`` is the record
    if the upload is complete, or None if the data has yet to be verified."""

    upload: Upload
    has_all: bool
    image: Image | None


class LengthTap:
    """A tap that refuses content beyond the end of the upload, or beyond the largest image."""

    def __init__(self, offset: int, length: int | None, limit: int) -> None:
        self._position = offset
        self._length = length
        self._limit = limit

    def feed(self, chunk: bytes) -> None:
        self._position += len(chunk)
        if self._length is not None and self._position > self._length:
            raise errors.SizeMismatch(announced=self._length, received=self._position)
        if self._position > self._limit:
            raise errors.TooLarge(limit=self._limit)

    def finish(self) -> None:
        pass


class DigestTap:
    """A tap that computes digests of one request's content."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    def feed(self, chunk: bytes) -> None:
        self._digests.feed(chunk)

    def finish(self) -> None:
        pass
