"""The mark of a store: a small file on the server that identifies the place of the images.

If the server's disk is not mounted, or its configuration names another directory, it answers 404
for every image. Without the mark, all of them would seem to be gone.
"""

import contextlib
import secrets

from imsgate import errors
from imsgate.stores.http import failures
from imsgate.stores.http.files import RemoteFiles
from imsgate.stores.mark import MARK

_MAX_BYTES = 100
#: The mark on a server without MOVE.
_COMMON = b"images of imsgate\n"
_ABSENT = "its images are not there: the server serves another directory than before"


class MarkedPlace:
    """The place of a store. Until it has a mark, it is not recognized."""

    def __init__(self, files: RemoteFiles, *, move: bool) -> None:
        """``move`` is whether the server renames files.

        Raises StoreUnavailable or StoreDenied if the mark cannot be read.
        """
        self._files = files
        self._move = move
        self._mark = self._read()

    @property
    def marked(self) -> bool:
        """Whether the place has a mark."""
        return self._mark is not None

    def mark(self) -> None:
        """Create the mark if it does not exist.

        Raises StoreFull, StoreUnavailable or StoreDenied.
        """
        if self._mark is None:
            self._mark = self._read() or self._make()

    def verify(self) -> None:
        """Raises StoreUnavailable if the place is another one, or cannot be reached."""
        read = self._read()
        if self._mark is None or read == self._mark:
            return
        raise errors.StoreUnavailable(store=self._files.store, problem=_ABSENT)

    def _read(self) -> bytes | None:
        try:
            return self._files.content(MARK, _MAX_BYTES)
        except failures.FileMissing:
            return None

    def _make(self) -> bytes | None:
        """Other processes may do this at the same time.

        With MOVE, the first one's mark counts. Without it, many servers let the last one win, so
        all write the same: such a mark does not tell two places apart that both have one.
        """
        if self._move:
            self._publish(f"{MARK}.{secrets.token_hex(4)}")
        else:
            with contextlib.suppress(failures.FileExists):
                self._files.put(MARK, _COMMON)
        return self._read()

    def _publish(self, draft: str) -> None:
        self._files.put(draft, secrets.token_hex(16).encode() + b"\n")
        try:
            self._files.move(draft, MARK)
        except errors.StoreUnavailable as error:
            with contextlib.suppress(failures.FileMissing):
                self._files.delete(draft)
            if not isinstance(error, failures.FileExists):
                raise
