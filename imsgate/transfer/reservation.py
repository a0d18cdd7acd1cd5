"""Quota for data that is coming in: bytes are reserved before they are stored."""

from collections.abc import Callable

from imsgate import errors

#: Reserved for data of unknown size before the first byte has arrived.
INITIAL_BYTES = 1
#: After that it reserves as many bytes again as have arrived, but at most this many.
_MAX_STEP_BYTES = 64 << 20


class ReservationTap:
    """A tap that reserves bytes of the owner's quota before they reach the store."""

    def __init__(
        self,
        size: int | None,
        reserve: Callable[[int], object],
        *,
        received: int = 0,
        reserved: int = INITIAL_BYTES,
    ) -> None:
        """``size`` is the announced size in bytes, which is reserved already, or None: then
        ``reserved`` bytes are. ``received`` bytes have come before.

        ``reserve(total)`` is called with the new total in bytes; if it raises OverLimit, the
        previous reservation stands.
        """
        self._size = size
        self._reserve = reserve
        self._reserved = reserved if size is None else size
        self._count = received

    def feed(self, chunk: bytes) -> None:
        """Raises OverLimit, and SizeMismatch for more bytes than were announced."""
        self._count += len(chunk)
        if self._count > self._reserved:
            self._grow()

    def finish(self) -> None:
        pass

    def _grow(self) -> None:
        if self._size is not None:
            raise errors.SizeMismatch(announced=self._size, received=self._count)
        ample = self._count + min(self._count, _MAX_STEP_BYTES)
        try:
            self._reserve(ample)
            self._reserved = ample
        except errors.OverLimit:
            self._reserve(self._count)
            self._reserved = self._count
