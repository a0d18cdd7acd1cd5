"""Attempts: how a driver that pulls is fed by a sink that is given chunks."""

import tempfile
import threading
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from glance_store import exceptions

from imsgate import errors
from imsgate.stores.base import Sink
from imsgate.stores.glance.bounded_pipe import BoundedPipe, Ended

if TYPE_CHECKING:
    from imsgate.stores.glance.store import GlanceStore


class Attempt(Sink):
    """What both ways of feeding a driver have in common."""

    def __init__(self, store: "GlanceStore", key: str) -> None:
        self._store = store
        self._name = key
        self._written = 0
        self._location: str | None = None
        self._failure: errors.Error | None = None

    def start(self) -> None:
        """Begin, once the store knows this attempt."""

    def cancel(self) -> None:
        """End it; nothing can be written or committed any more."""
        self._failure = self._failure or errors.StoreUnavailable(
            store=self._store.name, problem="this attempt was aborted or discarded"
        )

    def _publish(self, uri: str, written: int) -> str:
        if written != self._written:
            self._fail(ValueError(f"{written} bytes of {self._written} were stored"))
        try:
            self._location = self._store.publish(self._name, uri, written)
        except BaseException:
            self.abort()
            raise
        return self._location

    def _fail(self, error: BaseException) -> NoReturn:
        """End it because of ``error``, and raise what that stands for."""
        if self._failure is None:
            self._failure = self._store.failure(error)
        self.abort()
        raise self._failure


class Pushed(Attempt):
    """The driver pulls on a thread of its own while chunks come in."""

    def __init__(self, store: "GlanceStore", key: str, size: int | None) -> None:
        super().__init__(store, key)
        self._size = size
        self._feed = BoundedPipe()
        self._uri: str | None = None
        self._count = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="glance_store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            self._uri, self._count = self._store.add(self._name, self._feed, self._size or 0)
        except BaseException as error:
            self._error = error
        finally:
            self._feed.leave()

    def write(self, chunk: bytes) -> None:
        try:
            self._feed.put(chunk)
        except Ended:
            self._thread.join()
            self._fail(self._error or ValueError("its driver stopped reading"))
        self._written += len(chunk)

    def commit(self) -> str:
        if self._location is not None:
            return self._location
        if self._failure:
            raise self._failure
        self._feed.finish()
        self._thread.join()
        if self._error or self._uri is None:
            self._fail(self._error or ValueError("its driver gave no location"))
        return self._publish(str(self._uri), self._count)

    def cancel(self) -> None:
        super().cancel()
        # A short body is what the s3 driver cleans up after; others wait for the rest of it.
        short = self._store.ends_early
        self._feed.cancel(None if short else exceptions.GlanceStoreException("aborted"))
        if self._thread.is_alive():
            self._thread.join()

    def abort(self) -> None:
        if self._location is not None:
            return
        self.cancel()
        if not isinstance(self._error, exceptions.Duplicate):  # what is there is not ours
            self._store.forget(self._name, self._uri)


class Spooled(Attempt):
    """The image goes through a temporary file, for drivers that must know its size."""

    def __init__(self, store: "GlanceStore", key: str) -> None:
        super().__init__(store, key)
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the attempt ends

    def write(self, chunk: bytes) -> None:
        if self._failure:
            raise self._failure
        try:
            self._file.write(chunk)
        except OSError as error:
            self._fail(error)
        self._written += len(chunk)

    def commit(self) -> str:
        if self._location is not None:
            return self._location
        if self._failure:
            raise self._failure
        try:
            self._file.seek(0)
            uri, written = self._store.add(self._name, self._file, self._written)
        except Exception as error:
            self._fail(error)
        self._file.close()
        return self._publish(uri, written)

    def cancel(self) -> None:
        super().cancel()
        self._file.close()

    def abort(self) -> None:
        if self._location is None:
            self.cancel()
            self._store.forget(self._name, None)
