"""The body of one request of an upload: image bytes as they are, or compressed with zstd."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Compressed bytes of one chunk. Zeros give a few bytes per piece.
_CHUNK_BYTES = 1 << 16
#: Even incompressible data passes faster than 1 GB/s.
_LEVEL = 1


def zstd() -> Any | None:
    """The module of zstd; None if it is not installed."""
    for name in ("compression.zstd", "backports.zstd"):  # the first one since Python 3.14
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def largest(length: int) -> int:
    """The largest size of ``length`` bytes after compression: each block of 128 KiB that does not
    shrink has a header, and so has each flush."""
    return length + (length >> 10) + 1024


class PartBody:
    """The body of one request, which is read once.

    ``image_bytes`` and ``wire_bytes`` count what has been taken from it.
    """

    def __init__(
        self,
        pieces: Iterable[bytes | memoryview],
        *,
        limit: int | None = None,
        module: Any | None = None,
        report: Callable[["PartBody"], None] = lambda body: None,
    ) -> None:
        """With ``module`` (see :func:`zstd`), the body is one zstd stream of at most ``limit``
        bytes: it ends before the piece that might not fit, but not before the first one. None
        means no limit. ``report`` is called after each piece.
        """
        self._pieces = pieces
        self._limit = limit
        self._module = module
        self._report = report
        self.image_bytes = 0
        self.wire_bytes = 0

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for chunk in self._compressed() if self._module else self._plain():
            self.wire_bytes += len(chunk)
            yield chunk

    def _plain(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            yield piece
            self._passed(piece)

    def _passed(self, piece: bytes | memoryview) -> None:
        self.image_bytes += len(piece)
        self._report(self)

    def _compressed(self) -> Iterator[bytes]:
        assert self._module is not None
        compressor = self._module.ZstdCompressor(level=_LEVEL)
        chunk, produced = bytearray(), 0
        for piece in self._pieces:
            if self.image_bytes and not self._fits(produced, len(piece)):
                break
            # Without a flush after each piece, the size would not be known.
            block = compressor.compress(piece, mode=compressor.FLUSH_BLOCK)
            produced += len(block)
            chunk += block
            if len(chunk) >= _CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
            self._passed(piece)
        yield bytes(chunk + compressor.flush())

    def _fits(self, produced: int, length: int) -> bool:
        return self._limit is None or produced + largest(length) <= self._limit


class SizedPartBody(PartBody):
    """A body whose size is known, so that requests sends Content-Length instead of chunks."""

    def __init__(
        self,
        pieces: Iterable[bytes | memoryview],
        length: int,
        *,
        report: Callable[[PartBody], None] = lambda body: None,
    ) -> None:
        """``length`` is the size of all pieces together, in bytes."""
        super().__init__(pieces, report=report)
        self._length = length

    def __len__(self) -> int:
        return self._length
