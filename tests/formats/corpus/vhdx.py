"""VHDX."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad, good
from tests.formats.craft import le
from tests.formats.workshop import MIB, changed, converted, created, cut, written


def vhdx() -> list[Entry]:
    locator = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
    data = converted("vhdx")
    size = 64 * MIB
    return [
        good("dynamic", created("vhdx"), "vhdx", DISK),
        good("fixed", created("vhdx", "10M", "subformat=fixed"), "vhdx", DISK),
        good("data", data, "vhdx", DISK),
        good("block-1m", converted("vhdx", block_size="1M"), "vhdx", DISK),
        good("one-tib", created("vhdx", "1T"), "vhdx", TIB),
        good("by-hand", written(craft.vhdx()), "vhdx", size),
        bad("parent-flag", written(craft.vhdx(flags=2)), "vhdx", size, "parent"),
        bad(
            "parent-locator",
            written(craft.vhdx(items=((locator, bytes(20), 4),))),
            "vhdx",
            size,
            "parent",
        ),
        bad("log", written(craft.vhdx(log_id=b"L" * 16)), "vhdx", size, "dirty_log"),
        bad("version", written(craft.vhdx(version=2)), "vhdx", None, "bad_header"),
        bad(
            "headers",
            changed(data, (65536, b"dead"), (131072, b"dead")),
            "vhdx",
            None,
            "bad_header",
        ),
        bad(
            "header-checksums",
            changed(data, (65600, b"x"), (131136, b"x")),
            "vhdx",
            None,
            "bad_header",
        ),
        bad(
            "region-tables",
            written(craft.vhdx(second_table=bytes(65536))),
            "vhdx",
            size,
            "footer_mismatch",
        ),
        bad(
            "region-unknown",
            written(craft.vhdx(regions=((locator, 3 * MIB),))),
            "vhdx",
            size,
            "unknown_features",
        ),
        bad(
            "region-beyond",
            changed(data, (196608 + 32, le(1 << 40, 8)), (262144 + 32, le(1 << 40, 8))),
            "vhdx",
            DISK,
            "truncated",
        ),
        bad(
            "item-unknown",
            written(craft.vhdx(items=((locator.replace("a8", "a9"), b"", 4),))),
            "vhdx",
            size,
            "unknown_features",
        ),
        bad("size-0", written(craft.vhdx(size=0)), "vhdx", 0, "bad_header"),
        bad("block-odd", written(craft.vhdx(block=3 * MIB)), "vhdx", size, "bad_header"),
        bad(
            "entry-beyond",
            changed(written(craft.vhdx()), (3 * MIB, le(6 | 9 << 20, 8))),
            "vhdx",
            size,
            "truncated",
        ),
        bad("cut", cut(data, by=MIB), "vhdx", DISK, "truncated"),
    ]
