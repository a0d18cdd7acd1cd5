"""VDI, the disk image of VirtualBox (version 1.1). All numbers are little-endian."""

import struct

from imsgate.formats.facts import Report
from imsgate.formats.fields import unpack, words
from imsgate.formats.stream import Reader
from imsgate.formats.tables import Tables

SIGNATURE = b"\x7f\x10\xda\xbe"
SIGNATURE_AT = 64

_HEADER = struct.Struct("<68xIII4x256xII12xI4xQIIII")
_PARENTS = slice(0x1A8, 0x1C8)
_DYNAMIC, _STATIC, _UNDO, _DIFFERENCING = 1, 2, 3, 4
_KINDS = {_DYNAMIC: "dynamic", _STATIC: "static", _UNDO: "undo", _DIFFERENCING: "differencing"}
_UNUSED = 0xFFFF_FFFE
_MOST_BLOCKS = 0x3FFF_FFFF


def inspect(head: bytes, report: Report) -> Reader:
    """Judge the header, then the block map."""
    report.narrow("vdi", at=SIGNATURE_AT)
    fields = unpack(_HEADER, head)
    version, _, kind, block_map, data, sector, size, block, extra, blocks, allocated = fields
    report.need(512, 0, "the header")
    report.disk(size, 368)
    report.block_size = block
    report.variant = _KINDS.get(kind)
    if kind in (_UNDO, _DIFFERENCING) or any(head[_PARENTS]):
        report.find("parent", 76, f"image type {kind} or a parent's UUID")
    for wrong, offset, reason in (
        (version >> 16 != 1, 68, f"version {version:#x} is not known"),
        (kind not in _KINDS, 76, f"image type {kind} is not known"),
        (sector != 512, 360, f"sectors of {sector} bytes"),
        (block.bit_count() != 1 or block < 4096, 376, f"blocks of {block} bytes"),
        (blocks > _MOST_BLOCKS, 384, f"{blocks} blocks"),
        (size > blocks * block, 368, f"{blocks} blocks for {size} bytes"),
        (allocated > blocks, 388, f"{allocated} of {blocks} blocks allocated"),
        (block_map % 512 or block_map < 512, 340, f"the block map is at {block_map}"),
        (data % 512 or data < block_map + blocks * 4, 344, f"the data is at {data}"),
    ):
        if wrong:
            report.find("bad_header", offset, reason)
            return
    stored = block + extra
    report.need(data, 344, "the block map")
    report.need(data + allocated * stored, 388, "the last block")

    def use(piece: bytes) -> None:
        last = max((i for i in words(piece, "I", "little") if i < _UNUSED), default=-1)
        report.need(data + (last + 1) * stored if last >= 0 else 0, 340, "a block")

    yield from Tables(head).walk(block_map, blocks * 4, use)
