"""The body of a request on its way to upstream."""

import time
from collections.abc import Iterator

from imsgate import errors
from imsgate.forward.fingerprint import Fingerprint
from imsgate.http.body import Tapped

#: Bytes that are read from the client at a time. Between two reads, a bad image is refused and a
#: response of upstream is seen, so a slow client's reads stay short.
_SHORTEST_READ = 1 << 16
_LONGEST_READ = 1 << 19
#: Seconds that the client of longer reads may take for one.
_FAST = 0.1


class OutgoingImage:
    """Image data of ``length`` bytes, or of unknown length if that is None."""

    def __init__(
        self, body: Tapped, length: int | None, fingerprint: Fingerprint | None = None
    ) -> None:
        """``fingerprint`` gets everything that is returned for sending."""
        self._body = body
        self.length = length
        #: Bytes that have been returned for sending.
        self.size = 0
        self._step = _SHORTEST_READ
        self.fingerprint = fingerprint

    def __iter__(self) -> Iterator[bytes]:
        """The data in pieces, each only once there is another one behind it, or the body has ended
        and every tap has accepted it.

        So upstream never has all of an image that is refused, also if it knows the length and does
        not wait for an end. Raises what reading raises, and SizeMismatch.
        """
        received, held_back = 0, b""
        while chunk := self._read():
            received += len(chunk)
            if self.length is not None and received > self.length:
                raise errors.SizeMismatch(announced=self.length, received=received)
            if held_back:
                yield from self._sent(held_back)
            held_back = chunk
        if self.length is not None and received < self.length:
            raise errors.SizeMismatch(announced=self.length, received=received)
        if held_back:
            yield from self._sent(held_back)

    def _read(self) -> bytes:
        began = time.monotonic()
        chunk = self._body.read(self._step)
        is_fast = time.monotonic() - began < _FAST
        self._step = min(2 * self._step, _LONGEST_READ) if is_fast else _SHORTEST_READ
        return chunk

    def _sent(self, chunk: bytes) -> Iterator[bytes]:
        self.size += len(chunk)
        yield chunk
        # Meanwhile, upstream receives it.
        if self.fingerprint is not None:
            self.fingerprint.feed(chunk)
