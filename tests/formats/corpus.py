"""The corpus: every image the gate is judged by, and what it must say of each.

``python -m tests.formats.corpus DIRECTORY`` writes the files and ``manifest.json``.
"""

import io
import json
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.formats import craft
from tests.formats.craft import be, le
from tests.formats.workshop import (
    MIB,
    SEED,
    Recipe,
    changed,
    converted,
    created,
    cut,
    overlay,
    packed,
    piece_of,
    sized,
    then,
    volume,
    with_data_file,
    written,
)

GIB, TIB = 1 << 30, 1 << 40
DISK = 10 * MIB


@dataclass(frozen=True)
class Entry:
    """One file: what it is, what the gate must say of it.

    ``declared`` is the disk_format it is uploaded with (its own format if not said),
    ``qemu`` the name qemu-img is told, None when qemu-img cannot read it, ``""`` when it
    is left to probe. ``peer`` is false where qemu-img is known to be wrong or lax.
    """

    name: str
    make: Recipe
    format: str
    virtual_size: int | None
    findings: tuple[str, ...] = ()
    declared: str = ""
    qemu: str | None = None
    accept: bool = False

    @property
    def verdict(self) -> str:
        return "accept" if self.accept else "refuse"


_QEMU = {"qcow": "qcow", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx",
         "vdi": "vdi", "qed": "qed", "raw": "raw", "iso": "raw", "udf": "raw"}  # fmt: skip


def good(name: str, make: Recipe, format_: str, size: int, *notes: str, **more: object) -> Entry:
    more.setdefault("qemu", _QEMU.get(format_))
    return Entry(name, make, format_, size, notes, accept=True, **more)  # type: ignore[arg-type]


def bad(
    name: str, make: Recipe, format_: str, size: int | None, *checks: str, declared: str = ""
) -> Entry:
    return Entry(name, make, format_, size, checks, declared)


def qcow2_good() -> list[Entry]:
    data = converted("qcow2")
    secret = ("--object", "secret,id=k,data=abc")
    luks = ("-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10")
    encrypted = ("qemu-img", "create", "-q", *secret, "-f", "qcow2", *luks, "{}", "10M")
    return [
        good("v2", created("qcow2", "10M", "compat=0.10"), "qcow2", DISK),
        good("v3", created("qcow2"), "qcow2", DISK),
        good("data", data, "qcow2", DISK),
        good("data-v2", converted("qcow2", compat="0.10"), "qcow2", DISK),
        good("zlib", converted("qcow2", "-c"), "qcow2", DISK),
        good("zstd", converted("qcow2", "-c", compression_type="zstd"), "qcow2", DISK),
        good("lazy", converted("qcow2", lazy_refcounts="on"), "qcow2", DISK),
        good("extended-l2", converted("qcow2", extended_l2="on"), "qcow2", DISK),
        good("cluster-512", converted("qcow2", cluster_size="512"), "qcow2", DISK),
        good("cluster-4k", converted("qcow2", cluster_size="4096"), "qcow2", DISK),
        good("cluster-2m", converted("qcow2", cluster_size="2M"), "qcow2", DISK),
        good("metadata", created("qcow2", "10M", "preallocation=metadata"), "qcow2", DISK),
        good("falloc", created("qcow2", "10M", "preallocation=falloc"), "qcow2", DISK),
        good("full", created("qcow2", "10M", "preallocation=full"), "qcow2", DISK),
        good("refcount-1", converted("qcow2", refcount_bits="1"), "qcow2", DISK),
        good("refcount-64", converted("qcow2", refcount_bits="64"), "qcow2", DISK),
        good("odd-size", converted("qcow2", size=DISK + 512), "qcow2", DISK + 512),
        good("one-sector", created("qcow2", "512"), "qcow2", 512),
        good("one-tib", created("qcow2", "1T"), "qcow2", TIB),
        good("grown", then(data, ("qemu-img", "resize", "-q", "{}", "2T")), "qcow2", 2 * TIB),
        good(
            "snapshot",
            then(data, ("qemu-img", "snapshot", "-c", "one", "{}")),
            "qcow2",
            DISK,
            "internal_snapshots",
        ),
        good("bitmap", then(data, ("qemu-img", "bitmap", "--add", "{}", "b")), "qcow2", DISK),
        good("dirty", changed(data, (72, be(1, 8))), "qcow2", DISK, "dirty"),
        good("luks-inside", then(written(b""), encrypted), "qcow2", DISK, "encrypted"),
    ]


