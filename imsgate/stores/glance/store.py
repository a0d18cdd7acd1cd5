"""The store: a driver's calls, its words for places, and which attempts run.

A driver of glance_store pulls the image from a file-like object and writes it
under its final name. Here each attempt has a name of its own, its key, and the
record points at the key that won. Until then this store denies the object, and
an attempt that ends otherwise is deleted.

Locations are what follows the driver's own prefix of its URIs, most often just
the key: glance_store puts credentials into that prefix.
"""

import logging
import os
import re
import threading
import urllib.parse
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from glance_store import capabilities
from glance_store import location as locations
from oslo_config import cfg

from imsgate import errors, plugins
from imsgate.errors import BadConfig
from imsgate.stores.base import Addressed, Sink, Store
from imsgate.stores.glance.attempts import Attempt, Pushed, Spooled
from imsgate.stores.glance.failures import Failures
from imsgate.stores.glance.reader import GlanceReader

_LOG = logging.getLogger(__name__)

NAMESPACE = "glance_store.drivers"
_OPTION = "glance_store_driver"

#: Drivers that collect an image of unknown size in memory, and leave a multipart upload
#: behind when reading fails, where they clean up after a body that is too short.
_NEEDS_SIZE = frozenset({"s3"})

#: Where an unfinished attempt may lie besides where a finished one does.
_RESIDUE: Mapping[str, Sequence[str]] = {"rbd": ("{prefix}{key}/snap", "rbd://{key}")}

