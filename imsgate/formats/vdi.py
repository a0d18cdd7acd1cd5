"""VDI, the disk format of VirtualBox (version 1.1).

On disk: text, the magic number at byte 64, a header up to byte 512, the block map at the offset in
byte 340, and the blocks from the offset in byte 344 on. All integers are little-endian. A map entry
has 32 bits and contains the position of the block in units of blocks.

Refused: undo and differencing disks, a parent, invalid sizes and offsets, and a file that ends
before its map or blocks.

Source: VirtualBox, src/VBox/Storage/VDICore.h (there is no specification).
"""

import struct

from imsgate.formats.fields import integers, unpack
from imsgate.formats.report import Report
from imsgate.formats.stream import Reader
from imsgate.formats.tables import TableWalker

MAGIC = b"\x7f\x10\xda\xbe"
MAGIC_OFFSET = 64

_HEADER_BYTES = 512
_HEADER = struct.Struct("<68xIII4x256xII12xI4xQIIII")
_PARENT_UUIDS = slice(0x1A8, 0x1C8)
_DYNAMIC, _STATIC, _UNDO, _DIFFERENCING = 1, 2, 3, 4
_KINDS = {_DYNAMIC: "dynamic", _STATIC: "static", _UNDO: "undo", _DIFFERENCING: "differencing"}
_ENTRY_BYTES = 4
_FIRST_UNALLOCATED_ENTRY = 0xFFFF_FFFE
_MAX_BLOCKS = 0x3FFF_FFFF
_MIN_BLOCK_BYTES = 4096
_MAP_FIELD, _DATA_FIELD = 340, 344


def inspect(head: bytes, report: Report) -> Reader[None]:
    """Check the header, then read the block map."""
    report.narrow_format("vdi", offset=MAGIC_OFFSET)
    fields = unpack(_HEADER, head)
    version, _, kind, block_map, data, sector, size, block, extra, blocks, allocated = fields
    report.require_size(_HEADER_BYTES, 0, "the header")
    report.set_virtual_size(size, 368)
    report.block_size = block
    report.variant = _KINDS.get(kind)
    if kind in (_UNDO, _DIFFERENCING) or any(head[_PARENT_UUIDS]):
        reason = f"the disk has image type {kind}, or the UUID of a parent"
        report.add_finding("parent", 76, reason)
    map_is_misplaced = block_map % 512 or block_map < _HEADER_BYTES
    data_is_misplaced = data % 512 or data < block_map + blocks * _ENTRY_BYTES
    problems = (
        (version >> 16 != 1, 68, f"VDI version {version:#x} is not supported"),
        (kind not in _KINDS, 76, f"image type {kind} is unknown"),
        (sector != 512, 360, f"the sector size is {sector} bytes"),
        (
            block.bit_count() != 1 or block < _MIN_BLOCK_BYTES,
            376,
            f"the block size is {block} bytes",
        ),
        (blocks > _MAX_BLOCKS, 384, f"the disk has {blocks} blocks"),
        (size > blocks * block, 368, f"the disk has {blocks} blocks for {size} bytes"),
        (allocated > blocks, 388, f"{allocated} of {blocks} blocks are allocated"),
        (map_is_misplaced, _MAP_FIELD, f"the block map is at byte {block_map}"),
        (data_is_misplaced, _DATA_FIELD, f"the blocks begin at byte {data}"),
    )
    if not report.check_header(problems):
        return
    stored_block = block + extra
    report.require_size(data, _DATA_FIELD, "the block map")
    report.require_size(data + allocated * stored_block, 388, "the last block")

    def use_map(piece: bytes) -> None:
        entries = integers(piece, "I", "little")
        last = max((entry for entry in entries if entry < _FIRST_UNALLOCATED_ENTRY), default=-1)
        report.require_size(
            data + (last + 1) * stored_block if last >= 0 else 0, _MAP_FIELD, "a block"
        )

    yield from TableWalker(head).walk(block_map, blocks * _ENTRY_BYTES, use_map)