def qcow2_bad() -> list[Entry]:
    plain, data = created("qcow2"), converted("qcow2")
    headers = [
        ("cluster-bits-63", 20, be(63, 4), "bad_header"),
        ("cluster-bits-0", 20, be(0, 4), "bad_header"),
        ("cluster-bits-22", 20, be(22, 4), "bad_header"),
        ("version-4", 4, be(4, 4), "bad_header"),
        ("version-0", 4, be(0, 4), "bad_header"),
        ("header-length-8", 100, be(8, 4), "bad_header"),
        ("header-length-huge", 100, be(1 << 30, 4), "bad_header"),
        ("refcount-order-7", 96, be(7, 4), "bad_header"),
        ("crypt-3", 32, be(3, 4), "bad_header"),
        ("aes", 32, be(1, 4), "legacy_encryption"),
        ("unknown-bit-5", 72, be(1 << 5, 8), "unknown_features"),
        ("unknown-bit-63", 72, be(1 << 63, 8), "unknown_features"),
        ("data-bit-alone", 72, be(4, 8), "data_file"),
        ("compression-7", 104, b"\7", "unknown_features"),
        ("compression-bit-alone", 72, be(8, 8), "bad_header"),
        ("corrupt", 72, be(2, 8), "corrupt"),
        ("l1-entries", 36, be(1 << 30, 4), "bad_table"),
        ("l1-too-small", 24, be(TIB, 8), "bad_table"),
        ("l1-misaligned", 40, be(0x30001, 8), "bad_table"),
        ("refcount-clusters", 56, be(1 << 20, 4), "bad_table"),
        ("refcounts-none", 56, be(0, 4), "bad_table"),
        ("snapshots-many", 60, be(70000, 4), "bad_table", "internal_snapshots"),
        ("l1-beyond", 40, be(1 << 40, 8), "truncated"),
        ("refcounts-beyond", 48, be(1 << 40, 8), "truncated"),
        ("snapshots-beyond", 60, be(3, 4) + be(1 << 40, 8), "truncated", "internal_snapshots"),
        ("l1-entry-beyond", 0x30000, be(1 << 63 | 1 << 40, 8), "truncated"),
        ("l2-entry-beyond", 0x40000 + 8 * 100, be(1 << 63 | 1 << 40, 8), "truncated"),
    ]
    image = craft.qcow2()
    iso = craft.patched(image, (32768, craft.iso_primary()[32768 : 32768 + 4096]))
    return [
        bad("backing", overlay("qcow2"), "qcow2", DISK, "backing_file"),
        bad("backing-v2", overlay("qcow2", "compat=0.10"), "qcow2", DISK, "backing_file"),
        bad("data-file", with_data_file, "qcow2", DISK, "data_file"),
        *(
            bad(name, changed(data, (at, new)), "qcow2", TIB if at == 24 else DISK, *checks)
            for name, at, new, *checks in headers
        ),
        bad(
            "data-extension-alone",
            written(craft.with_extension(image, 0x44415441, b"/etc/shadow")),
            "qcow2",
            DISK,
            "data_file",
        ),
        bad(
            "bitmaps-beyond",
            written(
                craft.with_extension(image, 0x23852875, le(0, 8) + be(64, 8) + be(1 << 50, 8))
            ),
            "qcow2",
            DISK,
            "truncated",
        ),
        bad(
            "extension-too-long",
            written(craft.patched(image, (104, be(0x1234, 4) + be(1 << 31, 4)))),
            "qcow2",
            DISK,
            "bad_header",
        ),
        bad("64-pib", written(craft.patched(image, (24, be(1 << 56, 8)))), "qcow2", 1 << 56,
            "bad_table", "virtual_size"),  # fmt: skip
        bad("cut-half", cut(data, to=1_000_000), "qcow2", DISK, "truncated"),
        bad("cut-sector", cut(data, by=512), "qcow2", DISK, "truncated"),
        bad("cut-compressed", cut(converted("qcow2", "-c"), by=4096), "qcow2", DISK, "truncated"),
        bad("cut-extended", cut(converted("qcow2", extended_l2="on"), by=512), "qcow2", DISK,
            "truncated"),  # fmt: skip
        bad("cut-header", cut(plain, to=100), "qcow2", DISK, "truncated"),
        bad("as-raw", data, "qcow2", DISK, "declared_format", declared="raw"),
        bad("as-vmdk", data, "qcow2", DISK, "declared_format", declared="vmdk"),
        bad("backing-as-raw", overlay("qcow2"), "qcow2", DISK, "backing_file", "declared_format",
            declared="raw"),  # fmt: skip
        bad("and-iso", written(iso), "qcow2", DISK, "polyglot"),
    ]


