"""The contract of sources, and the stream of bytes that they read from."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.model import Location
from imsgate.stores.base import Sink, Store


class Source(Protocol):
    """Image data that is inspected as it is read.

    ``body`` is read once, from its first byte to its end; whoever reads may join further taps
    before. ``size`` is the number of bytes, or None if that is not known.
    """

    body: Tapped
    size: int | None

    def copy_into(self, store: Store, key: str) -> Sink | None:
        """Before the first read: have the data copied into ``store``, and read from there.

        Returns a sink that holds the data already and only has to be committed, or None if the
        data has to be written. Raises as reading and storing do; then nothing is left behind.
        """

    @property
    def content_format(self) -> str:
        """After the last byte: the canonical name of the format of the data."""

    def content_fields(self) -> Mapping[str, Any]:
        """After the last byte: further fields of the record. Raises to refuse the data.

        ``properties`` are added to those of the image.
        """


class ByteStream:
    """A stream with bounded reads and a look at its first bytes."""

    def __init__(self, pull: Callable[[int], bytes], close: Callable[[], object]) -> None:
        """``pull`` returns some bytes, about as many as it is asked for, and none at the end."""
        self._pull = pull
        self._close = close
        self._rest = b""

    @classmethod
    def of(cls, chunks: Iterator[bytes]) -> "ByteStream":
        """The stream of chunks that ``Store.read`` returns; closing it closes their iterator."""
        opened: Any = chunks
        return cls(lambda _: next(chunks, b""), opened.close)

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, none at the end."""
        data = self._rest or self._pull(size)
        self._rest = data[size:]
        return data[:size]

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, which stay to be read; fewer at the end."""
        while len(self._rest) < size and (chunk := self._pull(size - len(self._rest))):
            self._rest += chunk
        return self._rest[:size]

    def replace(self, other: "ByteStream") -> None:
        """Before the first read: close what this reads from, and read ``other`` instead."""
        self.close()
        self._pull, self._close = other._pull, other._close

    def close(self) -> None:
        """Close what this reads from."""
        self._close()


@contextlib.contextmanager
def lost_data_fails_source(location: Location) -> Iterator[None]:
    """Raises SourceFailed in place of ObjectNotFound, for data that its store has lost."""
    try:
        yield
    except errors.ObjectNotFound as error:
        raise errors.SourceFailed(problem=f"store {location.store} has lost it") from error
