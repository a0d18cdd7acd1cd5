"""One file that is being read."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from imsgate import errors
from imsgate.stores.filesystem.directory import DataDirectory


class FileReader(Iterator[bytes]):
    """``length`` bytes of an open file from ``offset``, or all of the rest if it is None.

    Raises StoreUnavailable if the file turns out to be shorter. Closes the file at the end, on
    an error and in ``close``. This is a class because closing a generator that was never started
    runs none of its code.
    """

    def __init__(
        self, directory: DataDirectory, file: BinaryIO, offset: int, length: int | None, chunk: int
    ) -> None:
        """``chunk`` is the number of bytes per read."""
        self._directory = directory
        self._file = file
        self._chunk = chunk
        try:
            with directory.reporting():
                size = os.fstat(file.fileno()).st_size
                file.seek(offset)
        except BaseException:
            file.close()
            raise
        self._remaining = size - offset if length is None else length

    def __next__(self) -> bytes:
        if not self._remaining or self._file.closed:
            self.close()
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> bytes:
        with self._directory.reporting():
            chunk = self._file.read(min(self._remaining, self._chunk))
        if not chunk:
            problem = "the object is shorter than its size"
            raise errors.StoreUnavailable(store=self._directory.store, problem=problem)
        self._remaining -= len(chunk)
        return chunk

    def close(self) -> None:
        """Close the file; the rest is not read."""
        self._file.close()
