"""Reads integers from bytes, also from too few bytes: a field beyond the end of the file is 0."""

import struct
import sys
from array import array
from typing import Literal

ByteOrder = Literal["big", "little"]


def unpack(layout: struct.Struct, data: bytes, offset: int = 0) -> tuple[int, ...]:
    """The integers of ``layout`` at ``offset``. Bytes beyond the end of ``data`` count as zeros."""
    return layout.unpack(data[offset : offset + layout.size].ljust(layout.size, b"\0"))


def integers(data: bytes | bytearray, code: Literal["I", "Q"], order: ByteOrder) -> "array[int]":
    """``data`` as unsigned integers of 32 bits (``I``) or 64 bits (``Q``).

    An incomplete integer at the end is ignored.
    """
    numbers = array(code)
    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    if order != sys.byteorder:
        numbers.byteswap()
    return numbers