_LOCATION = re.compile(r"(?=.{1,255}$)[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


class GlanceStore(Store, Addressed):
    """One driver of glance_store, with that driver's own options in this store's section."""

    OPTS = (
        cfg.StrOpt(
            _OPTION,
            default="file",
            help="The driver of glance_store to use: file, rbd, swift, cinder, s3 … "
            "Its own options stand in this section too, as in glance-api.conf.",
        ),
    )

    @classmethod
    def further_opts(cls, name: str, settings: Any) -> Sequence[cfg.Opt]:
        return tuple(_factory(name, settings).OPTIONS or ())

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self._key = f"[{name}] {_OPTION}"
        self._factory = _factory(name, settings)
        self._conf = _private_conf(name, self._factory.OPTIONS or (), settings)
        self._failures = Failures(name, self._factory.OPTIONS or (), settings)
        if getattr(settings, "swift_store_multi_tenant", False):
            raise BadConfig(f"[{name}] swift_store_multi_tenant", "needs a token of each user")
        self._lock = threading.Lock()
        self._running: dict[str, Attempt] = {}
        self._shared = self._make()
        self._prefix: str = self._shared.url_prefix or ""

    def create(self, key: str, size: int | None) -> Sink:
        if not self._shared.is_capable(capabilities.BitMasks.WRITE_ACCESS):
            raise errors.StoreDenied(store=self.name, problem="its driver only reads")
        spooled = size is None and self._kind in _NEEDS_SIZE
        attempt: Attempt = Spooled(self, key) if spooled else Pushed(self, key, size)
        with self._lock:
            if self._running.setdefault(key, attempt) is not attempt:
                raise errors.StoreUnavailable(store=self.name, problem="this attempt runs already")
        attempt.start()
        return attempt

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Drivers that cannot start within an object are read, not sent, from its beginning."""
        driver, place = self._find(location)
        asked = {}
        if offset and driver.is_capable(capabilities.BitMasks.READ_OFFSET):
            asked["offset"] = offset
        with self._failures.reporting():
            source, size = driver.get(place, **asked)
        if asked.get("offset") and size is not None:
            size = driver.get_size(place)
        if length is None:
            length = max(0, int(size) - offset)
        return GlanceReader(
            self._failures, self.name, source, offset - asked.get("offset", 0), length
        )

    def size(self, location: str) -> int:
        driver, place = self._find(location)
        with self._failures.reporting():
            size = int(driver.get_size(place))
            if not size:  # swift's answer to whatever it cannot measure, missing objects included
                source, size = driver.get(place)
                GlanceReader(self._failures, self.name, source, 0, 0).close()
            return int(size)

    def delete(self, location: str) -> None:
        driver, place = self._find(location)
        with self._failures.reporting():
            driver.delete(place)

    def discard(self, key: str) -> None:
        """What cinder's driver left when its process died stays: only cinder knows its name."""
        with self._lock:
            attempt = self._running.pop(key, None)
        if attempt:
            attempt.cancel()
        self.remove(key)

    def check(self) -> None:
        try:
            self.size("imsgate-check")
        except errors.ObjectNotFound:
            return

    def place(self) -> Hashable:
        return ("glance_store", self._prefix) if self._prefix else None

    def properties(self) -> Mapping[str, Any]:
        return {_OPTION: self.settings.glance_store_driver}

    def url(self, location: str) -> str | None:
        place = self._open_prefix()
        return f"{place}/{location}" if place else None

    def locate(self, url: str) -> str | None:
        place = self._open_prefix()
        location = url.removeprefix(f"{place}/")
        known = place and location != url and _LOCATION.fullmatch(location)
        return location if known else None

    # For the attempts of this module.

    def add(self, key: str, source: Any, size: int) -> tuple[str, int]:
        """Have the driver store what it reads; the URI and the number of bytes."""
        # glance_store digests everything itself; md5 it does in any case.
        uri, written, *_ = self._driver().add(key, source, size, "md5")
        return str(uri), int(written)

    @property
    def ends_early(self) -> bool:
        """Whether an attempt is better ended by a short body than by an exception."""
        return self._kind in _NEEDS_SIZE

    def failure(self, error: BaseException) -> errors.Error:
        """What an exception of the driver stands for."""
        return self._failures.translate(error)

    def publish(self, key: str, uri: str, written: int) -> str:
        """Make what was added findable; its location. Raises StoreUnavailable if it is cut."""
        if uri.startswith("file://"):
            with self._failures.reporting():
                _sync(urllib.parse.urlparse(uri).path)
        with self._lock:
            running = self._running.pop(key, None)
        location = self._location(key, uri)
        if running is None or self.size(location) != written:
            self.remove(key)
            raise errors.StoreUnavailable(store=self.name, problem="the object is not whole")
        return location

    def forget(self, key: str, uri: str | None) -> None:
        """End an attempt and remove what it wrote."""
        with self._lock:
            self._running.pop(key, None)
        try:
            self.remove(key, uri)
        except errors.Error as error:
            _LOG.warning("attempt %s was aborted but not removed: %s", key, error)

    def remove(self, key: str, uri: str | None = None) -> None:
        """Delete all that lies under a key. Raises StoreUnavailable or StoreDenied."""
        patterns = _RESIDUE.get(self._kind, ())
        places = [self._uri(key), *(p.format(prefix=self._prefix, key=key) for p in patterns)]
        for place in dict.fromkeys([*([uri] if uri else ()), *places]):
            driver = self._driver()
            try:
                with self._failures.reporting():
                    driver.delete(self._place(driver, place))
            except errors.ObjectNotFound:
                continue

    # The driver, and its words for places.

    @property
    def _kind(self) -> str:
        return str(self._shared.get_schemes()[0])

    def _make(self) -> Any:
        """A driver, configured. Raises BadConfig."""
        try:
            driver = self._factory(self._conf, backend=self.name)
            driver.configure(re_raise_bsc=True)
        except Exception as error:
            raise BadConfig(self._key, self._failures.masked(error)) from None
        return driver

    def _driver(self) -> Any:
        """The shared one, or a new one where its driver says that it keeps state."""
        if self._shared.is_capable(capabilities.BitMasks.DRIVER_REUSABLE):
            return self._shared
        return self._make()

    def _find(self, location: str) -> tuple[Any, Any]:
        """A driver and its own location. Raises ObjectNotFound for what no sink returned."""
        with self._lock:
            unfinished = location in self._running
        if unfinished or not _LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        driver = self._driver()
        with self._failures.reporting():
            return driver, self._place(driver, self._uri(location))

    def _place(self, driver: Any, uri: str) -> Any:
        kind = driver.get_store_location_class()
        scheme = uri.partition("://")[0]
        return locations.Location(scheme, kind, self._conf, uri=uri, backend=self.name)

    def _uri(self, location: str) -> str:
        if hasattr(self._shared, "create_location"):  # swift, which may have many containers
            return str(self._shared.create_location(location).get_uri())
        return f"{self._prefix.rstrip('/')}/{location}"

    def _open_prefix(self) -> str | None:
        """What all URIs begin with, where that is a place and no secret or file of a host."""
        place = self._prefix.rstrip("/")
        scheme, found, host = place.partition("://")
        closed = not (found and host) or "@" in host or scheme == "file"
        return None if closed or hasattr(self._shared, "create_location") else place

    def _location(self, key: str, uri: str) -> str:
        if hasattr(self._shared, "create_location"):
            return key
        if not uri.startswith(self._prefix):
            raise errors.StoreUnavailable(store=self.name, problem="its driver has no fixed prefix")
        return uri.removeprefix(self._prefix).strip("/")


def _factory(name: str, settings: Any) -> Any:
    """What makes the driver that is configured. Raises BadConfig."""
    key = f"[{name}] {_OPTION}"
    wanted = settings.glance_store_driver
    return plugins.find(NAMESPACE, wanted, key)


def _private_conf(name: str, opts: Sequence[cfg.Opt], settings: Any) -> cfg.ConfigOpts:
    """The settings in a form that drivers of glance_store read, of which no other part knows."""
    conf = cfg.ConfigOpts()
    conf([])
    conf.register_opt(cfg.StrOpt("default_backend", default=name), group="glance_store")
    conf.register_opts(opts, group=name)
    for opt in opts:
        value = getattr(settings, opt.dest)
        if value is not None:
            conf.set_override(opt.dest, value, group=name)
    return conf


def _sync(path: str) -> None:
    """Make a file durable, which glance_store's filesystem driver leaves to chance."""
    for place, flags in ((path, os.O_RDONLY), (os.path.dirname(path), os.O_DIRECTORY)):
        fd = os.open(place, flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