def old_qemu() -> list[Entry]:
    qcow, qed = converted("qcow"), converted("qed")
    hand = craft.qed()
    return [
        good("v1", created("qcow"), "qcow", DISK),
        good("v1-data", qcow, "qcow", DISK),
        good("v1-odd-size", converted("qcow", size=DISK + 512), "qcow", DISK + 512),
        bad("v1-backing", overlay("qcow"), "qcow", DISK, "backing_file"),
        bad("v1-cluster-bits", changed(qcow, (32, b"\x40")), "qcow", DISK, "bad_header"),
        bad("v1-aes", changed(qcow, (36, be(1, 4))), "qcow", DISK, "legacy_encryption"),
        bad("v1-cut", cut(qcow, by=512), "qcow", DISK, "truncated"),
        good("empty", created("qed"), "qed", DISK),
        good("data", qed, "qed", DISK),
        good("needs-check", changed(qed, (16, le(2, 8))), "qed", DISK, "dirty"),
        good("by-hand", written(hand), "qed", DISK),
        bad("backing", overlay("qed"), "qed", DISK, "backing_file"),
        bad("features", changed(qed, (16, le(8, 8))), "qed", DISK, "unknown_features"),
        bad("cluster", changed(qed, (4, le(3, 4))), "qed", DISK, "bad_header"),
        bad("tables", written(craft.qed(table=64)), "qed", DISK, "bad_header"),
        bad("cut", cut(qed, by=512), "qed", DISK, "truncated"),
    ]


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
        good("read-only-extent", written(craft.vmdk(text(extents='RDONLY 2048 SPARSE "a b.vmdk"'))),
             "vmdk", MIB),  # fmt: skip
        bad("flat", piece_of("subformat=monolithicFlat"), "vmdk", DISK, "extent_outside"),
        bad("split-sparse", piece_of("subformat=twoGbMaxExtentSparse"), "vmdk", DISK,
            "extent_outside"),  # fmt: skip
        bad("split-flat", piece_of("subformat=twoGbMaxExtentFlat"), "vmdk", DISK, "extent_outside"),
        bad("split-piece", piece_of("subformat=twoGbMaxExtentSparse", piece="-s001"), "vmdk", DISK,
            "bad_descriptor"),  # fmt: skip
        bad("vmfs", written(text("vmfs", 'RW 2048 VMFS "disk-flat.vmdk"')), "vmdk", MIB,
            "extent_outside"),  # fmt: skip
        bad("device", written(text("fullDevice", 'RW 2048 FLAT "/dev/sda" 0')), "vmdk", MIB,
            "extent_outside"),  # fmt: skip
        bad("descriptor-nul", written(text("monolithicFlat", 'RW 2048 FLAT "/etc/hosts" 0') + b"\0"),
            "vmdk", MIB, "extent_outside", "declared_format", declared="raw"),  # fmt: skip
        bad("descriptor-padded", written(text("monolithicFlat", 'RW 2048 FLAT "x" 0').ljust(512)),
            "vmdk", MIB, "extent_outside"),  # fmt: skip
        bad("descriptor-comment",
            written(b'# hi\n \nversion=1\nCID=1\ncreateType="vmfs"\nRW 2048 VMFS "x"\n'),
            "vmdk", MIB, "extent_outside", "declared_format", declared="raw"),  # fmt: skip
        bad("parent-hint", written(craft.vmdk(text(more='parentFileNameHint="/etc/hosts"'))),
            "vmdk", MIB, "parent"),  # fmt: skip
        bad("parent-comment", written(craft.vmdk(text(more='# parentFileNameHint="base.vmdk"'))),
            "vmdk", MIB, "parent"),  # fmt: skip
        bad("parent-cid", written(craft.vmdk(text(parent="deadbeef"))), "vmdk", MIB, "parent"),
        bad("backing", overlay("vmdk"), "vmdk", DISK, "parent"),
        bad("parent-hidden", written(craft.patched(
            craft.vmdk(b'# parentFileNameHint="/x"\n', descriptor_at=60, descriptor_size=4),
            (60 * 512, text()))), "vmdk", MIB, "parent"),  # fmt: skip
        bad("extent-path", written(craft.vmdk(text(extents='RW 2048 SPARSE "/etc/hosts"'))),
            "vmdk", MIB, "extent_outside"),  # fmt: skip
        bad("extent-two", written(craft.vmdk(text(extents='RW 9 SPARSE "a"\nRW 9 SPARSE "b"'))),
            "vmdk", MIB, "extent_outside"),  # fmt: skip
        bad("extent-flat", written(craft.vmdk(text(extents='RW 2048 FLAT "x" 0'))), "vmdk", MIB,
            "extent_outside"),  # fmt: skip
        bad("extent-none", written(craft.vmdk(text(extents=""))), "vmdk", MIB, "bad_descriptor"),
        bad("sparse-vmfs", written(craft.vmdk(text("vmfs"))), "vmdk", MIB, "extent_outside"),
        bad("capacity-0", written(craft.vmdk(text("monolithicFlat"), capacity=0)), "vmdk", 0,
            "bad_header", "extent_outside"),  # fmt: skip
        bad("no-descriptor", written(craft.vmdk(b"", descriptor_at=0)), "vmdk", MIB,
            "bad_descriptor"),  # fmt: skip
        bad("long-descriptor", written(craft.vmdk(text(), descriptor_size=1 << 40)), "vmdk", MIB,
            "bad_descriptor"),  # fmt: skip
        bad("grain-huge", written(craft.vmdk(text(), grain=1 << 40)), "vmdk", MIB, "bad_header"),
        bad("text-mode", written(craft.patched(whole, (73, b"\n  \n"))), "vmdk", MIB, "bad_header"),
        bad("directory-beyond", written(craft.vmdk(text(), directory=1 << 40)), "vmdk", MIB,
            "truncated"),  # fmt: skip
        bad("cut", cut(converted("vmdk"), by=512), "vmdk", DISK, "truncated"),
        bad("cut-stream", cut(stream, by=64 * 1024), "vmdk", DISK, "truncated"),
        bad("no-footer", written(craft.vmdk_stream(footer=False)), "vmdk", MIB, "truncated"),
        bad("footer-cut", cut(written(craft.vmdk_stream()), by=512), "vmdk", MIB, "truncated"),
        bad("footer-capacity", written(craft.patched(craft.vmdk_stream(), (-1024 + 12, le(999, 8)))),
            "vmdk", MIB, "footer_mismatch"),  # fmt: skip
        bad("footer-descriptor", written(craft.patched(craft.vmdk_stream(), (-1024 + 28, le(7, 8)))),
            "vmdk", MIB, "footer_mismatch"),  # fmt: skip
        bad("cowd", written((b"COWD" + le(1, 4) * 2 + le(2048, 4)).ljust(65536, b"\0")), "vmdk",
            MIB, "extent_outside"),  # fmt: skip
        bad("sesparse", written((le(0xCAFEBABE, 8) + le(0x200000001, 8) + le(2048, 8)).ljust(
            65536, b"\0")), "vmdk", MIB, "extent_outside"),  # fmt: skip
        bad("and-iso", written(craft.patched(craft.vmdk(text()),
            (32768, craft.iso_primary()[32768:36864]))), "vmdk", MIB, "polyglot"),  # fmt: skip
    ]


