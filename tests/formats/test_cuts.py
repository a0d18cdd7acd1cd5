"""Images by qemu-img that are cut: what QEMU can no longer read is refused as well.

Each disk has one block near its end. The larger the disk, the larger the tables that lead there:
3 TiB take 24 MiB in a VHDX and 400 MiB, nearly all zeros, in a VMDK.
"""

import os
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from imsgate import errors
from imsgate.formats.inspector import Inspector
from tests.formats import workshop
from tests.formats.test_properties import MAX_MEMORY_BYTES

KIB, MIB, GIB, TIB = (1 << bits for bits in (10, 20, 30, 40))
BLOCK_BYTES = 64 * KIB
CHUNK = memoryview(bytes(64 * MIB))
"""Stands for holes."""

SIZES = {"64M": 64 * MIB, "200G": 200 * GIB, "1T": TIB, "3T": 3 * TIB}
SMALL, UP_TO_1T = ("64M",), ("64M", "200G", "1T")

#: Format, options, and the sizes that it can have.
KINDS = [
    ("qcow2", "", SIZES),
    ("qcow2", "compat=0.10", SIZES),
    ("qcow2", "cluster_size=512", SMALL),
    ("qcow2", "cluster_size=4k", SIZES),
    ("qcow2", "cluster_size=2M", SIZES),
    ("qcow2", "extended_l2=on", SIZES),
    ("qcow2", "compression_type=zstd", SIZES),
    ("qcow2", "preallocation=metadata", ("64M", "200G")),
    ("qcow2", "lazy_refcounts=on,refcount_bits=64", SIZES),
    ("qcow", "", SIZES),
    ("qed", "", SIZES),
    ("qed", "cluster_size=4k,table_size=16", SMALL),
    ("qed", "cluster_size=1M,table_size=2", SIZES),
    ("vdi", "", SIZES),
    ("vdi", "static=on", SMALL),
    ("vpc", "", UP_TO_1T),
    ("vpc", "force_size=on", UP_TO_1T),
    ("vpc", "subformat=fixed", SMALL),
    ("vhdx", "", SIZES),
    ("vhdx", "block_size=1M", SIZES),
    ("vhdx", "block_size=256M", SIZES),
    ("vhdx", "subformat=fixed", SMALL),
    ("vmdk", "", SIZES),
    ("vmdk", "zeroed_grain=on", SIZES),
    ("vmdk", "subformat=streamOptimized", SIZES),
]
IMAGES = [
    pytest.param(kind, options, SIZES[size], id=f"{kind}-{options or 'plain'}-{size}")
    for kind, options, sizes in KINDS
    for size in sizes
]


def data_ranges(path: Path, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of a sparse file, up to ``end``, that are no holes."""
    with path.open("rb") as file:
        offset = 0
        while offset < end:
            try:
                start = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:  # only a hole is left
                return
            offset = min(os.lseek(file.fileno(), start, os.SEEK_HOLE), end)
            if start < offset:
                yield start, offset


def is_refused(path: Path, declared: str, end: int) -> bool:
    """Whether the first ``end`` bytes of the file are refused as truncated."""
    inspection = Inspector().begin(declared)
    position, check = 0, None

    def skip_to(offset: int) -> None:
        nonlocal position
        while position < offset:
            chunk = CHUNK[: min(offset - position, len(CHUNK))]
            inspection.feed(chunk)
            position += len(chunk)

    try:
        with path.open("rb") as file:
            for start, stop in data_ranges(path, end):
                skip_to(start)
                file.seek(start)
                while position < stop:
                    chunk = file.read(min(stop - position, MIB))
                    inspection.feed(chunk)
                    position += len(chunk)
        skip_to(end)
        inspection.finish()
    except errors.BadImage as refusal:
        check = refusal.details["check"]
    # Tables that are cut may look like invalid ones, and a fixed VHD without its end is a raw disk.
    assert check in (None, "truncated", "bad_header", "declared_format")
    return check is not None


def can_be_read(path: Path, kind: str, block: int) -> bool:
    """Whether QEMU still reads the block that was written."""
    command = f"read -P 7 {block} {BLOCK_BYTES}"
    done = subprocess.run(
        ["qemu-io", "-r", "-f", kind, "-c", command, path], check=False, capture_output=True
    )
    return done.returncode == 0 and b"read 65536/65536" in done.stdout and not done.stderr


def make(path: Path, kind: str, options: str, size: int) -> int:
    """Make a disk with a block near its end; return the offset of the block."""
    workshop.need("qemu-img", "qemu-io")
    more = ["-o", options] if options else []
    workshop.call("qemu-img", "create", "-q", "-f", kind, *more, path, str(size))
    block = size - 2 * MIB
    workshop.call("qemu-io", "-f", kind, "-c", f"write -P 7 {block} {BLOCK_BYTES}", path)
    return block


@pytest.mark.parametrize(("kind", "options", "size"), IMAGES)
def test_what_qemu_cannot_read_is_refused(kind, options, size, tmp_path):
    path = tmp_path / "disk"
    block = make(path, kind, options, size)
    full = path.stat().st_size
    assert not is_refused(path, kind, full)
    cuts = sorted({full // 4, full // 2, full * 3 // 4, full * 99 // 100, full - 512, full - 1})
    for end in reversed(cuts):
        os.truncate(path, end)
        assert is_refused(path, kind, end) or can_be_read(path, kind, block), end


@pytest.mark.parametrize(
    ("kind", "options"),
    [("vhdx", "block_size=1M"), ("qcow2", "cluster_size=4k"), ("vdi", ""), ("vmdk", "")],
)
def test_the_tables_of_a_large_disk_take_little_memory(kind, options, tmp_path):
    path = tmp_path / "disk"
    make(path, kind, options, 3 * TIB)
    data = path.read_bytes()[: 32 * MIB]
    inspection = Inspector().begin(kind, keep_going=True)
    tracemalloc.start()
    try:
        for at in range(0, len(data), BLOCK_BYTES):
            inspection.feed(data[at : at + BLOCK_BYTES])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY_BYTES


#: Images of incompressible data; the last grain or cluster is compressed to nearly its size.
PACKED = {
    "vmdk-stream": ("vmdk", ("-o", "subformat=streamOptimized")),
    "qcow2-zlib": ("qcow2", ("-c",)),
    "qcow2-zstd": ("qcow2", ("-c", "-o", "compression_type=zstd")),
}


@pytest.mark.parametrize("end", ["sector", "byte", "percent"])
@pytest.mark.parametrize(("kind", "options"), PACKED.values(), ids=PACKED)
def test_cut_compressed_data_is_refused(kind, options, end, tmp_path):
    raw, path = tmp_path / "raw", tmp_path / "disk"
    raw.write_bytes(workshop.SEED)
    workshop.call("qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, path)
    full = path.stat().st_size
    # The block after the last compressed one may be empty; the last data is 64 KiB before the end.
    cut = {"sector": full - 129 * 512, "byte": full - 65537, "percent": full * 94 // 100}[end]
    assert not is_refused(path, kind, full)
    assert is_refused(path, kind, cut)


@pytest.mark.parametrize("by", [1, 511, 700, 4097])
def test_a_stream_that_ends_within_a_sector_is_refused(by, tmp_path):
    """Only zeros are missing here, so no table tells."""
    path = tmp_path / "disk"
    make(path, "vmdk", "subformat=streamOptimized", 64 * MIB)
    assert is_refused(path, "vmdk", path.stat().st_size - by)
