"""The words for formats: ours, and what clients declare in either dialect."""

from collections.abc import Collection

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
"""Disk image formats, by their canonical names."""

PAYLOADS = ("gzip", "bzip2", "xz", "zstd", "lz4", "tar", "ova", "zip", "7z", "rar", "cpio")
"""Compressed and archived files."""

PROGRAMS = ("elf", "mach-o")

FORMATS = IMAGES + PAYLOADS + PROGRAMS

_BOOT_FILES = frozenset(("raw", "gzip", "bzip2", "xz", "zstd", "lz4", "cpio", "elf"))

_DECLARED: dict[str, frozenset[str]] = {
    **{name: frozenset((name,)) for name in IMAGES},
    "vpc": frozenset(("vhd",)),
    "gpt": frozenset(("raw",)),
    "iso": frozenset(("iso", "udf")),
    "ploop": frozenset(("parallels",)),
    "ami": frozenset(("raw",)),
    # kernels and ramdisks: whatever a boot loader takes
    "aki": _BOOT_FILES,
    "ari": _BOOT_FILES,
}

WRAPPERS: dict[str, frozenset[str]] = {
    "ova": frozenset(("ova", "tar")),
    "docker": frozenset(("tar",)),
    "compressed": frozenset(PAYLOADS) - {"tar", "ova", "cpio"},
}
"""Containers whose stream is not what ``disk_format`` names, but one of these."""


def is_known(declared: str) -> bool:
    """Whether this is a ``disk_format`` of either dialect."""
    return declared.strip().lower() in _DECLARED


def meant_by(declared: str) -> Collection[str]:
    """The formats whose content a declared ``disk_format``, or one of WRAPPERS, allows.

    Names nobody knows (a site's own) stand for bytes without a
    known format, as in Glance.
    """
    name = declared.strip().lower()
    return _DECLARED.get(name) or WRAPPERS.get(name, frozenset(("raw",)))


def is_boot_file(declared: str | None) -> bool:
    """Whether a kernel or a ramdisk is declared, which may be compressed."""
    return declared is not None and declared.strip().lower() in ("aki", "ari")