def vhd() -> list[Entry]:
    rounded, disk = 10514432, bytes(2 * MIB)
    force = "force_size=on"
    fixed = disk + craft.vhd_footer(2 * MIB)
    dynamic, data = craft.vhd_dynamic(), converted("vpc")
    diff = craft.vhd_dynamic(kind=4)
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
        good("dynamic-by-hand", written(dynamic), "vhd", 4 * MIB),
        bad("differencing", written(diff), "vhd", 4 * MIB, "parent"),
        bad("fixed-as-raw", written(fixed), "vhd", 2 * MIB, "declared_format", declared="raw"),
        bad("raw-as-fixed", written(disk), "raw", 2 * MIB, "declared_format", declared="vhd"),
        bad("fixed-short", written(disk[:MIB] + fixed[-512:]), "vhd", 2 * MIB, "truncated"),
        bad("fixed-long", written(disk + fixed), "vhd", 2 * MIB, "footer_mismatch"),
        bad("fixed-checksum", written(craft.patched(fixed, (-400, b"x"))), "vhd", 2 * MIB,
            "bad_header"),  # fmt: skip
        bad("fixed-at-start", written(craft.vhd_footer(2 * MIB) + fixed), "vhd", 2 * MIB,
            "bad_header"),  # fmt: skip
        bad("kind-7", written(disk + craft.vhd_footer(2 * MIB, 7)), "vhd", 2 * MIB, "bad_header"),
        bad("dynamic-at-end", written(disk + craft.vhd_footer(2 * MIB, 3)), "vhd", 2 * MIB,
            "footer_mismatch"),  # fmt: skip
        bad("checksum", written(craft.patched(dynamic, (70, b"x"))), "vhd", 4 * MIB, "bad_header",
            "footer_mismatch"),  # fmt: skip
        bad("header-checksum", written(craft.patched(dynamic, (600, b"x"))), "vhd", 4 * MIB,
            "bad_header"),  # fmt: skip
        bad("footer-differs", written(dynamic[:-512] + craft.vhd_footer(8 * MIB, 3)), "vhd",
            4 * MIB, "footer_mismatch"),  # fmt: skip
        bad("blocks-few", written(craft.vhd_dynamic(blocks=1)), "vhd", 4 * MIB, "bad_header"),
        bad("block-odd", written(craft.vhd_dynamic(block=3 * MIB)), "vhd", 4 * MIB, "bad_header"),
        bad("block-beyond", written(craft.vhd_dynamic(bat=99)), "vhd", 4 * MIB, "truncated"),
        bad("cut", cut(data, by=512), "vhd", rounded, "truncated"),
    ]


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
        bad("parent-locator", written(craft.vhdx(items=((locator, bytes(20), 4),))), "vhdx", size,
            "parent"),  # fmt: skip
        bad("log", written(craft.vhdx(log_id=b"L" * 16)), "vhdx", size, "dirty_log"),
        bad("version", written(craft.vhdx(version=2)), "vhdx", None, "bad_header"),
        bad("headers", changed(data, (65536, b"dead"), (131072, b"dead")), "vhdx", None,
            "bad_header"),  # fmt: skip
        bad("header-checksums", changed(data, (65600, b"x"), (131136, b"x")), "vhdx", None,
            "bad_header"),  # fmt: skip
        bad("region-tables", written(craft.vhdx(second_table=bytes(65536))), "vhdx", size,
            "footer_mismatch"),  # fmt: skip
        bad("region-unknown", written(craft.vhdx(regions=((locator, 3 * MIB),))), "vhdx", size,
            "unknown_features"),  # fmt: skip
        bad("region-beyond", changed(data, (196608 + 32, le(1 << 40, 8)), (262144 + 32, le(1 << 40, 8))),
            "vhdx", DISK, "truncated"),  # fmt: skip
        bad("item-unknown", written(craft.vhdx(items=((locator.replace("a8", "a9"), b"", 4),))),
            "vhdx", size, "unknown_features"),  # fmt: skip
        bad("size-0", written(craft.vhdx(size=0)), "vhdx", 0, "bad_header"),
        bad("block-odd", written(craft.vhdx(block=3 * MIB)), "vhdx", size, "bad_header"),
        bad("entry-beyond", changed(written(craft.vhdx()), (3 * MIB, le(6 | 9 << 20, 8))), "vhdx",
            size, "truncated"),  # fmt: skip
        bad("cut", cut(data, by=MIB), "vhdx", DISK, "truncated"),
    ]


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
        good("text", written(b"stream of words\n" * 99), "raw", 16 * 99),
        bad("no-trailer", written(craft.zvhd(trailer=False)), "zvhd", GIB, "truncated"),
        bad("two-cut", cut(written(two), by=4096), "zvhd2", GIB, "truncated"),
        bad("two-trailer-size", written(two[:-4096] + craft.zvhd(b"z2strm", size=2 * GIB)[-4096:]),
            "zvhd2", GIB, "footer_mismatch"),  # fmt: skip
        bad("checksum", written(craft.patched(one, (500, b"x"))), "zvhd", GIB, "bad_header"),
        bad("as-vhd", written(one), "zvhd", GIB, "declared_format", declared="vhd"),
        bad("two-as-one", written(two), "zvhd2", GIB, "declared_format", declared="zvhd"),
    ]


