"""Data that the store kit writes, and comparisons with what a store returns."""

import hashlib
import uuid
from collections.abc import Iterator

from imsgate.stores.base import Store

MIB = 1024 * 1024

#: An odd size in bytes, larger than one chunk of any built-in driver.
SIZE = 3 * MIB + 17


def body(size: int, seed: str = "") -> bytes:
    """``size`` bytes without a pattern, always the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def new_key(attempt: int = 1) -> str:
    """A key of the form that uploads use."""
    return f"{uuid.uuid4()}.{attempt:x}"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """``data`` in chunks of ``size`` bytes."""
    return (data[at : at + size] for at in range(0, len(data), size))


def content(store: Store, location: str, offset: int = 0, length: int | None = None) -> bytes:
    """The bytes that ``store.read`` returns. Fails unless every chunk is non-empty bytes."""
    chunks = list(store.read(location, offset, length))
    for number, chunk in enumerate(chunks):
        assert isinstance(chunk, bytes), f"read must yield bytes; chunk {number} is a {type(chunk)}"
        assert chunk, f"read must not yield empty chunks; chunk {number} of {len(chunks)} is empty"
    return b"".join(chunks)


def assert_same(actual: bytes, expected: bytes, rule: str) -> None:
    """Fails, naming ``rule`` and the first difference, unless both are equal."""
    assert actual == expected, f"{rule}; {_difference(actual, expected)}"


def assert_prefix(actual: bytes, expected: bytes, rule: str) -> None:
    """Fails like ``assert_same`` unless ``expected`` begins with ``actual``."""
    assert expected.startswith(actual), f"{rule}; {_difference(actual, expected)}"


def _difference(actual: bytes, expected: bytes) -> str:
    """Describe two byte strings that may be too long to print."""
    pairs = enumerate(zip(actual, expected, strict=False))
    shorter = min(len(actual), len(expected))
    first = next((at for at, (one, other) in pairs if one != other), shorter)
    return (
        f"expected {len(expected)} bytes, got {len(actual)}, "
        f"and the first difference is at byte {first}"
    )
