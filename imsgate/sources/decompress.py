"""Image data out of gzip, xz or zstd, in bounded memory and with a bounded ratio."""

import importlib
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from oslo_config import cfg, types

from imsgate.errors import BadConfig, BadImage
from imsgate.formats.checks import HINTS

GROUP = "import_unpack"
OPTS = (
    cfg.ListOpt(
        "formats",
        default=[],
        item_type=types.String(choices=["gzip", "xz", "zstd"]),
        help="Compressed files that an import unpacks: gzip, xz, zstd (which needs "
        "imsgate[zstd]). For glance-direct, [sniff] has to accept them as well.",
    ),
    cfg.IntOpt(
        "max_ratio",
        default=200,
        min=1,
        help="How many times the size of the compressed data may come out, beyond 64 MiB.",
    ),
)

_MAGIC = {"gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}
#: Bytes that tell what a stream is.
HEAD = 6

_STEP = 1 << 16
#: Bytes in a row that may bring nothing out: padding, empty members, long file names, and
#: the table at the end of seekable zstd.
_IDLE = 4 << 20
_FREE = 64 << 20
#: What decoding may take; `xz -9` needs 65 MiB.
_MEMORY = 128 << 20


class Decompressor:
    """What the operator lets imports unpack."""

    def __init__(self, settings: Any) -> None:
        """Raises BadConfig for a format whose library is not installed."""
        self._max_ratio = settings.max_ratio
        self._makers = {name: _maker(name) for name in settings.formats}

    def packing(self, head: bytes) -> str | None:
        """The compression of data that begins with ``head``, if it is to be unpacked."""
        for name in self._makers:
            if head.startswith(_MAGIC[name]):
                return name
        return None

    def unpack(self, name: str, read: Callable[[int], bytes]) -> "DecompressedStream":
        return DecompressedStream(read, self._makers[name], name, self._max_ratio)


class DecompressedStream:
    """A stream of what comes out. Several compressed members in a row are one stream."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        make: Callable[[], tuple[Any, type[Exception]]],
        name: str,
        max_ratio: int,
    ) -> None:
        self._read = read
        self._make = make
        self._name = name
        self._max_ratio = max_ratio
        self._decoder, self._error = make()
        #: What was read behind the end of a member.
        self._rest = b""
        self._taken = 0
        self._given = 0
        #: How much had been taken when something last came out.
        self._fruitful = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end. Raises BadImage."""
        while True:
            if self._decoder.eof and not self._next_member():
                return b""
            data = self._take() if self._decoder.needs_input else b""
            if not data and self._decoder.needs_input:
                raise self._bad("it ends early")
            if chunk := self._decode(data, size):
                return chunk

    def _take(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        data = self._read(_STEP)
        self._taken += len(data)
        if self._taken - self._fruitful > _IDLE:
            raise self._bad(f"{_IDLE >> 20} MiB in a row hold nothing")
        return data

    def _decode(self, data: bytes, size: int) -> bytes:
        try:
            chunk: bytes = self._decoder.decompress(data, size)
        except (self._error, MemoryError) as error:
            raise self._bad("it cannot be unpacked") from error
        self._given += len(chunk)
        if chunk:
            self._fruitful = self._taken
        if self._given > _FREE + self._max_ratio * self._taken:
            raise self._bad(f"it holds more than {self._max_ratio} times its size")
        return chunk

    def _next_member(self) -> bool:
        """Go on with what follows a member; zeros are padding."""
        data = self._decoder.unused_data.lstrip(b"\0")
        while not data:
            data = self._take()
            if not data:
                return False
            data = data.lstrip(b"\0")
        self._decoder, self._error = self._make()
        self._rest = data
        return True

    def _bad(self, problem: str) -> BadImage:
        problem = f"the data is {self._name}, and {problem}"
        hint = HINTS["compression"]
        return BadImage(check="compression", offset=self._taken, problem=problem, hint=hint)


class _Gzip:
    """zlib's decoder, asked as lzma's is."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._more = False

    def decompress(self, data: bytes, size: int) -> bytes:
        chunk = self._decoder.decompress(self._decoder.unconsumed_tail + data, size)
        self._more = len(chunk) == size
        return chunk

    @property
    def needs_input(self) -> bool:
        return not self._more and not self._decoder.unconsumed_tail

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
        return lambda: (lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), lzma.LZMAError)
    for place in ("compression.zstd", "backports.zstd"):  # Python 3.14 has it
        try:
            zstd: Any = importlib.import_module(place)
        except ImportError:
            continue
        return lambda: (zstd.ZstdDecompressor(), zstd.ZstdError)
    raise BadConfig(f"[{GROUP}] formats", "zstd needs the package backports.zstd: imsgate[zstd]")