def volumes() -> list[Entry]:
    plain = volume("genisoimage")
    mbr = ("-isohybrid-mbr", "{}/mbr.bin")
    gpt = ("-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat")
    appended = ("-appended_part_as_gpt", "-append_partition", "2", "0xef", "{}/efi.img")
    hand = craft.iso_primary()
    size = len(hand)
    footer = craft.vhd_footer(size)
    del mbr
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
        good("hybrid-by-hand", written(craft.patched(hand, (0, craft.mbr((0x17, 0, 128))))),
             "iso", size),  # fmt: skip
        good("udf", sized(8 * MIB, ("mkudffs", "{}")), "udf", 8 * MIB, declared="iso"),
        good("udf-512", sized(8 * MIB, ("mkudffs", "-b", "512", "{}")), "udf", 8 * MIB,
             declared="udf"),  # fmt: skip
        good("udf-4096", sized(8 * MIB, ("mkudffs", "-b", "4096", "{}")), "udf", 8 * MIB,
             declared="iso"),  # fmt: skip
        bad("cut", cut(plain, by=4096), "iso", -1, "truncated"),
        bad("byte-orders", written(craft.iso_primary(swapped=999)), "iso", size, "bad_header"),
        bad("as-raw", plain, "iso", -1, "declared_format", declared="raw"),
        bad("and-vhd", written(hand + footer), "iso", size + 512, "polyglot"),
        bad("raw-as-iso", written(bytes(MIB)), "raw", MIB, "declared_format", declared="iso"),
    ]


