"""Attempts: sinks that feed a driver which reads from a file-like object."""

import tempfile
import threading
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from glance_store import exceptions

from imsgate import errors
from imsgate.stores.base import Sink
from imsgate.stores.glance.bounded_pipe import BoundedPipe, PipeClosed

if TYPE_CHECKING:
    from imsgate.stores.glance.store import GlanceStore


class Attempt(Sink):
    """The common part of both ways to feed a driver."""

    def __init__(self, store: "GlanceStore", key: str) -> None:
        self._store = store
        self._name = key
        self._written = 0
        self._location: str | None = None
        self._failure: errors.Error | None = None
        #: What the driver raised.
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin the attempt. Called after the store has registered it."""

    def cancel(self) -> None:
        """End the attempt: nothing can be written or committed any more."""
        self._failure = self._failure or errors.StoreUnavailable(
            store=self._store.name, problem="this attempt was aborted or discarded"
        )

    def _publish(self, uri: str, stored: int) -> str:
        if stored != self._written:
            problem = f"the driver stored {stored} of {self._written} bytes"
            self._fail(ValueError(problem))
        try:
            self._location = self._store.publish(self._name, uri, stored)
        except BaseException:
            self.abort()
            raise
        return self._location

    def _forget(self, uri: str | None) -> None:
        # A duplicate means that the existing object belongs to another attempt.
        owned = not isinstance(self._error, exceptions.Duplicate)
        self._store.forget(self._name, uri, remove=owned)

    def _fail(self, error: BaseException) -> NoReturn:
        """Abort the attempt and raise ``error`` translated to the store contract."""
        if self._failure is None:
            self._failure = self._store.failure(error)
        self.abort()
        raise self._failure


class PipedAttempt(Attempt):
    """The driver reads from a pipe in its own thread while chunks arrive."""

    def __init__(self, store: "GlanceStore", key: str, size: int | None) -> None:
        super().__init__(store, key)
        self._size = size
        self._pipe = BoundedPipe()
        self._uri: str | None = None
        self._stored = 0
        self._thread = threading.Thread(target=self._run, name="glance_store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            self._uri, self._stored = self._store.add(self._name, self._pipe, self._size or 0)
        except BaseException as error:
            self._error = error
        finally:
            self._pipe.leave()

    def write(self, chunk: bytes) -> None:
        try:
            self._pipe.put(chunk)
        except PipeClosed:
            self._thread.join()
            self._fail(self._error or ValueError("the driver stopped reading"))
        self._written += len(chunk)

    def commit(self) -> str:
        if self._location is not None:
            return self._location
        if self._failure:
            raise self._failure
        self._pipe.finish()
        self._thread.join()
        if self._error or self._uri is None:
            self._fail(self._error or ValueError("the driver returned no location"))
        return self._publish(str(self._uri), self._stored)

    def cancel(self) -> None:
        super().cancel()
        # The s3 driver cleans up if the body is too short; the others would wait for the rest.
        short = self._store.cancels_by_early_end
        self._pipe.cancel(None if short else exceptions.GlanceStoreException("aborted"))
        if self._thread.is_alive():
            self._thread.join()

    def abort(self) -> None:
        if self._location is not None:
            return
        self.cancel()
        self._forget(self._uri)


class SpooledAttempt(Attempt):
    """The data passes through a temporary file, for drivers that must know its size."""

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
            uri, stored = self._store.add(self._name, self._file, self._written)
        except Exception as error:
            self._error = error
            self._fail(error)
        self._file.close()
        return self._publish(uri, stored)

    def cancel(self) -> None:
        super().cancel()
        self._file.close()

    def abort(self) -> None:
        if self._location is None:
            self.cancel()
            self._forget(None)
