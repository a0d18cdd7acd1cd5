"""VHDX."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad, good
from tests.formats.craft import le
from tests.formats.workshop import MIB, Recipe, changed, converted, created, cut, written

_DATA = converted("vhdx")
_SIZE = 64 * MIB
_PARENT_LOCATOR = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
_UNKNOWN = "a9d35f2d-b30b-454d-abf7-d3d84834ab0c"


#: Offsets of the file parameters (caa1), the virtual size (2fa5) and the sector size (8141).
_PLACES = {
    "adjacent": {"caa1": 65536, "8141": 65544, "2fa5": 65548, "cda3": 70000, "beca": 70100},
    "reversed": {"caa1": 65600, "2fa5": 65556, "8141": 65552, "cda3": 70000, "beca": 70100},
    "far": {"caa1": 70000, "2fa5": 90000, "8141": 65536 + 900000},
}


def vhdx() -> list[Entry]:
    return [*_accepted(), *_with_parent(), *_with_bad_header(), *_with_bad_regions()]


def _good(name: str, make: Recipe, *, size: int = DISK) -> Entry:
    return good(name, make, "vhdx", size)


def _bad(name: str, make: Recipe, *checks: str, size: int | None = _SIZE) -> Entry:
    return bad(name, make, "vhdx", size, *checks)


def _accepted() -> list[Entry]:
    """Disks by qemu-img and by hand."""
    return [
        _good("dynamic", created("vhdx")),
        _good("fixed", created("vhdx", "10M", "subformat=fixed")),
        _good("data", _DATA),
        _good("block-1m", converted("vhdx", block_size="1M")),
        _good("one-tib", created("vhdx", "1T"), size=TIB),
        _good("by-hand", written(craft.vhdx()), size=_SIZE),
        *(
            _good(f"items-{name}", written(craft.vhdx(places=places)), size=_SIZE)
            for name, places in _PLACES.items()
        ),
    ]


def _with_parent() -> list[Entry]:
    """Differencing disks."""
    return [
        _bad("parent-flag", written(craft.vhdx(flags=2)), "parent"),
        _bad(
            "parent-locator",
            written(craft.vhdx(items=((_PARENT_LOCATOR, bytes(20), 4),))),
            "parent",
        ),
    ]


def _with_bad_header() -> list[Entry]:
    """Invalid headers, a log that is not empty, and invalid metadata."""
    return [
        _bad("log", written(craft.vhdx(log_id=b"L" * 16)), "dirty_log"),
        _bad("version", written(craft.vhdx(version=2)), "bad_header", size=None),
        _bad(
            "headers", changed(_DATA, (65536, b"dead"), (131072, b"dead")), "bad_header", size=None
        ),
        _bad(
            "header-checksums",
            changed(_DATA, (65600, b"x"), (131136, b"x")),
            "bad_header",
            size=None,
        ),
        _bad("size-0", written(craft.vhdx(size=0)), "bad_header", size=0),
        _bad("block-odd", written(craft.vhdx(block=3 * MIB)), "bad_header"),
        _bad("item-outside", written(craft.vhdx(places={"2fa5": MIB - 4})), "bad_header"),
        _bad("item-unknown", written(craft.vhdx(items=((_UNKNOWN, b"", 4),))), "unknown_features"),
    ]


def _with_bad_regions() -> list[Entry]:
    """Invalid region tables, and truncated files."""
    return [
        _bad("region-tables", written(craft.vhdx(second_table=bytes(65536))), "footer_mismatch"),
        _bad(
            "region-unknown",
            written(craft.vhdx(regions=((_PARENT_LOCATOR, 3 * MIB),))),
            "unknown_features",
        ),
        _bad(
            "region-beyond",
            changed(_DATA, (196608 + 32, le(1 << 40, 8)), (262144 + 32, le(1 << 40, 8))),
            "truncated",
            size=DISK,
        ),
        _bad(
            "entry-beyond",
            changed(written(craft.vhdx()), (3 * MIB, le(6 | 9 << 20, 8))),
            "truncated",
        ),
        _bad("cut", cut(_DATA, by=MIB), "truncated", size=DISK),
    ]