def disks() -> list[Entry]:
    gpt = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "{}"))
    hybrid = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "-h", "1", "{}"))
    mbr = written(craft.mbr((0x83, 8, 4000)).ljust(2 * MIB, b"\0"))
    sfdisk = sized(4 * MIB, ("sh", "-c", "echo 2048,4096,83 | sfdisk -q {}"))
    secret = ("--object", "secret,id=k,data=abc")
    luks = ("qemu-img", "create", "-q", *secret, "-f", "luks",
            "-o", "key-secret=k,iter-time=10", "{}", "4M")  # fmt: skip
    luks_2 = ("sh", "-c", "printf abc | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 "
              "--pbkdf-force-iterations 1000 {} -")  # fmt: skip
    return [
        good("zeros", written(bytes(MIB)), "raw", MIB),
        good("random", written(SEED), "raw", len(SEED)),
        good("nothing", written(b""), "raw", 0),
        good("one-byte", written(b"x"), "raw", 1),
        good("as-ami", written(SEED), "raw", len(SEED), declared="ami"),
        good("ext4", sized(4 * MIB, ("mkfs.ext4", "-q", "-F", "{}")), "raw", 4 * MIB),
        good("fat", sized(4 * MIB, ("mkfs.vfat", "{}")), "raw", 4 * MIB),
        good("fat32", sized(40 * MIB, ("mkfs.vfat", "-F", "32", "{}")), "raw", 40 * MIB),
        good("ntfs", sized(4 * MIB, ("mkntfs", "-q", "-F", "-f", "{}")), "raw", 4 * MIB),
        good("mbr", mbr, "raw", 2 * MIB),
        good("mbr-sfdisk", sfdisk, "raw", 4 * MIB),
        good("mbr-empty", written(craft.mbr().ljust(MIB, b"\0")), "raw", MIB),
        good("gpt", gpt, "raw", 4 * MIB),
        good("gpt-as-gpt", gpt, "raw", 4 * MIB, declared="gpt"),
        good("gpt-hybrid", hybrid, "raw", 4 * MIB),
        good("luks1", then(written(b""), luks), "luks", 4 * MIB, qemu="luks"),
        good("luks2", sized(20 * MIB, luks_2), "luks", 4 * MIB),
        good("kernel", written(b"\x7fELF" + SEED[:999]), "elf", None, declared="aki"),
        good("ramdisk", packed("gzip"), "gzip", None, declared="ari"),
        bad("mbr-cut", cut(mbr, to=MIB), "raw", MIB, "truncated"),
        bad("gpt-cut", cut(gpt, to=2 * MIB), "raw", 2 * MIB, "truncated"),
        bad("gpt-hybrid-cut", cut(hybrid, to=2 * MIB), "raw", 2 * MIB, "truncated"),
        bad("luks-version", written((b"LUKS\xba\xbe" + be(9, 2)).ljust(MIB, b"\0")), "luks", None,
            "bad_header"),  # fmt: skip
        bad("luks-cut", cut(then(written(b""), luks), to=4096), "luks", 0, "truncated"),
        bad("raw-as-qcow2", written(SEED), "raw", len(SEED), "declared_format", declared="qcow2"),
        bad("ext4-as-vdi", sized(4 * MIB, ("mkfs.ext4", "-q", "-F", "{}")), "raw", 4 * MIB,
            "declared_format", declared="vdi"),  # fmt: skip
    ]


