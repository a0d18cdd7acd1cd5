"""The HTTP driver.

Locations are file names: the files can be moved to another URL, and records contain no
credentials. Where the server supports WebDAV's MOVE, an object is written under a temporary name
and renamed. Elsewhere it is written under its final name, under which an incomplete one may be
visible if the server does not store files as a whole. No record refers to that.

After ``discard``, an attempt in the same process cannot be committed. An attempt in another process
can: the uploader notices that the record no longer belongs to it and removes the object.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from imsgate import errors
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.stores.base import ATTEMPT, LOCATION, Sink, Store, Sweeps, Swept
from imsgate.stores.http import failures, options
from imsgate.stores.http.connections import Connections
from imsgate.stores.http.files import RemoteFiles
from imsgate.stores.http.listing import ListedFile
from imsgate.stores.http.mark import MarkedPlace
from imsgate.stores.http.options import Base, HttpSettings
from imsgate.stores.http.reader import BlockReader
from imsgate.stores.http.sink import TEMPORARY_PREFIX, HttpSink, temporary

_LOG = logging.getLogger(__name__)


class HttpStore(Store, Sweeps):
    """A store whose objects are files under one URL."""

    OPTS = options.OPTS

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._options = HttpSettings.of(settings)
        options.check(name, self._options)
        self._base = Base(self._options)
        self._lock = threading.Lock()
        self._sinks: weakref.WeakValueDictionary[str, HttpSink] = weakref.WeakValueDictionary()
        attempts = self._options.http_store_attempts
        self._files = RemoteFiles(Connections(name, self._options, attempts))
        self._start()

    def _start(self) -> None:
        """Ask the server. Raises BadConfig, naming the option at fault."""
        try:
            wanted = self._options.http_store_move
            self._move = wanted == "always" or (wanted == "auto" and self._files.can_move())
            self._place = MarkedPlace(self._files, move=self._move)
        except errors.Error as error:
            raise _bad_config(self.name, self._options, error) from None
        finally:
            self._files.close()
        if not self._move:
            _LOG.warning(
                "Store %s: images are written under their final names, because %s. An incomplete "
                "one may be visible on the server; imsgate does not serve it",
                self.name,
                "http_store_move is never" if wanted == "never" else "the server has no MOVE",
            )

    def create(self, key: str, size: int | None) -> Sink:
        self._place.verify()
        sink = HttpSink(self._files, key, size, move=self._move)
        with self._lock:
            self._sinks[key] = sink
        return sink

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Store. Keeps one block in memory."""
        with self._finding(location):
            return BlockReader(self._files, location, offset, length)

    def size(self, location: str) -> int:
        with self._finding(location):
            return self._files.size(location)

    def delete(self, location: str) -> None:
        with self._finding(location):
            # A deletion that is repeated after a lost response finds nothing.
            self._files.size(location)
        with suppress(failures.FileMissing):
            self._files.delete(location)

    def discard(self, key: str) -> None:
        # In this order: if the attempt is committed meanwhile, either the last step removes the
        # object, or its own sink does, which checks for this after publishing.
        with self._lock:
            sink = self._sinks.get(key)
        if sink is not None:
            sink.discard()
        # Not only with MOVE: another process may have had it.
        removed = [self._remove(name) for name in (temporary(key), key)]
        if not any(removed):
            self._place.verify()  # the files may exist, unseen

    def _remove(self, name: str) -> bool:
        """Remove a file; return whether it existed."""
        try:
            self._files.delete(name)
        except failures.FileMissing:
            return False
        return True

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """See Sweeps. The age of an attempt is the time since its last write.

        Only a WebDAV server can list its files, and only temporary names tell which of them
        are unfinished.
        """
        return self._sweep(TEMPORARY_PREFIX, lambda key, file: file.age >= age and not living(key))

    def sweep_objects(self, orphaned: Callable[[str], bool]) -> Swept:
        return self._sweep("", lambda key, _: orphaned(key))

    def _sweep(self, prefix: str, unwanted: Callable[[str, ListedFile], bool]) -> Swept:
        swept = Swept(0, 0)
        self._place.verify()
        try:
            files = self._files.listed()
        except failures.Unsupported:
            return swept
        for file in files:
            key = file.name.removeprefix(prefix)
            if file.name != prefix + key or not ATTEMPT.fullmatch(key):
                continue
            if unwanted(key, file) and self._remove(file.name):
                swept = Swept(swept.attempts + 1, swept.bytes + file.size)
        return swept

    def check(self) -> None:
        self._place.verify()

    def unmarked(self) -> str | None:
        return None if self._place.marked else f"[{self.name}] http_store_url"

    def mark(self) -> None:
        self._place.mark()

    def place(self) -> Hashable:
        return self._base.host, self._base.port, self._base.path

    def properties(self) -> Mapping[str, Any]:
        return {"http_store_url": self._options.http_store_url, "move": self._move}

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        self._files.close()

    @contextmanager
    def _finding(self, location: str) -> Iterator[None]:
        """Raises ObjectNotFound for a missing file, if this is the right place."""
        if not LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        try:
            yield
        except failures.FileMissing:
            self._place.verify()
            raise errors.ObjectNotFound(f"store {self.name}") from None


def _bad_config(name: str, settings: HttpSettings, error: errors.Error) -> BadConfig:
    """The option at fault if the server refuses a request at start."""
    problem = str(error.details.get("problem", error))
    option = "url"
    if isinstance(error, errors.StoreDenied):
        option = "token" if settings.http_store_token else "user"
    return BadConfig(f"[{name}] http_store_{option}", problem)
