"""qcow2 images that are to be refused."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad
from tests.formats.craft import be, le
from tests.formats.workshop import (
    MIB,
    Recipe,
    changed,
    converted,
    created,
    cut,
    overlay,
    then,
    with_data_file,
    with_raw_data_file,
    written,
)

_DATA = converted("qcow2")
_IMAGE = craft.qcow2()
_ONE_SUBCLUSTER = then(
    created("qcow2", "10M", "extended_l2=on"), ("qemu-io", "-c", "write 62k 2k", "{}")
)

#: Name, offset, new bytes and findings of changes to an image with data.
_CHANGES = [
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
    ("snapshots-at-0", 60, be(3, 4), "bad_table", "internal_snapshots"),
    ("snapshots-odd", 64, be(0x200, 8), "bad_table"),
    ("l1-entry-odd", 0x30000, be(1 << 63 | 0x40200, 8), "bad_table"),
    ("raw-data-bit", 88, be(2, 8), "bad_header"),
    ("luks-without-header", 32, be(2, 4), "bad_header", "encrypted"),
    ("header-of-a-cluster", 100, be(0xFFFF, 4), "bad_header"),
    ("l1-beyond", 40, be(1 << 40, 8), "truncated"),
    ("refcounts-beyond", 48, be(1 << 40, 8), "truncated"),
    ("snapshots-beyond", 60, be(3, 4) + be(1 << 40, 8), "truncated", "internal_snapshots"),
    ("l1-entry-beyond", 0x30000, be(1 << 63 | 1 << 40, 8), "truncated"),
    ("l2-entry-beyond", 0x40000 + 8 * 100, be(1 << 63 | 1 << 40, 8), "truncated"),
]


def qcow2_bad() -> list[Entry]:
    return [
        *_with_other_files(),
        *_changed(),
        *_tables(),
        *_by_hand(),
        *_truncated(),
        *_declared_wrongly(),
    ]


def _bad(name: str, make: Recipe, *checks: str, size: int = DISK, declared: str = "") -> Entry:
    return bad(name, make, "qcow2", size, *checks, declared=declared)


def _with_other_files() -> list[Entry]:
    """Images that refer to other files."""
    return [
        _bad("backing", overlay("qcow2"), "backing_file"),
        _bad("backing-v2", overlay("qcow2", "compat=0.10"), "backing_file"),
        _bad("data-file", with_data_file, "data_file"),
        _bad("data-file-raw", with_raw_data_file, "data_file"),
    ]


def _changed() -> list[Entry]:
    """Images with a single changed field. Offset 24 is the virtual size."""
    return [
        _bad(name, changed(_DATA, (offset, new)), *checks, size=TIB if offset == 24 else DISK)
        for name, offset, new, *checks in _CHANGES
    ]


def _bitmaps(count: int, size: int, start: int, reserved: int = 0) -> bytes:
    return be(count, 4) + be(reserved, 4) + be(size, 8) + be(start, 8)


#: Bodies of the header extension for bitmaps, which QEMU refuses.
_BITMAPS = {
    "none": _bitmaps(0, 32, 0x30000),
    "many": _bitmaps(65536, 32, 0x30000),
    "reserved": _bitmaps(1, 32, 0x30000, reserved=1),
    "empty": _bitmaps(1, 0, 0x30000),
    "huge": _bitmaps(1, 1 << 30, 0x30000),
    "odd": _bitmaps(1, 32, 0x30200),
    "long": _bitmaps(1, 32, 0x30000) + bytes(8),
}


def _tables() -> list[Entry]:
    """Extensions and snapshot tables that QEMU refuses to open."""
    marked = craft.patched(_IMAGE, (88, be(1, 8)))
    snapshots = craft.patched(_IMAGE, (60, be(1, 4) + be(0x40000, 8))) + bytes(36)
    feature_table = be(0x6803F857, 4) + be(384, 4) + bytes(384)
    late = craft.patched(
        marked, (104, feature_table + be(0x23852875, 4) + be(24, 4) + _bitmaps(1, 32, 1 << 50))
    )
    return [
        *(
            _bad(
                f"bitmaps-{name}",
                written(craft.with_extension(marked, 0x23852875, body)),
                "bad_table",
            )
            for name, body in _BITMAPS.items()
        ),
        # The body of this extension begins at byte 512.
        _bad("bitmaps-late", written(late), "truncated"),
        _bad(
            "snapshot-extra",
            written(snapshots + be(2000, 4) + bytes(4096)),
            "bad_table",
            "internal_snapshots",
        ),
        _bad("snapshot-cut", written(snapshots), "truncated", "internal_snapshots"),
        _bad(
            "luks-length",
            written(craft.with_extension(craft.qcow2(crypt=2), 0x0537BE77, bytes(8))),
            "bad_header",
            "encrypted",
        ),
        _bad(
            "luks-unused",
            written(craft.with_extension(_IMAGE, 0x0537BE77, be(0x10000, 8) + be(4096, 8))),
            "bad_header",
        ),
        _bad(
            "last-extension-too-long",
            written(
                craft.with_extension(_IMAGE, 0, bytes(8))[:108] + be(1 << 17, 4) + _IMAGE[112:]
            ),
            "bad_header",
        ),
    ]


def _by_hand() -> list[Entry]:
    """Invalid header extensions and sizes, and an image that is also an ISO volume."""
    bitmaps = le(0, 8) + be(64, 8) + be(1 << 50, 8)
    iso = craft.iso_primary()[32768 : 32768 + 4096]
    return [
        _bad(
            "data-extension-alone",
            written(craft.with_extension(_IMAGE, 0x44415441, b"/etc/shadow")),
            "data_file",
        ),
        _bad(
            "bitmaps-beyond",
            written(craft.with_extension(_IMAGE, 0x23852875, bitmaps)),
            "truncated",
        ),
        _bad(
            "extension-too-long",
            written(craft.patched(_IMAGE, (104, be(0x1234, 4) + be(1 << 31, 4)))),
            "bad_header",
        ),
        _bad(
            "64-pib",
            written(craft.patched(_IMAGE, (24, be(1 << 56, 8)))),
            "bad_table",
            "virtual_size",
            size=1 << 56,
        ),
        _bad("and-iso", written(craft.patched(_IMAGE, (32768, iso))), "polyglot"),
    ]


def _truncated() -> list[Entry]:
    return [
        _bad("cut-half", cut(_DATA, to=1_000_000), "truncated"),
        _bad("cut-sector", cut(_DATA, by=512), "truncated"),
        _bad("cut-compressed", cut(converted("qcow2", "-c"), by=4096), "truncated"),
        _bad("cut-extended", cut(converted("qcow2", extended_l2="on"), by=512), "truncated"),
        _bad("cut-subcluster", cut(_ONE_SUBCLUSTER, by=1024), "truncated"),
        _bad("cut-falloc", cut(converted("qcow2", preallocation="falloc"), by=MIB), "truncated"),
        _bad("cut-full", cut(created("qcow2", "10M", "preallocation=full"), by=MIB), "truncated"),
        _bad("cut-header", cut(created("qcow2"), to=100), "truncated"),
    ]


def _declared_wrongly() -> list[Entry]:
    backing_as_raw = ("backing_file", "declared_format")
    return [
        _bad("as-raw", _DATA, "declared_format", declared="raw"),
        _bad("as-vmdk", _DATA, "declared_format", declared="vmdk"),
        _bad("backing-as-raw", overlay("qcow2"), *backing_as_raw, declared="raw"),
    ]
