"""What the checks of the store kit write, and how they read it back."""

import hashlib
import uuid
from collections.abc import Iterator

from imsgate.stores.base import Store


def body(size: int, seed: str = "") -> bytes:
    """``size`` bytes without pattern, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def new_key(attempt: int = 1) -> str:
    """A key as the upload loop makes them."""
    return f"{uuid.uuid4()}.{attempt:x}"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """``data`` in chunks of ``size`` bytes."""
    return (data[at : at + size] for at in range(0, len(data), size))


def content(store: Store, location: str, offset: int = 0, length: int | None = None) -> bytes:
    """All that one read gives, each chunk looked at."""
    chunks = list(store.read(location, offset, length))
    assert all(isinstance(chunk, bytes) and chunk for chunk in chunks)
    return b"".join(chunks)
