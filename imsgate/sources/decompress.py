"""Decompression of gzip, xz and zstd, in bounded memory and with a bounded ratio."""

import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from oslo_config import cfg, types

from imsgate.errors import BadConfig, BadImage
from imsgate.formats.checks import HINTS
from imsgate.settings import Settings

GROUP = "import_unpack"
OPTS = (
    cfg.ListOpt(
        "formats",
        default=[],
        item_type=types.String(choices=["gzip", "xz", "zstd"]),
        help="Formats of compressed files that an import decompresses: gzip, xz, zstd (which needs "
        "imsgate[zstd]). For glance-direct, [sniff] has to accept them as well.",
    ),
    cfg.IntOpt(
        "max_ratio",
        default=200,
        min=1,
        help="The largest allowed ratio of decompressed to compressed size, beyond the first "
        "64 MiB of decompressed data.",
    ),
)


class DecompressionSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[import_unpack]``."""

    formats: list[str]
    max_ratio: int


_MAGIC = {"gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}
#: The number of first bytes by which a compression is detected.
MAGIC_BYTES = 6

_READ_BYTES = 1 << 16
#: Bytes of input in a row that may produce no output: padding, empty members, long file names,
#: and the table at the end of seekable zstd.
_MAX_FRUITLESS_BYTES = 4 << 20
#: Bytes of output for which the ratio is not limited.
_FREE_BYTES = 64 << 20
#: The most memory that decompression may take; `xz -9` needs 65 MiB.
_MEMORY_BYTES = 128 << 20

Check = Callable[[], object]


class Decompressor:
    """Decompresses the formats that the operator allows."""

    def __init__(self, settings: DecompressionSettings) -> None:
        """Raises BadConfig for a format whose library is not installed."""
        self._max_ratio = settings.max_ratio
        self._makers = {name: _maker(name) for name in settings.formats}

    def compression_of(self, head: bytes) -> str | None:
        """The compression of data that begins with ``head`` (``MAGIC_BYTES``), if allowed."""
        for name in self._makers:
            if head.startswith(_MAGIC[name]):
                return name
        return None

    def open(
        self, name: str, read: Callable[[int], bytes], check: Check = lambda: None
    ) -> "DecompressedStream":
        """The decompressed data of a stream whose compression is ``name``.

        ``check`` is called before each read of compressed data, and may raise to stop: much may
        be read before anything comes out.
        """
        return DecompressedStream(read, check, self._makers[name], name, self._max_ratio)


class DecompressedStream:
    """A stream of decompressed data. Several compressed members in a row are one stream."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        check: Check,
        make: Callable[[], tuple[Any, type[Exception]]],
        name: str,
        max_ratio: int,
    ) -> None:
        self._read = read
        self._check = check
        self._make = make
        self._name = name
        self._max_ratio = max_ratio
        self._decoder, self._error = make()
        #: Input that was read beyond the end of a member.
        self._rest = b""
        self._bytes_in = 0
        self._bytes_out = 0
        #: The bytes of input when there was output the last time.
        self._bytes_in_at_output = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end. Raises BadImage."""
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
        except (self._error, MemoryError) as error:
            raise self._bad("it cannot be decompressed") from error
        self._bytes_out += len(chunk)
        if chunk:
            self._bytes_in_at_output = self._bytes_in
        if self._bytes_out > _FREE_BYTES + self._max_ratio * self._bytes_in:
            raise self._bad(f"it contains more than {self._max_ratio} times its size")
        return chunk

    def _next_member(self) -> bool:
        """Continue with the data after a member; zeros are padding."""
        data = self._decoder.unused_data.lstrip(b"\0")
        while not data:
            data = self._next_input()
            if not data:
                return False
            data = data.lstrip(b"\0")
        self._decoder, self._error = self._make()
        self._rest = data
        return True

    def _bad(self, problem: str) -> BadImage:
        problem = f"the data is {self._name}, and {problem}"
        hint = HINTS["compression"]
        return BadImage(check="compression", offset=self._bytes_in, problem=problem, hint=hint)


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


def _maker(name: str) -> Callable[[], tuple[Any, type[Exception]]]:
    if name == "gzip":
        return lambda: (_Gzip(), zlib.error)
    if name == "xz":
        return lambda: (
            lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES),
            lzma.LZMAError,
        )
    for module in ("compression.zstd", "backports.zstd"):  # the first since Python 3.14
        try:
            zstd: Any = importlib.import_module(module)
        except ImportError:
            continue
        return lambda: (zstd.ZstdDecompressor(), zstd.ZstdError)
    raise BadConfig(f"[{GROUP}] formats", "zstd needs the package backports.zstd: imsgate[zstd]")
