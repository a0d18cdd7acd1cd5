"""The body of a request on its way to upstream."""

import hashlib
from collections.abc import Iterator

from imsgate import errors
from imsgate.http.body import Tapped

#: Bytes read from the client at a time. As early as that, a bad image is refused and a response
#: of upstream is seen.
_READ_BYTES = 1 << 16


class OutgoingImage:
    """Image data of ``length`` bytes, or of unknown length if that is None."""

    def __init__(self, body: Tapped, length: int | None, *, with_md5: bool) -> None:
        self._body = body
        self.length = length
        #: Bytes that have been returned for sending.
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None

    @property
    def checksum(self) -> str | None:
        """The MD5 of what has been returned."""
        return self._md5.hexdigest() if self._md5 else None

    def __iter__(self) -> Iterator[bytes]:
        """The data in pieces, each only once there is another one behind it, or the body has ended
        and every tap has accepted it.

        So upstream never has all of an image that is refused, also if it knows the length and does
        not wait for an end. Raises what reading raises, and SizeMismatch.
        """
        received, held_back = 0, b""
        while chunk := self._body.read(_READ_BYTES):
            received += len(chunk)
            if self.length is not None and received > self.length:
                raise errors.SizeMismatch(announced=self.length, received=received)
            if held_back:
                yield self._counted(held_back)
            held_back = chunk
        if self.length is not None and received < self.length:
            raise errors.SizeMismatch(announced=self.length, received=received)
        if held_back:
            yield self._counted(held_back)

    def _counted(self, chunk: bytes) -> bytes:
        self.size += len(chunk)
        if self._md5:
            self._md5.update(chunk)
        return chunk
