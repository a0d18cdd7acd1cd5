"""VHD."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, GIB, Entry, bad, good
from tests.formats.workshop import MIB, converted, created, cut, written


def vhd() -> list[Entry]:
    rounded, disk = 10514432, bytes(2 * MIB)
    force = "force_size=on"
    fixed = disk + craft.vhd_footer(2 * MIB)
    dynamic, data = craft.vhd_dynamic(), converted("vpc")
    diff = craft.vhd_dynamic(kind=4)
    # 1000 cylinders of 2 MiB, by a program whose geometry counts
    odd = craft.patched(craft.vhd_footer(2 * MIB), (28, b"vpc "), (56, b"\x03\xe8\x10\xff"))
    partitioned = craft.mbr((0x83, 8, 4000)).ljust(2 * MIB, b"\0") + craft.vhd_footer(2 * MIB)
    return [
        good("fixed", created("vpc", "10M", "subformat=fixed"), "vhd", rounded, declared="vpc"),
        good("fixed-data", converted("vpc", subformat="fixed"), "vhd", rounded),
        good("fixed-forced", created("vpc", "10M", "subformat=fixed", force), "vhd", DISK),
        good("fixed-by-hand", written(fixed), "vhd", 2 * MIB),
        good("fixed-partitioned", written(partitioned), "vhd", 2 * MIB, declared="vpc"),
        good("dynamic", created("vpc"), "vhd", rounded),
        good("dynamic-data", data, "vhd", rounded, declared="vpc"),
        good("dynamic-forced", created("vpc", "10M", force), "vhd", DISK),
        good("dynamic-200g", created("vpc", "200G"), "vhd", 200 * GIB),
        good("dynamic-by-hand", written(dynamic), "vhd", 4 * MIB),
        bad("differencing", written(diff), "vhd", 4 * MIB, "parent"),
        bad("fixed-as-raw", written(fixed), "vhd", 2 * MIB, "declared_format", declared="raw"),
        bad("raw-as-fixed", written(disk), "raw", 2 * MIB, "declared_format", declared="vhd"),
        bad("fixed-short", written(disk[:MIB] + fixed[-512:]), "vhd", 2 * MIB, "truncated"),
        bad(
            "fixed-geometry",
            written(disk + craft.summed(odd, 64)),
            "vhd",
            1000 * 16 * 255 * 512,
            "bad_header",
        ),
        bad("fixed-long", written(disk + fixed), "vhd", 2 * MIB, "footer_mismatch"),
        bad(
            "fixed-checksum",
            written(craft.patched(fixed, (-400, b"x"))),
            "vhd",
            2 * MIB,
            "bad_header",
        ),
        bad(
            "fixed-at-start",
            written(craft.vhd_footer(2 * MIB) + fixed),
            "vhd",
            2 * MIB,
            "bad_header",
        ),
        bad("kind-7", written(disk + craft.vhd_footer(2 * MIB, 7)), "vhd", 2 * MIB, "bad_header"),
        bad(
            "dynamic-at-end",
            written(disk + craft.vhd_footer(2 * MIB, 3)),
            "vhd",
            2 * MIB,
            "footer_mismatch",
        ),
        bad(
            "checksum",
            written(craft.patched(dynamic, (70, b"x"))),
            "vhd",
            4 * MIB,
            "bad_header",
            "footer_mismatch",
        ),
        bad(
            "header-checksum",
            written(craft.patched(dynamic, (600, b"x"))),
            "vhd",
            4 * MIB,
            "bad_header",
        ),
        bad(
            "footer-differs",
            written(dynamic[:-512] + craft.vhd_footer(8 * MIB, 3)),
            "vhd",
            4 * MIB,
            "footer_mismatch",
        ),
        bad("blocks-few", written(craft.vhd_dynamic(blocks=1)), "vhd", 4 * MIB, "bad_header"),
        bad("block-odd", written(craft.vhd_dynamic(block=3 * MIB)), "vhd", 4 * MIB, "bad_header"),
        bad("block-beyond", written(craft.vhd_dynamic(bat=99)), "vhd", 4 * MIB, "truncated"),
        bad("cut", cut(data, by=512), "vhd", rounded, "truncated"),
    ]
