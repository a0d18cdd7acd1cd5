"""VDI, ZVHD and ZVHD2."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, GIB, Entry, bad, good
from tests.formats.workshop import MIB, converted, created, cut, written


def vdi() -> list[Entry]:
    data = converted("vdi")
    hand = craft.vdi
    return [
        good("dynamic", created("vdi"), "vdi", DISK),
        good("static", created("vdi", "10M", "static=on"), "vdi", DISK),
        good("data", data, "vdi", DISK),
        good("by-hand", written(hand()), "vdi", 4 * MIB),
        bad("differencing", written(hand(kind=4)), "vdi", 4 * MIB, "parent"),
        bad("undo", written(hand(kind=3)), "vdi", 4 * MIB, "parent"),
        bad("parent", written(hand(parent=b"p" * 16)), "vdi", 4 * MIB, "parent"),
        bad("kind-9", written(hand(kind=9)), "vdi", 4 * MIB, "bad_header"),
        bad("blocks-few", written(hand(blocks=1)), "vdi", 4 * MIB, "bad_header"),
        bad("block-odd", written(hand(block=3 * MIB)), "vdi", 4 * MIB, "bad_header"),
        bad("allocated-many", written(hand(allocated=5)), "vdi", 4 * MIB, "bad_header"),
        bad("entry-beyond", written(hand(allocated=0, entry=3)), "vdi", 4 * MIB, "truncated"),
        bad("cut", cut(data, by=512), "vdi", DISK, "truncated"),
    ]


def zvhd() -> list[Entry]:
    one, two = craft.zvhd(), craft.zvhd(b"z2strm")
    return [
        good("one", written(one), "zvhd", GIB),
        good("two", written(two), "zvhd2", GIB),
        good("text", written(b"stream of words\n" * 96), "raw", 16 * 96),
        bad("no-trailer", written(craft.zvhd(trailer=False)), "zvhd", GIB, "truncated"),
        bad("two-cut", cut(written(two), by=4096), "zvhd2", GIB, "truncated"),
        bad(
            "two-trailer-size",
            written(two[:-4096] + craft.zvhd(b"z2strm", size=2 * GIB)[-4096:]),
            "zvhd2",
            GIB,
            "footer_mismatch",
        ),
        bad("checksum", written(craft.patched(one, (500, b"x"))), "zvhd", GIB, "bad_header"),
        bad("as-vhd", written(one), "zvhd", GIB, "declared_format", declared="vhd"),
        bad("two-as-one", written(two), "zvhd2", GIB, "declared_format", declared="zvhd"),
    ]
