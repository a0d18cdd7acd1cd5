"""Streams of decompressed data (gzip, xz, zstd), in bounded memory and with a bounded ratio."""

import dataclasses
import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any

_READ_BYTES = 1 << 16
#: Bytes of input in a row that may produce no output: padding, empty members, long file names,
#: and the table at the end of seekable zstd.
_MAX_FRUITLESS_BYTES = 4 << 20
#: Bytes of output for which the ratio is not limited.
_FREE_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Compression:
    """A format of compressed data.

    ``make`` returns a new decoder, with the interface of lzma's; a decoder raises ``error`` for
    data that it cannot decode, also because it needs more memory than it may take.
    """

    name: str
    make: Callable[[], Any]
    error: type[Exception]


def compression(name: str, memory: int) -> Compression:
    """The format ``gzip``, ``xz`` or ``zstd``, whose decoders keep at most ``memory`` bytes of
    what they have decoded. gzip always keeps 32 KiB.

    Raises ImportError for a format whose library is not installed.
    """
    if name == "gzip":
        return Compression(name, _Gzip, zlib.error)
    if name == "xz":
        return Compression(
            name, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory), lzma.LZMAError
        )
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: memory.bit_length() - 1}
    return Compression(name, lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)


def _zstd() -> Any:
    try:
        return importlib.import_module("compression.zstd")  # since Python 3.14
    except ImportError:
        return importlib.import_module("backports.zstd")


class DecompressedStream:
    """A stream of decompressed data. Several compressed members in a row are one stream."""

    def __init__(
        self,
        compression: Compression,
        read: Callable[[int], bytes],
        refuse: Callable[[str, int], Exception],
        *,
        max_ratio: int,
        padding: bool,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """``read(size)`` returns up to ``size`` bytes of compressed data, none at its end.
        ``refuse`` makes the error for data that cannot be decompressed, from a text that
        continues "the data is gzip, and " and the number of compressed bytes read.

        ``max_ratio`` is the largest ratio of decompressed to compressed size beyond the first 64
        MiB; 0 means no limit. ``padding`` tells whether zeros may follow a member. ``check`` is
        called before each read of compressed data, and may raise to stop: much may be read before
        anything comes out.
        """
        self._compression = compression
        self._read = read
        self._refuse = refuse
        self._max_ratio = max_ratio
        self._padding = padding
        self._check = check
        self._decoder = compression.make()
        #: Input that was read beyond the end of a member.
        self._rest = b""
        self._bytes_in = 0
        self._bytes_out = 0
        #: The bytes of input when there was output the last time.
        self._bytes_in_at_output = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end. Raises what ``refuse`` makes.

        It returns what the input at hand contains, however small its members are, and waits for
        more input only if that is nothing.
        """
        pieces: list[bytes] = []
        while size and not (pieces and self._is_drained()):
            piece = self._next(size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _is_drained(self) -> bool:
        """Whether there can be no more output without more input."""
        if self._decoder.eof:
            return not self._decoder.unused_data
        return self._decoder.needs_input and not self._rest

    def _next(self, size: int) -> bytes:
        while True:
            if self._decoder.eof and not self._next_member():
                return b""
            data = self._next_input() if self._decoder.needs_input else b""
            if not data and self._decoder.needs_input:
                raise self._bad("it ends early")
            if chunk := self._decode(data, size):
                return chunk

    def _next_input(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        self._check()
        data = self._read(_READ_BYTES)
        self._bytes_in += len(data)
        if self._bytes_in - self._bytes_in_at_output > _MAX_FRUITLESS_BYTES:
            raise self._bad(f"{_MAX_FRUITLESS_BYTES >> 20} MiB in a row contain no data")
        return data

    def _decode(self, data: bytes, size: int) -> bytes:
        try:
            chunk: bytes = self._decoder.decompress(data, size)
        except (self._compression.error, MemoryError) as error:
            raise self._bad("it is damaged, or needs too much memory") from error
        self._bytes_out += len(chunk)
        if chunk:
            self._bytes_in_at_output = self._bytes_in
        if self._max_ratio and self._bytes_out > _FREE_BYTES + self._max_ratio * self._bytes_in:
            raise self._bad(f"it contains more than {self._max_ratio} times its size")
        return chunk

    def _next_member(self) -> bool:
        """Continue with the data after a member."""
        data = self._without_padding(self._decoder.unused_data)
        while not data:
            data = self._next_input()
            if not data:
                return False
            data = self._without_padding(data)
        self._decoder = self._compression.make()
        self._rest = data
        return True

    def _without_padding(self, data: bytes) -> bytes:
        return data.lstrip(b"\0") if self._padding else data

    def _bad(self, problem: str) -> Exception:
        return self._refuse(problem, self._bytes_in)


class _Gzip:
    """zlib's decoder with the interface of lzma's."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._has_more = False

    def decompress(self, data: bytes, size: int) -> bytes:
        chunk = self._decoder.decompress(self._decoder.unconsumed_tail + data, size)
        self._has_more = len(chunk) == size
        return chunk

    @property
    def needs_input(self) -> bool:
        return not self._has_more and not self._decoder.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data