def payloads() -> list[Entry]:
    tar, ova, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    for buffer, name in ((tar, "disk.raw"), (ova, "vm.ovf")):
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
            member = tarfile.TarInfo(name)
            member.size = 1000
            file.addfile(member, io.BytesIO(bytes(1000)))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("disk.raw", bytes(1000))
    plain = {
        "tar": tar.getvalue(),
        "ova": ova.getvalue(),
        "zip": archive.getvalue(),
        "7z": b"7z\xbc\xaf\x27\x1c\0\4".ljust(999, b"\0"),
        "rar": b"Rar!\x1a\7\1\0".ljust(999, b"\0"),
        "lz4": b"\4\"M\x18".ljust(999, b"\0"),
        "cpio": b"070701".ljust(999, b"0"),
    }
    programs = {
        "elf": b"\x7fELF\2\1\1".ljust(9999, b"\0"),
        "mach-o": b"\xcf\xfa\xed\xfe".ljust(9999, b"\0"),
        "bochs": b"Bochs Virtual HD Image\0".ljust(9999, b"\0"),
        "cloop": b"#!/bin/sh\n#V2.0 Format\n".ljust(9999, b"\0"),
    }
    image = craft.qcow2(backing=0x200)
    return [
        *(
            bad(tool, packed(tool), name, None, "payload", "declared_format", declared="raw")
            for tool, name in (("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz"), ("zstd", "zstd"))
        ),
        bad("bomb", packed("gzip", data=bytes(MIB)), "gzip", None, "payload", "declared_format",
            declared="qcow2"),  # fmt: skip
        bad("qcow2-in-gzip", packed("gzip", data=image), "gzip", None, "payload",
            "declared_format", declared="qcow2"),  # fmt: skip
        *(
            bad(name, written(data), name, None, "payload", "declared_format", declared="raw")
            for name, data in plain.items()
        ),
        *(
            bad(name, written(data), name, None, "format", "declared_format", declared="raw")
            for name, data in programs.items()
        ),
        bad("parallels", created("parallels"), "parallels", None, "format", declared="ploop"),
    ]


def entries() -> list[Entry]:
    """All of them, named ``family/name``."""
    families = {
        "qcow2": qcow2_good() + qcow2_bad(),
        "qemu": old_qemu(),
        "vmdk": vmdk(),
        "vhd": vhd(),
        "vhdx": vhdx(),
        "vdi": vdi(),
        "zvhd": zvhd(),
        "iso": volumes(),
        "raw": disks(),
        "other": payloads(),
    }
    return [
        Entry(**{**vars(entry), "name": f"{family}-{entry.name}"})
        for family, members in families.items()
        for entry in members
    ]


def manifest_row(entry: Entry, path: Path) -> dict[str, object]:
    """What the manifest says of one file that was made."""
    size = path.stat().st_size if entry.virtual_size == -1 else entry.virtual_size
    return {
        "file": path.name,
        "format": entry.format,
        "virtual_size": size,
        "disk_format": entry.declared or entry.format,
        "verdict": entry.verdict,
        "findings": sorted(entry.findings),
    }


def main(directory: str) -> None:
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for entry in entries():
        path = folder / entry.name
        entry.make(path)
        rows.append(manifest_row(entry, path))
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
