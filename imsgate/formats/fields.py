"""Numbers out of bytes that may be too few."""

import struct
import sys
from array import array
from typing import Literal

Order = Literal["big", "little"]


def unpack(layout: struct.Struct, data: bytes, at: int = 0) -> tuple[int, ...]:
    """The integers at ``at``; what lies beyond the end of ``data`` reads as zeros."""
    return layout.unpack(data[at : at + layout.size].ljust(layout.size, b"\0"))


def words(data: bytes | bytearray, code: Literal["I", "Q"], order: Order) -> "array[int]":
    """``data`` as 32-bit (``I``) or 64-bit (``Q``) numbers; a partial last one is left out."""
    numbers = array(code)
    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    if order != sys.byteorder:
        numbers.byteswap()
    return numbers
