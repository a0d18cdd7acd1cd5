"""VMDK, and descriptors that are not whole disks."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad, good
from tests.formats.craft import le
from tests.formats.workshop import MIB, converted, created, cut, overlay, piece_of, written


def vmdk() -> list[Entry]:
    text = craft.descriptor
    whole = craft.vmdk(text())
    stream = converted("vmdk", subformat="streamOptimized")
    return [
        good("empty", created("vmdk"), "vmdk", DISK),
        good("data", converted("vmdk"), "vmdk", DISK),
        good("one-tib", created("vmdk", "1T"), "vmdk", TIB),
        good("zeroed-grain", created("vmdk", "10M", "zeroed_grain=on"), "vmdk", DISK),
        good("compat6", created("vmdk", "10M", "compat6=on"), "vmdk", DISK),
        good("stream", stream, "vmdk", DISK),
        good("stream-footer", written(craft.vmdk_stream()), "vmdk", MIB),
        good("by-hand", written(whole), "vmdk", MIB),
        good(
            "read-only-extent",
            written(craft.vmdk(text(extents='RDONLY 2048 SPARSE "a b.vmdk"'))),
            "vmdk",
            MIB,
        ),
        bad("flat", piece_of("subformat=monolithicFlat"), "vmdk", DISK, "extent_outside"),
        bad(
            "split-sparse",
            piece_of("subformat=twoGbMaxExtentSparse"),
            "vmdk",
            DISK,
            "extent_outside",
        ),
        bad("split-flat", piece_of("subformat=twoGbMaxExtentFlat"), "vmdk", DISK, "extent_outside"),
        bad(
            "split-piece",
            piece_of("subformat=twoGbMaxExtentSparse", piece="-s001"),
            "vmdk",
            DISK,
            "bad_descriptor",
        ),
        bad(
            "vmfs",
            written(text("vmfs", 'RW 2048 VMFS "disk-flat.vmdk"')),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "device",
            written(text("fullDevice", 'RW 2048 FLAT "/dev/sda" 0')),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "descriptor-nul",
            written(text("monolithicFlat", 'RW 2048 FLAT "/etc/hosts" 0') + b"\0"),
            "vmdk",
            MIB,
            "extent_outside",
            "declared_format",
            declared="raw",
        ),
        bad(
            "descriptor-padded",
            written(text("monolithicFlat", 'RW 2048 FLAT "x" 0').ljust(512)),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "descriptor-comment",
            written(b'# hi\n \nversion=1\nCID=1\ncreateType="vmfs"\nRW 2048 VMFS "x"\n'),
            "vmdk",
            MIB,
            "extent_outside",
            "declared_format",
            declared="raw",
        ),
        bad(
            "parent-hint",
            written(craft.vmdk(text(more='parentFileNameHint="/etc/hosts"'))),
            "vmdk",
            MIB,
            "parent",
        ),
        bad(
            "parent-comment",
            written(craft.vmdk(text(more='# parentFileNameHint="base.vmdk"'))),
            "vmdk",
            MIB,
            "parent",
        ),
        bad("parent-cid", written(craft.vmdk(text(parent="deadbeef"))), "vmdk", MIB, "parent"),
        bad("backing", overlay("vmdk"), "vmdk", DISK, "parent"),
        bad(
            "parent-hidden",
            written(
                craft.patched(
                    craft.vmdk(b'# parentFileNameHint="/x"\n', descriptor_at=60, descriptor_size=4),
                    (60 * 512, text()),
                )
            ),
            "vmdk",
            MIB,
            "parent",
        ),
        bad(
            "extent-path",
            written(craft.vmdk(text(extents='RW 2048 SPARSE "/etc/hosts"'))),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "extent-two",
            written(craft.vmdk(text(extents='RW 9 SPARSE "a"\nRW 9 SPARSE "b"'))),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "extent-flat",
            written(craft.vmdk(text(extents='RW 2048 FLAT "x" 0'))),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad("extent-none", written(craft.vmdk(text(extents=""))), "vmdk", MIB, "bad_descriptor"),
        bad("sparse-vmfs", written(craft.vmdk(text("vmfs"))), "vmdk", MIB, "extent_outside"),
        bad(
            "capacity-0",
            written(craft.vmdk(text("monolithicFlat"), capacity=0)),
            "vmdk",
            0,
            "bad_header",
            "extent_outside",
        ),
        bad(
            "no-descriptor",
            written(craft.vmdk(b"", descriptor_at=0)),
            "vmdk",
            MIB,
            "bad_descriptor",
        ),
        bad(
            "long-descriptor",
            written(craft.vmdk(text(), descriptor_size=1 << 40)),
            "vmdk",
            MIB,
            "bad_descriptor",
        ),
        bad("grain-huge", written(craft.vmdk(text(), grain=1 << 40)), "vmdk", MIB, "bad_header"),
        bad("text-mode", written(craft.patched(whole, (73, b"\n  \n"))), "vmdk", MIB, "bad_header"),
        bad(
            "directory-beyond",
            written(craft.vmdk(text(), directory=1 << 40)),
            "vmdk",
            MIB,
            "truncated",
        ),
        bad("cut", cut(converted("vmdk"), by=512), "vmdk", DISK, "truncated"),
        bad("cut-stream", cut(stream, by=64 * 1024), "vmdk", DISK, "truncated"),
        bad("no-footer", written(craft.vmdk_stream(footer=False)), "vmdk", MIB, "truncated"),
        bad("footer-cut", cut(written(craft.vmdk_stream()), by=512), "vmdk", MIB, "truncated"),
        bad(
            "footer-capacity",
            written(craft.patched(craft.vmdk_stream(), (-1024 + 12, le(999, 8)))),
            "vmdk",
            MIB,
            "footer_mismatch",
        ),
        bad(
            "footer-descriptor",
            written(craft.patched(craft.vmdk_stream(), (-1024 + 28, le(7, 8)))),
            "vmdk",
            MIB,
            "footer_mismatch",
        ),
        bad(
            "cowd",
            written((b"COWD" + le(1, 4) * 2 + le(2048, 4)).ljust(65536, b"\0")),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "sesparse",
            written((le(0xCAFEBABE, 8) + le(0x200000001, 8) + le(2048, 8)).ljust(65536, b"\0")),
            "vmdk",
            MIB,
            "extent_outside",
        ),
        bad(
            "and-iso",
            written(craft.patched(craft.vmdk(text()), (32768, craft.iso_primary()[32768:36864]))),
            "vmdk",
            MIB,
            "polyglot",
        ),
    ]
