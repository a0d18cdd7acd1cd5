"""A buffer as the file-like request body that botocore sends, without copying it."""

import threading

#: Minimum bytes per read. urllib3 asks for 16 KiB at a time but sends whatever it gets, and each
#: read switches between threads.
_MIN_READ_BYTES = 256 * 1024


class Stopped(Exception):
    """The upload that this body belongs to was aborted."""


class Body:
    """Reads from ``data`` until ``stop`` is set; then nothing is sent or resent."""

    def __init__(self, data: bytes | bytearray, stop: threading.Event) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._stop = stop

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1) -> memoryview:
        """The next bytes, often more than ``size``; empty at the end. Raises Stopped."""
        self._check()
        start = self._at
        self._at = len(self) if size < 0 else min(len(self), start + max(size, _MIN_READ_BYTES))
        return self._data[start : self._at]

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check()
        self._at = offset + (0, self._at, len(self))[whence]
        return self._at

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
