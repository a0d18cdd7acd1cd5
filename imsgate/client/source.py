"""Where the bytes of an upload come from: a file, or a stream that can be read once.

Digests are computed while the bytes are read for sending, each byte once, whatever is sent again.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from imsgate.client.failures import TransferInterrupted, Unreadable

#: Bytes of one piece. A request ends with a piece, and a piece has one timeout on its way.
PIECE_BYTES = 1 << 16
_ZEROS = bytes(PIECE_BYTES)
#: The algorithm of ``os_hash_value`` by default, here and in Glance.
USUAL = "sha512"
#: Of a stream, which cannot be read again with the algorithm that the server has used.
_OF_STREAMS = (USUAL, "sha256")


class UploadSource(Protocol):
    """The data of an image. ``label`` is its name in messages. ``size`` is in bytes; None if it is
    not known yet."""

    label: str
    size: int | None

    def pieces(self, offset: int, limit: int | None) -> Iterator[bytes | memoryview]:
        """The next bytes, at most ``limit``; with None all, which may not be possible again.

        Raises Unreadable, and TransferInterrupted for bytes that have passed."""

    def reaches_end(self, offset: int, limit: int) -> bool:
        """Whether at most ``limit`` bytes follow ``offset``."""

    def release(self, offset: int) -> None:
        """The bytes before ``offset`` are stored, and will not be asked for again.

        Raises Unreadable if those that follow no longer belong to them.
        """

    def digest(self, algorithm: str) -> str | None:
        """The digest of everything, in hexadecimal; None if it cannot be computed."""


class _Digests:
    """Digests of a stream whose bytes may come more than once, but without gaps."""

    def __init__(self, *algorithms: str) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self.position = 0

    def feed(self, offset: int, piece: bytes | memoryview) -> None:
        new = self.position - offset
        if 0 <= new < len(piece):
            for each in self._hashes.values():
                each.update(memoryview(piece)[new:])
            self.position = offset + len(piece)

    def get(self, algorithm: str, size: int | None) -> str | None:
        if algorithm in self._hashes and self.position == size:
            return self._hashes[algorithm].hexdigest()
        return None


class FileSource:
    """A regular file, or a block device. The holes of a sparse file are not read."""

    def __init__(self, path: str) -> None:
        """Raises Unreadable for a file that cannot be opened."""
        self.label = path
        self.path = os.path.abspath(path)
        try:
            self.file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - until the end
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error
        status = os.fstat(self.file.fileno())
        self._is_regular = stat.S_ISREG(status.st_mode)
        if not (self._is_regular or stat.S_ISBLK(status.st_mode)):
            self.file.close()
            raise Unreadable(f"{path} is not a file; a pipe can be uploaded as standard input: -")
        self.size: int | None = os.lseek(self.file.fileno(), 0, os.SEEK_END)
        #: When the file was changed last, in nanoseconds since the epoch.
        self.mtime = status.st_mtime_ns
        self._digests = _Digests(USUAL)

    def close(self) -> None:
        self.file.close()

    def check_unchanged(self) -> None:
        """Raises Unreadable if the file was changed after it was opened.

        A block device does not say.
        """
        status = os.fstat(self.file.fileno())
        now = (status.st_size, status.st_mtime_ns)
        if self._is_regular and now != (self.size, self.mtime):
            raise Unreadable(f"{self.label} was changed while it was uploaded")

    def catch_up(self, offset: int) -> Iterator[int]:
        """Compute the digest of the bytes before ``offset``, which an earlier process has sent.

        Yields the number of bytes as it grows.
        """
        while self._digests.position < offset:
            start = self._digests.position
            for _ in self.pieces(start, min(offset - start, 64 << 20)):
                pass
            yield self._digests.position

    def reaches_end(self, offset: int, limit: int) -> bool:
        assert self.size is not None
        return self.size - offset <= limit

    def pieces(self, offset: int, limit: int | None) -> Iterator[bytes | memoryview]:
        assert self.size is not None
        end = self.size if limit is None else min(offset + limit, self.size)
        while offset < end:
            hole, data = self._hole_at(offset, end)
            while offset < hole:
                piece = memoryview(_ZEROS)[: hole - offset]
                self._digests.feed(offset, piece)
                yield piece
                offset += len(piece)
            while offset < data:
                chunk = self._read(offset, min(PIECE_BYTES, data - offset))
                self._digests.feed(offset, chunk)
                yield chunk
                offset += len(chunk)

    def _hole_at(self, offset: int, end: int) -> tuple[int, int]:
        """The end of the hole at ``offset``, and of the data after it."""
        number = self.file.fileno()
        try:
            start = os.lseek(number, offset, os.SEEK_DATA)
            return min(start, end), min(end, os.lseek(number, start, os.SEEK_HOLE))
        except OSError as error:
            # ENXIO: there is no data after this offset. EINVAL: no such thing as a hole here.
            return (end, end) if error.errno == errno.ENXIO else (offset, end)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            chunk = os.pread(self.file.fileno(), length, offset)
        except OSError as error:
            raise Unreadable(f"{self.label}: {error.strerror}") from error
        # Before the chunk is sent, because with the last one the upload would be complete.
        self.check_unchanged()
        if not chunk:
            raise Unreadable(f"{self.label} ends early")
        return chunk

    def release(self, offset: int) -> None:
        self.check_unchanged()

    def digest(self, algorithm: str) -> str | None:
        """The digest; the file is read again if its bytes have not all been read with this
        algorithm."""
        assert self.size is not None
        if found := self._digests.get(algorithm, self.size):
            return found
        try:
            self._digests = _Digests(algorithm)
        except ValueError:
            return None
        for _ in self.catch_up(self.size):
            pass
        return self._digests.get(algorithm, self.size)


class StreamSource:
    """A stream that can be read once, such as a pipe.

    It keeps in memory what has been read and is not yet stored, at most ``window`` bytes and one
    piece.
    """

    def __init__(self, stream: BinaryIO, window: int, label: str = "standard input") -> None:
        self.label = label
        self.size: int | None = None
        self._stream = stream
        self._window = window
        self._kept = bytearray()
        self._start = 0
        self._digests = _Digests(*_OF_STREAMS)

    def head(self, length: int) -> bytes:
        """The first bytes, at most ``length`` and the window."""
        self._fill(min(length, self._window))
        return bytes(self._kept[:length])

    def reaches_end(self, offset: int, limit: int) -> bool:
        # One more byte shows whether the stream ends here.
        self._fill(offset - self._start + min(limit, self._window) + 1)
        return self.size is not None and self.size - offset <= limit

    def pieces(self, offset: int, limit: int | None) -> Iterator[bytes | memoryview]:
        if offset < self._start:
            raise TransferInterrupted(
                f"{self.label} cannot be read again from byte {offset}, where the upload would "
                "have to continue"
            )
        end = None if limit is None else offset + min(limit, self._window)
        while end is None or offset < end:
            begin = offset - self._start
            length = PIECE_BYTES if end is None else min(PIECE_BYTES, end - offset)
            self._fill(begin + length)
            piece = bytes(self._kept[begin : begin + length])
            if not piece:
                break
            self._digests.feed(offset, piece)
            yield piece
            offset += len(piece)
            if end is None:
                self.release(offset)

    def _fill(self, length: int) -> None:
        """Read until ``length`` bytes are kept, or the stream ends."""
        while self.size is None and len(self._kept) < length:
            try:
                chunk = self._stream.read(PIECE_BYTES)
            except OSError as error:
                raise Unreadable(f"{self.label}: {error.strerror}") from error
            self._kept += chunk
            if not chunk:
                self.size = self._start + len(self._kept)

    def release(self, offset: int) -> None:
        del self._kept[: max(0, offset - self._start)]
        self._start = max(self._start, offset)

    def digest(self, algorithm: str) -> str | None:
        return self._digests.get(algorithm, self.size)
