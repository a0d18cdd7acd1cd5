"""One object that is being written."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from imsgate import errors
from imsgate.stores.base import Sink
from imsgate.stores.http import failures
from imsgate.stores.http.files import RemoteFiles

_LOG = logging.getLogger(__name__)

#: Prefix of temporary names. No LOCATION begins with it. nginx lists no names with a leading dot.
TEMPORARY_PREFIX = "_imsgate-part-"


def temporary(key: str) -> str:
    """The name under which an object is written before it is renamed."""
    return TEMPORARY_PREFIX + key


class HttpSink(Sink):
    """Sends one PUT while it is written. Any failure aborts the attempt."""

    def __init__(self, files: RemoteFiles, key: str, size: int | None, *, move: bool) -> None:
        """Begin to write under a temporary name if ``move`` is true, else under ``key``."""
        self._files = files
        self._key = key
        self._size = size
        self._move = move
        self._name = temporary(key) if move else key
        self._written = 0
        #: The names under which something of this attempt may be on the server.
        self._names = {self._name}
        self._stop = threading.Event()
        self._committed = self._ended = False
        self._upload = files.upload(self._name, size)

    def write(self, chunk: bytes) -> None:
        with self._aborting():
            self._check()
            self._written += len(chunk)
            if self._size is not None and self._written > self._size:
                raise errors.SizeMismatch(announced=self._size, received=self._written)
            with self._claiming(self._name):
                self._upload.write(chunk)

    def commit(self) -> str:
        if not self._committed:
            with self._aborting():
                self._check()
                if self._size is not None and self._written != self._size:
                    raise errors.SizeMismatch(announced=self._size, received=self._written)
                self._publish()
                # If the attempt was discarded meanwhile, the object may have been published
                # after discard removed it.
                self._check()
            self._committed = True
        return self._key

    def _publish(self) -> None:
        with self._claiming(self._name):
            self._upload.finish()
        self._verify(self._name)
        if self._move:
            self._check()
            self._rename()

    def _rename(self) -> None:
        self._names.add(self._key)
        for is_last in (False, True):
            try:
                with self._claiming(self._key):
                    self._files.move(self._name, self._key)
            except failures.NoResponse:
                # The response may be lost, or the request. Nobody else writes under this key.
                if not self._is_renamed():
                    if is_last:
                        raise
                    continue
            return

    def _is_renamed(self) -> bool:
        """Whether the object is there. Raises StoreUnavailable if it has another size."""
        try:
            self._verify(self._key)
        except failures.FileMissing:
            return False
        return True

    @contextlib.contextmanager
    def _claiming(self, name: str) -> Iterator[None]:
        """Leave a file to somebody else if it exists before this attempt has written it."""
        try:
            yield
        except failures.FileExists:
            self._names.discard(name)
            raise

    def _verify(self, name: str) -> None:
        """Raises StoreUnavailable unless the server has as many bytes as were written."""
        size = self._files.size(name)
        if size != self._written:
            problem = f"it stored {size} bytes instead of {self._written}"
            raise errors.StoreUnavailable(store=self._files.store, problem=problem)

    def abort(self) -> None:
        if self._committed or self._ended:
            return
        self._ended = True
        self._upload.close()
        try:
            for name in sorted(self._names):
                with contextlib.suppress(failures.FileMissing):
                    self._files.delete(name)
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", self._key, error)

    def discard(self) -> None:
        """Make a later commit fail. For the store; may be called from any thread."""
        self._stop.set()

    def _check(self) -> None:
        if self._ended or self._stop.is_set():
            problem = "this attempt was aborted or discarded"
            raise errors.StoreUnavailable(store=self._files.store, problem=problem)

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise
