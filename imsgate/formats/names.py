"""Names of formats: the canonical ones, and those that clients declare in either dialect."""

from collections.abc import Collection
from dataclasses import dataclass

IMAGES = (
    "raw",
    "qcow",
    "qcow2",
    "vmdk",
    "vhd",
    "vhdx",
    "vdi",
    "qed",
    "zvhd",
    "zvhd2",
    "iso",
    "udf",
    "luks",
    "parallels",
    "bochs",
    "cloop",
)
"""Canonical names of disk image formats."""

_COMPRESSED = (
    *("gzip", "bzip2", "xz", "zstd", "lz4", "lzma", "lzip", "lzop", "compress"),
    *("lrzip", "zip", "7z", "rar"),
)

PAYLOADS = (
    *_COMPRESSED,
    *("tar", "ova", "cpio", "ar", "rpm", "cab", "wim", "xar", "arj", "lha"),
    *("android-sparse", "dmg", "sparseimage", "ewf", "aff", "vma", "partclone"),
)
"""Canonical names of compressed files, archives, and images wrapped in a format of another use."""

_BOOT_IMAGES = ("uimage", "dtb", "android-boot")
"""Kernels and ramdisks in the formats of boot loaders. A DTB may also be a FIT image of U-Boot."""

PROGRAMS = ("elf", "mach-o", "pe", *_BOOT_IMAGES, "java", "registry")
"""Programs, boot files, and the registry of Windows."""

DOCUMENTS = (
    *("html", "xml", "json", "yaml", "script", "checksums", "pgp", "pem", "git-lfs"),
    *("torrent", "zsync", "jigdo", "pdf"),
)
"""Texts, signatures and download descriptions that are often stored instead of the image itself."""

FORMATS = IMAGES + PAYLOADS + PROGRAMS + DOCUMENTS

_BOOT_FILES = frozenset(
    ("raw", "gzip", "bzip2", "xz", "zstd", "lz4", "lzma", "lzip", "lzop", "compress", "cpio")
).union(("elf", "pe"), _BOOT_IMAGES)

_CONTENT_BY_DISK_FORMAT: dict[str, frozenset[str]] = {
    **{name: frozenset((name,)) for name in IMAGES},
    "vpc": frozenset(("vhd",)),
    "gpt": frozenset(("raw",)),
    "iso": frozenset(("iso", "udf")),
    "ploop": frozenset(("parallels",)),
    "ami": frozenset(("raw",)),
    # kernels and ramdisks: everything that boot loaders accept
    "aki": _BOOT_FILES,
    "ari": _BOOT_FILES,
}

WRAPPERS: dict[str, frozenset[str]] = {
    "ova": frozenset(("ova", "tar")),
    "docker": frozenset(("tar",)),
    "compressed": frozenset(_COMPRESSED),
}
"""The formats of the content, by ``container_format``, of containers that wrap the disk.

``disk_format`` then describes the disk inside, not the content.
"""


CONTAINERS = ("bare", "ovf", "ami", "aki", "ari", *WRAPPERS)
"""Every ``container_format``."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an image is declared to be.

    ``name`` is a ``disk_format`` or a key of WRAPPERS. The content may also be one of ``also``.
    """

    name: str
    also: frozenset[str] = frozenset()


def is_disk_format(name: str) -> bool:
    """Whether ``name`` is a ``disk_format`` of either dialect."""
    return _normalize(name) in _CONTENT_BY_DISK_FORMAT


def allowed_content(declared: str) -> Collection[str]:
    """The formats that the content may have, for a ``disk_format`` or a key of WRAPPERS.

    An unknown name (added by the operator) allows content without a known format, as in Glance.
    """
    name = _normalize(declared)
    return _CONTENT_BY_DISK_FORMAT.get(name) or WRAPPERS.get(name, frozenset(("raw",)))


def is_boot_file(declared: str) -> bool:
    """Whether a kernel or a ramdisk is declared; these may be compressed."""
    return _normalize(declared) in ("aki", "ari")


def is_vhd(declared: str) -> bool:
    """Whether a VHD is declared, in either dialect."""
    return _normalize(declared) in ("vhd", "vpc")


def could_be_boot_file(content: str) -> bool:
    """Whether content of this format may be declared as a kernel or a ramdisk."""
    return content in _BOOT_FILES


def disk_format_of(content: str) -> str | None:
    """The ``disk_format`` of content of this format; None if there is none."""
    return {"parallels": "ploop", "udf": "iso"}.get(content, content if content in IMAGES else None)


def option_of(content: str) -> str:
    """The name of the option that accepts content of this format."""
    return f"accept_{content.replace('-', '_')}"


def _normalize(name: str) -> str:
    return name.strip().lower()
