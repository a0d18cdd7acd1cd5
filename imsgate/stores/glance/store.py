"""The store: calls of the driver, its URIs, and the attempts in progress.

A glance_store driver reads the image from a file-like object and writes it under its final name.
imsgate gives each attempt a name of its own, the key, and the image record refers to the key of
the attempt that succeeded. Until an attempt is committed, this store reports its object as
missing; if the attempt ends in any other way, the object is deleted.

A location is the rest of the URI after the driver's prefix, usually just the key. The prefix is
left out because glance_store puts credentials into it.
"""

import contextlib
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
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.stores.abilities import without_credentials
from imsgate.stores.base import Addressed, Adopts, Sink, Store
from imsgate.stores.glance.attempts import Attempt, PipedAttempt, SpooledAttempt
from imsgate.stores.glance.failures import Failures
from imsgate.stores.glance.media import Medium
from imsgate.stores.glance.reader import GlanceReader

_LOG = logging.getLogger(__name__)

NAMESPACE = "glance_store.drivers"
_OPTION = "glance_store_driver"

#: Drivers that keep an image of unknown size in memory. They leave a multipart upload behind if
#: reading raises, but clean up if the body is too short.
_NEEDS_SIZE = frozenset({"s3"})

#: URIs where a driver may leave an unfinished attempt, in addition to the URI of the object.
_LEFTOVER_URIS: Mapping[str, Sequence[str]] = {"rbd": ("{prefix}{key}/snap", "rbd://{key}")}

