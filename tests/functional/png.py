"""PNG pictures with a palette, a third as large as those that browsers write."""

import collections
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

Color: TypeAlias = tuple[int, ...]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2


def with_palette(picture: bytes) -> bytes:
    """An RGB picture with its 256 most frequent colors, which are enough for text."""
    chunks = list(_chunks(picture))
    width, height, depth, kind = struct.unpack(">IIBB", dict(chunks)[b"IHDR"][:10])
    assert (depth, kind) == (8, _RGB)
    packed = b"".join(data for name, data in chunks if name == b"IDAT")
    rows = list(_unfiltered(zlib.decompress(packed), 3 * width))
    pixels = [[tuple(row[at : at + 3]) for at in range(0, 3 * width, 3)] for row in rows]
    counted = collections.Counter(itertools.chain.from_iterable(pixels))
    palette = [color for color, _ in counted.most_common(256)]
    number = {color: min(range(len(palette)), key=_distance(color, palette)) for color in counted}
    lines = b"".join(b"\0" + bytes(number[pixel] for pixel in row) for row in pixels)
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", bytes(itertools.chain.from_iterable(palette))),
            (b"IDAT", zlib.compress(lines, 9)),
            (b"IEND", b""),
        )
    )


def _distance(color: Color, palette: Sequence[Color]) -> Callable[[int], int]:
    return lambda index: sum((a - b) ** 2 for a, b in zip(color, palette[index], strict=True))


def _chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(picture):
        length, name = struct.unpack(">I4s", picture[at : at + 8])
        yield name, picture[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(data: bytes, width: int) -> Iterator[bytearray]:
    """The lines of an RGB picture (PNG specification, section 9)."""
    above = bytearray(width)
    for start in range(0, len(data), width + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + width])
        for at in range(width):
            left, corner = (line[at - 3], above[at - 3]) if at >= 3 else (0, 0)
            line[at] = (line[at] + _predicted(kind, left, above[at], corner)) & 0xFF
        yield line
        above = line


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda each: abs(guess - each))
    return (0, left, above, (left + above) // 2)[kind]
