"""ISO 9660 and UDF volumes."""

from tests.formats import craft
from tests.formats.corpus.entry import Entry, bad, good
from tests.formats.workshop import MIB, changed, cut, sized, volume, written


def volumes() -> list[Entry]:
    plain = volume("genisoimage")
    gpt = ("-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat")
    appended = ("-appended_part_as_gpt", "-append_partition", "2", "0xef", "{}/efi.img")
    hand = craft.iso_primary()
    size = len(hand)
    footer = craft.vhd_footer(size)
    return [
        good("plain", plain, "iso", -1),
        good("joliet", volume("genisoimage", "-J", "-R"), "iso", -1),
        good("bridge", volume("genisoimage", "-udf"), "iso", -1),
        good("xorriso", volume("xorriso"), "iso", -1),
        good("bootable", volume("xorriso", boot=True), "iso", -1),
        good("hybrid-mbr", volume("xorriso", "-partition_offset", "16"), "iso", -1),
        good("hybrid-gpt", volume("xorriso", *gpt, boot=True), "iso", -1),
        good("appended", volume("xorriso", *appended), "iso", -1),
        good("by-hand", written(hand), "iso", size),
        good(
            "hybrid-by-hand",
            written(craft.patched(hand, (0, craft.mbr((0x17, 0, 128))))),
            "iso",
            size,
        ),
        good("udf", sized(8 * MIB, ("mkudffs", "{}")), "udf", 8 * MIB, declared="iso"),
        good(
            "udf-512",
            sized(8 * MIB, ("mkudffs", "-b", "512", "{}")),
            "udf",
            8 * MIB,
            declared="udf",
        ),
        good(
            "udf-4096",
            sized(8 * MIB, ("mkudffs", "-b", "4096", "{}")),
            "udf",
            8 * MIB,
            declared="iso",
        ),
        *_udf_volumes(),
        bad("cut", cut(plain, by=4096), "iso", -1, "truncated"),
        good("byte-orders", written(craft.iso_primary(swapped=999)), "iso", size),
        good(
            "byte-orders-zero",
            written(craft.patched(hand, (32768 + 84, bytes(4)), (32768 + 130, bytes(2)))),
            "iso",
            size,
        ),
        bad(
            "byte-orders-cut",
            cut(written(craft.iso_primary(swapped=9)), by=2048),
            "iso",
            -1,
            "truncated",
        ),
        bad("as-raw", plain, "iso", -1, "declared_format", declared="raw"),
        bad("and-vhd", written(hand + footer), "iso", size + 512, "polyglot"),
        bad("raw-as-iso", written(bytes(MIB)), "raw", MIB, "declared_format", declared="iso"),
    ]


def _udf_volumes() -> list[Entry]:
    """UDF volumes of all sector sizes, whole and cut, and one with a small ISO 9660 part."""
    volumes = {
        f"udf-{size}": sized(8 * MIB, ("mkudffs", "-b", f"{size}", *media, "{}"))
        for size, media in ((512, ("-m", "hd")), (1024, ()), (2048, ()), (4096, ()))
    }
    sequence = b"".join(
        (b"\0" + name + b"\1").ljust(2048, b"\0") for name in (b"BEA01", b"NSR02", b"TEA01")
    )
    descriptors = craft.iso_primary()[32768 : 32768 + 4096] + sequence
    bridge = changed(volumes["udf-2048"], (32768, descriptors))
    once = changed(volumes["udf-2048"], *((at + 184, b"\2") for at in (200704, 8065024)))
    return [
        *(
            bad(f"{name}-{cut_name}", cut(make, to=size), "udf", -1, "truncated", declared="udf")
            for name, make in volumes.items()
            for cut_name, size in (
                *(("half", 4 * MIB), ("most", 7 * MIB)),
                *(("anchor", MIB + 512), ("start", 65536)),
                *(("tail", 8 * MIB - 32768), ("last", 8 * MIB - 512)),
            )
        ),
        good("udf-hd", volumes["udf-512"], "udf", -1, declared="udf"),
        good("udf-1024", volumes["udf-1024"], "udf", -1, declared="udf"),
        good("udf-write-once", once, "udf", -1, declared="udf"),
        good("udf-and-small-iso", bridge, "iso", -1),
        bad("udf-and-small-iso-half", cut(bridge, to=4 * MIB), "iso", -1, "truncated"),
        bad("bridge-half", cut(volume("genisoimage", "-udf"), to=524288), "iso", -1, "truncated"),
    ]