_LOCATION = re.compile(r"(?=.{1,255}$)[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)

OPTS = (
    cfg.StrOpt(
        _OPTION,
        default="file",
        help="The glance_store driver: file, rbd, swift, cinder, s3 … "
        "Set the driver's options in this section too, as in glance-api.conf.",
    ),
)


class GlanceSettings(Settings, group="glance", opts=OPTS):
    """The option of a glance store that is not its driver's."""

    glance_store_driver: str


class GlanceStore(Store, Addressed, Adopts):
    """A glance_store driver. The driver's own options are in this store's section."""

    OPTS = OPTS

    @classmethod
    def further_opts(cls, name: str, settings: Section) -> Sequence[cfg.Opt]:
        return tuple(_factory(name, settings).OPTIONS or ())

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._key = f"[{name}] {_OPTION}"
        self._factory = _factory(name, settings)
        self._conf = _private_conf(name, self._factory.OPTIONS or (), settings)
        self._failures = Failures(name, self._factory.OPTIONS or (), settings)
        if getattr(settings, "swift_store_multi_tenant", False):
            raise BadConfig(
                f"[{name}] swift_store_multi_tenant", "not supported: it needs a token of each user"
            )
        self._lock = threading.Lock()
        self._running: dict[str, Attempt] = {}
        self._shared = self._make()
        self._prefix: str = self._shared.url_prefix or ""
        try:
            self._medium = Medium(name, self._kind, self._conf[name], self._failures)
        except OSError as error:
            raise BadConfig(self._key, self._failures.masked(error)) from None

    def create(self, key: str, size: int | None) -> Sink:
        if self.read_only:
            raise errors.StoreDenied(store=self.name, problem="the driver is read-only")
        self._medium.verify()
        spooled = size is None and self._kind in _NEEDS_SIZE
        attempt: Attempt
        attempt = SpooledAttempt(self, key) if spooled else PipedAttempt(self, key, size)
        with self._lock:
            if self._running.setdefault(key, attempt) is not attempt:
                problem = "this attempt is already in progress"
                raise errors.StoreUnavailable(store=self.name, problem=problem)
        attempt.start()
        return attempt

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read from a driver. If it cannot start at an offset, the bytes before it are skipped."""
        driver, place = self._find(location)
        seeks = bool(offset) and driver.is_capable(capabilities.BitMasks.READ_OFFSET)
        with self._finding(driver, place):
            source, size = driver.get(place, **({"offset": offset} if seeks else {}))
        if seeks and size is not None:
            size = driver.get_size(place)  # the driver has returned that of the rest
        if length is None:
            length = max(0, int(size) - offset)
        return GlanceReader(self._failures, self.name, source, 0 if seeks else offset, length)

    def size(self, location: str) -> int:
        return self._size(location, recorded=True)

    def _size(self, location: str, *, recorded: bool) -> int:
        driver, place = self._find(location)
        with self._finding(driver, place, recorded=recorded):
            size = int(driver.get_size(place))
            if not size:  # the swift driver returns 0 if it cannot tell, even for a missing object
                source, size = driver.get(place)
                GlanceReader(self._failures, self.name, source, 0, 0).close()
            return int(size)

    def delete(self, location: str) -> None:
        driver, place = self._find(location)
        with self._finding(driver, place):
            driver.delete(place)

    def discard(self, key: str) -> None:
        """Remove what the attempt left.

        What the cinder driver left when its process died stays: only cinder knows its name.
        """
        if self.read_only:
            return  # nothing was written, and the driver refuses every deletion
        with self._lock:
            attempt = self._running.pop(key, None)
        if attempt:
            attempt.cancel()
        self.remove(key)

    def check(self) -> None:
        if self.read_only:
            return  # its objects may be anywhere
        try:
            self._size("imsgate-check", recorded=False)
        except errors.ObjectNotFound:
            return

    @property
    def read_only(self) -> bool:
        return not self._shared.is_capable(capabilities.BitMasks.WRITE_ACCESS)

    def unmarked(self) -> str | None:
        return self._medium.unmarked()

    def mark(self) -> None:
        self._medium.mark()

    def place(self) -> Hashable:
        return ("glance_store", self._prefix) if self._prefix else None

    def properties(self) -> Mapping[str, Any]:
        return {_OPTION: GlanceSettings.of(self.settings).glance_store_driver}

    def url(self, location: str) -> str | None:
        place = self._open_prefix()
        return f"{place}/{location}" if place else None

    def locate(self, url: str) -> str | None:
        place = self._open_prefix()
        location = url.removeprefix(f"{place}/")
        valid = place and location != url and _LOCATION.fullmatch(location)
        return location if valid else None

    def glance_location(self, url: str) -> str | None:
        wanted = without_credentials(url)
        if hasattr(self._shared, "create_location"):
            # The container may depend on the object's name.
            location = wanted.rpartition("/")[2]
            if not _LOCATION.fullmatch(location):
                return None
            return location if without_credentials(self._uri(location)) == wanted else None
        place = without_credentials(self._prefix).rstrip("/")
        location = wanted.removeprefix(f"{place}/")
        valid = "://" in place and location != wanted and _LOCATION.fullmatch(location)
        return location if valid else None

    # For the attempts.

    def add(self, key: str, source: Any, size: int) -> tuple[str, int]:
        """Have the driver store ``source``; return the URI and the number of bytes stored."""
        # The driver always computes MD5, so asking for MD5 avoids a second digest.
        uri, written, *_ = self._driver().add(key, source, size, "md5")
        return str(uri), int(written)

    @property
    def cancels_by_early_end(self) -> bool:
        """Whether to cancel an attempt by ending its data early instead of by an exception."""
        return self._kind in _NEEDS_SIZE

    def failure(self, error: BaseException) -> errors.Error:
        """Translate an exception of the driver to the store contract."""
        return self._failures.translate(error)

    def publish(self, key: str, uri: str, written: int) -> str:
        """Make the added object visible and return its location.

        Raises StoreUnavailable if the object is incomplete or the attempt has ended.
        """
        if uri.startswith("file://"):
            with self._failures.reporting():
                _sync(urllib.parse.urlparse(uri).path)
        with self._lock:
            running = self._running.pop(key, None)
        location = self._location(key, uri)
        if running is None or self.size(location) != written:
            self.remove(key)
            raise errors.StoreUnavailable(store=self.name, problem="the object is incomplete")
        return location

    def forget(self, key: str, uri: str | None, *, remove: bool) -> None:
        """Unregister an attempt; ``remove`` what it wrote. Failures are logged."""
        with self._lock:
            self._running.pop(key, None)
        try:
            if remove:
                self.remove(key, uri)
        except errors.Error as error:
            _LOG.warning("Attempt %s was aborted, but not removed: %s", key, error)

    def remove(self, key: str, uri: str | None = None) -> None:
        """Delete everything stored under a key. Raises StoreUnavailable or StoreDenied."""
        patterns = _LEFTOVER_URIS.get(self._kind, ())
        places = [self._uri(key), *(p.format(prefix=self._prefix, key=key) for p in patterns)]
        for place in dict.fromkeys([*([uri] if uri else ()), *places]):
            driver = self._driver()
            try:
                found = self._place(driver, place)
                with self._finding(driver, found, recorded=False):
                    driver.delete(found)
            except errors.ObjectNotFound:
                continue

    # The driver and its URIs.

    @property
    def _kind(self) -> str:
        return str(self._shared.get_schemes()[0])

    def _make(self) -> Any:
        """A new, configured driver. Raises BadConfig."""
        try:
            driver = self._factory(self._conf, backend=self.name)
            driver.configure(re_raise_bsc=True)
        except Exception as error:
            raise BadConfig(self._key, self._failures.masked(error)) from None
        return driver

    def _driver(self) -> Any:
        """The shared driver, or a new one if the driver declares that it is not reusable."""
        if self._shared.is_capable(capabilities.BitMasks.DRIVER_REUSABLE):
            return self._shared
        return self._make()

    def _find(self, location: str) -> tuple[Any, Any]:
        """A driver and its object for the location.

        Raises ObjectNotFound if no sink can have returned the location.
        """
        with self._lock:
            unfinished = location in self._running
        if unfinished or not _LOCATION.fullmatch(location):
            raise errors.ObjectNotFound(f"store {self.name}")
        driver = self._driver()
        with self._failures.reporting():
            return driver, self._place(driver, self._uri(location))

    @contextlib.contextmanager
    def _finding(self, driver: Any, place: Any, *, recorded: bool = True) -> Iterator[None]:
        """Translate exceptions; raise ObjectNotFound only if the medium itself is there."""
        self._medium.verify()
        try:
            with self._failures.reporting():
                yield
        except errors.ObjectNotFound:
            self._medium.verify_missing(driver, place, recorded=recorded)
            raise

    def _place(self, driver: Any, uri: str) -> Any:
        kind = driver.get_store_location_class()
        scheme = uri.partition("://")[0]
        return locations.Location(scheme, kind, self._conf, uri=uri, backend=self.name)

    def _uri(self, location: str) -> str:
        if hasattr(self._shared, "create_location"):  # swift may use several containers
            return str(self._shared.create_location(location).get_uri())
        return f"{self._prefix.rstrip('/')}/{location}"

    def _open_prefix(self) -> str | None:
        """The prefix of all URIs, or None if it has a secret or names a file on a host."""
        place = self._prefix.rstrip("/")
        scheme, separator, host = place.partition("://")
        private = not (separator and host) or "@" in host or scheme == "file"
        return None if private or hasattr(self._shared, "create_location") else place

    def _location(self, key: str, uri: str) -> str:
        if hasattr(self._shared, "create_location"):
            return key
        if not uri.startswith(self._prefix):
            problem = "the URIs of the driver have no fixed prefix"
            raise errors.StoreUnavailable(store=self.name, problem=problem)
        return uri.removeprefix(self._prefix).strip("/")


def _factory(name: str, settings: Section) -> Any:
    """The class of the configured driver. Raises BadConfig."""
    driver = GlanceSettings.of(settings).glance_store_driver
    return plugins.find(NAMESPACE, driver, f"[{name}] {_OPTION}")


def _private_conf(name: str, opts: Sequence[cfg.Opt], settings: Section) -> cfg.ConfigOpts:
    """The settings as glance_store drivers read them, in an object that only this store uses."""
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
    """Make a file durable, which glance_store's filesystem driver does not."""
    for place, flags in ((path, os.O_RDONLY), (os.path.dirname(path), os.O_DIRECTORY)):
        fd = os.open(place, flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
