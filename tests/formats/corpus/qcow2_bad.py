"""qcow2 images that are not."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad
from tests.formats.craft import be, le
from tests.formats.workshop import (
    changed,
    converted,
    created,
    cut,
    overlay,
    with_data_file,
    written,
)


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
            written(craft.with_extension(image, 0x23852875, le(0, 8) + be(64, 8) + be(1 << 50, 8))),
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
        bad(
            "64-pib",
            written(craft.patched(image, (24, be(1 << 56, 8)))),
            "qcow2",
            1 << 56,
            "bad_table",
            "virtual_size",
        ),
        bad("cut-half", cut(data, to=1_000_000), "qcow2", DISK, "truncated"),
        bad("cut-sector", cut(data, by=512), "qcow2", DISK, "truncated"),
        bad("cut-compressed", cut(converted("qcow2", "-c"), by=4096), "qcow2", DISK, "truncated"),
        bad(
            "cut-extended",
            cut(converted("qcow2", extended_l2="on"), by=512),
            "qcow2",
            DISK,
            "truncated",
        ),
        bad("cut-header", cut(plain, to=100), "qcow2", DISK, "truncated"),
        bad("as-raw", data, "qcow2", DISK, "declared_format", declared="raw"),
        bad("as-vmdk", data, "qcow2", DISK, "declared_format", declared="vmdk"),
        bad(
            "backing-as-raw",
            overlay("qcow2"),
            "qcow2",
            DISK,
            "backing_file",
            "declared_format",
            declared="raw",
        ),
        bad("and-iso", written(iso), "qcow2", DISK, "polyglot"),
    ]
