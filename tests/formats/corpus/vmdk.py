"""VMDK: whole disks, parts of disks, and descriptors."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, TIB, Entry, bad, good
from tests.formats.craft import descriptor, le
from tests.formats.workshop import MIB, Recipe, converted, created, cut, overlay, piece_of, written

_STREAM = converted("vmdk", subformat="streamOptimized")


#: File names of the only extent; programs do not read them from this kind of VMDK.
_FILE_NAMES = {
    "empty": '""',
    "path": '"/etc/hosts"',
    "windows": '"C:\\vm\\disk.vmdk"',
    "url": '"ds:///vmfs/volumes/1/disk.vmdk"',
    "odd": '"a;b (1) \u00e4\u20ac\\"quoted\\".vmdk"',
    "bare": "disk.vmdk",
    "missing": "",
}


def vmdk() -> list[Entry]:
    return [
        *_accepted(),
        *_extent_names(),
        *_in_other_files(),
        *_esx_extents(),
        *_with_parent(),
        *_with_bad_descriptor(),
        *_damaged(),
    ]


def _good(name: str, make: Recipe, *, size: int = MIB) -> Entry:
    return good(name, make, "vmdk", size)


def _bad(name: str, make: Recipe, *checks: str, size: int = MIB, declared: str = "") -> Entry:
    return bad(name, make, "vmdk", size, *checks, declared=declared)


def _accepted() -> list[Entry]:
    """Whole disks in one file."""
    return [
        _good("empty", created("vmdk"), size=DISK),
        _good("data", converted("vmdk"), size=DISK),
        _good("one-tib", created("vmdk", "1T"), size=TIB),
        _good("zeroed-grain", created("vmdk", "10M", "zeroed_grain=on"), size=DISK),
        _good("compat6", created("vmdk", "10M", "compat6=on"), size=DISK),
        _good("stream", _STREAM, size=DISK),
        _good("stream-footer", written(craft.vmdk_stream())),
        _good("by-hand", written(craft.vmdk(descriptor()))),
        _good(
            "read-only-extent",
            written(craft.vmdk(descriptor(extents='RDONLY 2048 SPARSE "a b.vmdk"'))),
        ),
    ]


def _extent_names() -> list[Entry]:
    """Disks whose extent has an odd file name, or a size that is not rounded to a grain."""
    named = {
        name: craft.vmdk(descriptor(extents=f"RW 2048 SPARSE {text}".rstrip()))
        for name, text in _FILE_NAMES.items()
    }
    stream = craft.vmdk_stream().replace(b'"disk.vmdk"', b'""         ')
    return [
        *(_good(f"name-{name}", written(data)) for name, data in named.items()),
        _good("name-empty-stream", written(stream)),
        _good(
            "extent-not-rounded",
            written(craft.vmdk(descriptor(extents='RW 2000 SPARSE "disk.vmdk"'))),
        ),
        good(
            "unclean",
            written(craft.patched(craft.vmdk(descriptor()), (72, b"\1"))),
            "vmdk",
            MIB,
            "dirty",
        ),
    ]


def _in_other_files() -> list[Entry]:
    """Descriptors and parts of disks, whose data is in other files."""
    return [
        _bad("flat", piece_of("subformat=monolithicFlat"), "extent_outside", size=DISK),
        _bad(
            "split-sparse", piece_of("subformat=twoGbMaxExtentSparse"), "extent_outside", size=DISK
        ),
        _bad("split-flat", piece_of("subformat=twoGbMaxExtentFlat"), "extent_outside", size=DISK),
        _bad(
            "split-piece",
            piece_of("subformat=twoGbMaxExtentSparse", piece="-s001"),
            "bad_descriptor",
            size=DISK,
        ),
        _bad(
            "vmfs", written(descriptor("vmfs", 'RW 2048 VMFS "disk-flat.vmdk"')), "extent_outside"
        ),
        _bad(
            "device",
            written(descriptor("fullDevice", 'RW 2048 FLAT "/dev/sda" 0')),
            "extent_outside",
        ),
        _bad(
            "descriptor-nul",
            written(descriptor("monolithicFlat", 'RW 2048 FLAT "/etc/hosts" 0') + b"\0"),
            "extent_outside",
            "declared_format",
            declared="raw",
        ),
        _bad(
            "descriptor-padded",
            written(descriptor("monolithicFlat", 'RW 2048 FLAT "x" 0').ljust(512)),
            "extent_outside",
        ),
        _bad(
            "descriptor-comment",
            written(b'# hi\n \nversion=1\nCID=1\ncreateType="vmfs"\nRW 2048 VMFS "x"\n'),
            "extent_outside",
            "declared_format",
            declared="raw",
        ),
    ]


def _esx_extents() -> list[Entry]:
    """Extents of ESX, whose descriptor is in another file."""
    return [
        _bad(
            "cowd",
            written((b"COWD" + le(1, 4) * 2 + le(2048, 4)).ljust(65536, b"\0")),
            "extent_outside",
        ),
        _bad(
            "sesparse",
            written((le(0xCAFEBABE, 8) + le(0x200000001, 8) + le(2048, 8)).ljust(65536, b"\0")),
            "extent_outside",
        ),
    ]


def _with_parent() -> list[Entry]:
    """Differencing disks."""
    return [
        _bad(
            "parent-hint",
            written(craft.vmdk(descriptor(more='parentFileNameHint="/etc/hosts"'))),
            "parent",
        ),
        _bad(
            "parent-comment",
            written(craft.vmdk(descriptor(more='# parentFileNameHint="base.vmdk"'))),
            "parent",
        ),
        _bad("parent-cid", written(craft.vmdk(descriptor(parent="deadbeef"))), "parent"),
        _bad("backing", overlay("vmdk"), "parent", size=DISK),
        _bad(
            "parent-hidden",
            written(
                craft.patched(
                    craft.vmdk(b'# parentFileNameHint="/x"\n', descriptor_at=60, descriptor_size=4),
                    (60 * 512, descriptor()),
                )
            ),
            "parent",
        ),
    ]


def _with_bad_descriptor() -> list[Entry]:
    """Sparse files whose descriptor is invalid or refers to other files."""
    return [
        _bad(
            "extent-size",
            written(craft.vmdk(descriptor(extents='RW 1024 SPARSE "disk.vmdk"'))),
            "bad_descriptor",
        ),
        _bad(
            "extent-huge",
            written(craft.vmdk(descriptor(extents='RW 4294967296 SPARSE "disk.vmdk"'))),
            "bad_descriptor",
        ),
        _bad(
            "extent-two",
            written(craft.vmdk(descriptor(extents='RW 9 SPARSE "a"\nRW 9 SPARSE "b"'))),
            "extent_outside",
        ),
        _bad(
            "extent-flat",
            written(craft.vmdk(descriptor(extents='RW 2048 FLAT "x" 0'))),
            "extent_outside",
        ),
        _bad("extent-none", written(craft.vmdk(descriptor(extents=""))), "bad_descriptor"),
        _bad("sparse-vmfs", written(craft.vmdk(descriptor("vmfs"))), "extent_outside"),
        _bad("no-descriptor", written(craft.vmdk(b"", descriptor_at=0)), "bad_descriptor"),
        _bad(
            "long-descriptor",
            written(craft.vmdk(descriptor(), descriptor_size=1 << 40)),
            "bad_descriptor",
        ),
    ]


def _damaged() -> list[Entry]:
    """Invalid headers and footers, and truncated files."""
    return [
        _bad(
            "capacity-0",
            written(craft.vmdk(descriptor("monolithicFlat"), capacity=0)),
            "bad_header",
            "extent_outside",
            size=0,
        ),
        _bad("grain-huge", written(craft.vmdk(descriptor(), grain=1 << 40)), "bad_header"),
        _bad(
            "text-mode",
            written(craft.patched(craft.vmdk(descriptor()), (73, b"\n  \n"))),
            "bad_header",
        ),
        _bad("directory-beyond", written(craft.vmdk(descriptor(), directory=1 << 40)), "truncated"),
        _bad("cut", cut(converted("vmdk"), by=512), "truncated", size=DISK),
        _bad("cut-stream", cut(_STREAM, by=64 * 1024), "truncated", size=DISK),
        _bad("no-footer", written(craft.vmdk_stream(footer=False)), "truncated"),
        _bad("footer-cut", cut(written(craft.vmdk_stream()), by=512), "truncated"),
        _bad(
            "footer-capacity",
            written(craft.patched(craft.vmdk_stream(), (-1024 + 12, le(999, 8)))),
            "footer_mismatch",
        ),
        _bad(
            "footer-descriptor",
            written(craft.patched(craft.vmdk_stream(), (-1024 + 28, le(7, 8)))),
            "footer_mismatch",
        ),
        _bad(
            "and-iso",
            written(
                craft.patched(craft.vmdk(descriptor()), (32768, craft.iso_primary()[32768:36864]))
            ),
            "polyglot",
        ),
    ]
