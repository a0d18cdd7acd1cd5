"""One object that is being read, block by block.

Each block is a request of its own, so that a slow client does not occupy a connection to the
server.
"""

import collections
from collections.abc import Iterator

from imsgate import errors
from imsgate.stores.http import failures
from imsgate.stores.http.files import Block, RemoteFiles

#: A download keeps one block in memory.
BLOCK_BYTES = 4 * 1024 * 1024
#: The first block is small, because many clients only read the header of an image.
FIRST_BLOCK_BYTES = 1024 * 1024


class BlockReader(Iterator[bytes]):
    """``length`` bytes of a file from ``offset``, or up to its end if ``length`` is None.

    The constructor raises FileMissing. Iteration raises StoreUnavailable rather than end early. All
    blocks are of the same version of the file.
    """

    def __init__(self, files: RemoteFiles, name: str, offset: int, length: int | None) -> None:
        self._files = files
        self._name = name
        self._chunks: collections.deque[bytes] = collections.deque()
        self._at = self._end = offset
        if length == 0:
            files.size(name)
            return
        self._end = offset + FIRST_BLOCK_BYTES if length is None else offset + length
        try:
            self._first = self._fetch(FIRST_BLOCK_BYTES)
        except failures.BeyondEnd:
            if length is not None:
                raise
            self._end = offset  # usually an empty file
            return
        self._end = self._first.size if length is None else self._end

    def __next__(self) -> bytes:
        try:
            if not self._chunks and self._at < self._end:
                self._next_block()
        except BaseException:
            self.close()
            raise
        if not self._chunks:
            raise StopIteration
        return self._chunks.popleft()

    def _next_block(self) -> None:
        try:
            block = self._fetch(BLOCK_BYTES)
        except failures.FileMissing:
            problem = "the object was removed while it was read"
            raise errors.StoreUnavailable(store=self._files.store, problem=problem) from None
        if (block.size, block.etag) != (self._first.size, self._first.etag):
            problem = "the object was replaced while it was read"
            raise errors.StoreUnavailable(store=self._files.store, problem=problem)

    def _fetch(self, count: int) -> Block:
        block = self._files.get(self._name, self._at, min(self._end, self._at + count))
        self._chunks.extend(block.chunks)
        self._at += sum(map(len, block.chunks))
        return block

    def close(self) -> None:
        """Forget the rest; no connection is open between two blocks."""
        self._chunks.clear()
        self._at = self._end
