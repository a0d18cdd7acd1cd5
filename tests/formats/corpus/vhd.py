"""VHD: fixed, dynamic and differencing disks."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, GIB, Entry, bad, good
from tests.formats.workshop import MIB, Recipe, converted, created, cut, written

_ROUNDED = 10514432
"""The virtual size of a disk of 10 MiB, rounded up to the geometry by qemu-img."""
_DATA = bytes(2 * MIB)
_FIXED = _DATA + craft.vhd_footer(2 * MIB)
_DYNAMIC = craft.vhd_dynamic()
_DYNAMIC_DATA = converted("vpc")


def vhd() -> list[Entry]:
    return [
        *_accepted_fixed(),
        *_accepted_dynamic(),
        bad("raw-as-fixed", written(_DATA), "raw", 2 * MIB, "declared_format", declared="vhd"),
        *_refused_fixed(),
        *_refused_dynamic(),
    ]


def _good(name: str, make: Recipe, *, size: int = 4 * MIB, declared: str = "") -> Entry:
    return good(name, make, "vhd", size, declared=declared)


def _bad(name: str, make: Recipe, *checks: str, size: int = 4 * MIB, declared: str = "") -> Entry:
    return bad(name, make, "vhd", size, *checks, declared=declared)


def _accepted_fixed() -> list[Entry]:
    """Fixed disks: data and a footer."""
    partitioned = craft.mbr((0x83, 8, 4000)).ljust(2 * MIB, b"\0") + craft.vhd_footer(2 * MIB)
    return [
        _good("fixed", created("vpc", "10M", "subformat=fixed"), size=_ROUNDED, declared="vpc"),
        _good("fixed-data", converted("vpc", subformat="fixed"), size=_ROUNDED),
        _good("fixed-forced", created("vpc", "10M", "subformat=fixed", "force_size=on"), size=DISK),
        _good("fixed-by-hand", written(_FIXED), size=2 * MIB),
        _good("fixed-partitioned", written(partitioned), size=2 * MIB, declared="vpc"),
    ]


def _accepted_dynamic() -> list[Entry]:
    """Dynamic disks, which begin with a copy of the footer."""
    return [
        _good("dynamic", created("vpc"), size=_ROUNDED),
        _good("dynamic-data", _DYNAMIC_DATA, size=_ROUNDED, declared="vpc"),
        _good("dynamic-forced", created("vpc", "10M", "force_size=on"), size=DISK),
        _good("dynamic-200g", created("vpc", "200G"), size=200 * GIB),
        _good("dynamic-by-hand", written(_DYNAMIC)),
    ]


def _refused_fixed() -> list[Entry]:
    """Fixed disks with a footer that is invalid or contradicts the data."""
    # 1000 cylinders of 2 MiB, by a program for whose disks readers use the geometry
    large_geometry = craft.patched(
        craft.vhd_footer(2 * MIB), (28, b"vpc "), (56, b"\x03\xe8\x10\xff")
    )
    return [
        _bad("fixed-as-raw", written(_FIXED), "declared_format", size=2 * MIB, declared="raw"),
        _bad("fixed-short", written(_DATA[:MIB] + _FIXED[-512:]), "truncated", size=2 * MIB),
        _bad(
            "fixed-geometry",
            written(_DATA + craft.summed(large_geometry, 64)),
            "bad_header",
            size=1000 * 16 * 255 * 512,
        ),
        _bad("fixed-long", written(_DATA + _FIXED), "footer_mismatch", size=2 * MIB),
        _bad(
            "fixed-checksum",
            written(craft.patched(_FIXED, (-400, b"x"))),
            "bad_header",
            size=2 * MIB,
        ),
        _bad(
            "fixed-at-start",
            written(craft.vhd_footer(2 * MIB) + _FIXED),
            "bad_header",
            size=2 * MIB,
        ),
        _bad("kind-7", written(_DATA + craft.vhd_footer(2 * MIB, 7)), "bad_header", size=2 * MIB),
        _bad(
            "dynamic-at-end",
            written(_DATA + craft.vhd_footer(2 * MIB, 3)),
            "footer_mismatch",
            size=2 * MIB,
        ),
    ]


def _refused_dynamic() -> list[Entry]:
    """Differencing, damaged and truncated disks."""
    return [
        _bad("differencing", written(craft.vhd_dynamic(kind=4)), "parent"),
        _bad(
            "checksum",
            written(craft.patched(_DYNAMIC, (70, b"x"))),
            "bad_header",
            "footer_mismatch",
        ),
        _bad("header-checksum", written(craft.patched(_DYNAMIC, (600, b"x"))), "bad_header"),
        _bad(
            "footer-differs",
            written(_DYNAMIC[:-512] + craft.vhd_footer(8 * MIB, 3)),
            "footer_mismatch",
        ),
        _bad("blocks-few", written(craft.vhd_dynamic(blocks=1)), "bad_header"),
        _bad("block-odd", written(craft.vhd_dynamic(block=3 * MIB)), "bad_header"),
        _bad("block-beyond", written(craft.vhd_dynamic(bat=99)), "truncated"),
        _bad("cut", cut(_DYNAMIC_DATA, by=512), "truncated", size=_ROUNDED),
    ]
