"""Decompression of the compressed files that an import may bring."""

from collections.abc import Callable

from oslo_config import cfg, types

from imsgate.compression import Compression, DecompressedStream, compression
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
        mutable=True,
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

#: The most memory that decompression may take; `xz -9` needs 65 MiB.
_MEMORY_BYTES = 128 << 20

Check = Callable[[], object]


class Decompressor:
    """Decompresses the formats that the operator allows."""

    def __init__(self, settings: DecompressionSettings) -> None:
        """Raises BadConfig for a format whose library is not installed."""
        self._settings = settings
        self._compressions = {name: _compression(name) for name in settings.formats}

    def compression_of(self, head: bytes) -> str | None:
        """The compression of data that begins with ``head`` (``MAGIC_BYTES``), if allowed."""
        for name in self._compressions:
            if head.startswith(_MAGIC[name]):
                return name
        return None

    def open(
        self, name: str, read: Callable[[int], bytes], check: Check = lambda: None
    ) -> DecompressedStream:
        """The decompressed data of a stream whose compression is ``name``. Its reads raise
        BadImage.

        ``check`` is called before each read of compressed data, and may raise to stop: much may
        be read before anything comes out.
        """

        def refuse(problem: str, offset: int) -> BadImage:
            problem = f"the data is {name}, and {problem}"
            hint = HINTS["compression"]
            return BadImage(check="compression", offset=offset, problem=problem, hint=hint)

        return DecompressedStream(
            self._compressions[name],
            read,
            refuse,
            max_ratio=self._settings.max_ratio,
            padding=True,
            check=check,
        )


def _compression(name: str) -> Compression:
    try:
        return compression(name, _MEMORY_BYTES)
    except ImportError as error:
        problem = "zstd needs the package backports.zstd: imsgate[zstd]"
        raise BadConfig(f"[{GROUP}] formats", problem) from error
