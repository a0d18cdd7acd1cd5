"""Builds the enabled stores from the drivers that stevedore finds.

The options have Glance's names and sections: ``[DEFAULT] enabled_backends`` maps a store id to
a driver, ``[glance_store] default_backend`` names the store for requests that name none, and
each store has a section with its id as the name.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import stevedore
from oslo_config import cfg

from imsgate import errors, plugins
from imsgate.config import Config, Section
from imsgate.errors import BadConfig
from imsgate.http import headers
from imsgate.model import Location
from imsgate.settings import Settings
from imsgate.stores.base import Store

LOG = logging.getLogger(__name__)

NAMESPACE = "imsgate.stores"

_ENABLED_KEY = "[DEFAULT] enabled_backends"
_DEFAULT_KEY = "[glance_store] default_backend"

#: Options of ``[DEFAULT]``. The default store's id is its driver's name, so the driver's section
#: in the sample configuration is the one that a first start reads.
OPTS: Sequence[cfg.Opt] = (
    cfg.DictOpt(
        "enabled_backends",
        default={"file": "file"},
        help="The stores as id:driver, separated by commas: fast:file, archive:s3. "
        "The driver's options are in a section that has the store's id as its name.",
    ),
)

#: Options of ``[glance_store]``.
DEFAULT_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "default_backend",
        help="Id of the store for uploads that do not name one. "
        "Required if more than one store is enabled.",
    ),
)

#: Options in the section of every store, whatever its driver.
STORE_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt("store_description", help="Description of this store that users see."),
    cfg.IntOpt(
        "weight",
        default=0,
        help="If several stores have a copy of an image, the copy in the store with the highest "
        "weight is read.",
    ),
    cfg.BoolOpt(
        "optional",
        default=False,
        help="Start even if this store cannot be used. Requests that need it are answered with "
        "503 until a later attempt to connect succeeds.",
    ),
)


class EnabledSettings(Settings, group="DEFAULT", opts=OPTS):
    """Which stores are enabled."""

    enabled_backends: dict[str, str]


class DefaultStoreSettings(Settings, group="glance_store", opts=DEFAULT_OPTS):
    """Which store is the default."""

    default_backend: str | None


class BackendSettings(Settings, group="file", opts=STORE_OPTS):
    """The options that every store has, whatever its driver."""

    store_description: str | None
    weight: int
    optional: bool


#: Glance reserves ids with this prefix for its staging areas, and a configuration copied from
#: Glance may have sections of these names.
_RESERVED_PREFIX = "os_glance_"
_RESERVED = frozenset({"default", "glance_store"})


#: Seconds between two attempts to build a store that was unavailable at start.
_RETRY_SECONDS = 10.0


class Backend:
    """An enabled store with the options that are not its driver's.

    ``id`` is the store's id, ``driver`` the name of the driver's entry point.
    """

    def __init__(
        self,
        store_id: str,
        driver: str,
        kind: type[Store],
        settings: Section,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Build the store. Raises BadConfig if it cannot be used, unless it is ``optional``.

        An optional store is built later then, and ``check`` is called afterwards; it raises
        BadConfig if the store must not be enabled together with the others.
        """
        options = BackendSettings.of(settings)
        self.id = store_id
        self.driver = driver
        self.description = options.store_description
        self.weight = options.weight
        self._build = functools.partial(kind, store_id, settings)
        self._check = check
        self._vetting: Callable[[Store], object] | None = None
        self._optional = options.optional
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._store: Store | None = None
        try:
            self._store = self._build()
        except BadConfig as problem:
            if not options.optional:
                raise
            self._postpone(problem)

    @property
    def store(self) -> Store:
        """The store. Raises StoreUnavailable if it was unavailable at start and still is."""
        with self._lock:
            if self._store is None and time.monotonic() >= self._retry_at:
                try:
                    self._store = self._build()
                    self._check()
                    if self._vetting is not None:
                        self._vetting(self._store)
                except BadConfig as problem:
                    self._store = None
                    self._postpone(problem)
            if self._store is None:
                raise errors.StoreUnavailable(store=self.id, problem="it could not be started")
            return self._store

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written to the store; False if it could not be built yet."""
        return self._store is not None and self._store.read_only

    @property
    def started(self) -> Store | None:
        """The store, or None if it could not be built yet."""
        return self._store

    def vet(self, check: Callable[[Store], object]) -> None:
        """Call ``check`` with the store: now, or when it has started. ``check`` raises BadConfig
        if the store must not be used; an optional store is then built again later."""
        with self._lock:
            self._vetting = check
            if self._store is None:
                return
            try:
                check(self._store)
            except BadConfig as problem:
                if not self._optional:
                    raise
                self._store = None
                self._postpone(problem)

    def _postpone(self, problem: BadConfig) -> None:
        LOG.warning("Store %s cannot be used yet: %s", self.id, problem)
        self._retry_at = time.monotonic() + _RETRY_SECONDS


class Stores:
    """The enabled stores, in the order of ``enabled_backends``."""

    def __init__(self, backends: Sequence[Backend], default: str) -> None:
        """``default`` is the id of one of them."""
        self._backends = {backend.id: backend for backend in backends}
        self.default = default

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._backends.values())

    def choose(self, store_id: str | None) -> Store:
        """The store that a request names, or the default one.

        Raises UnknownStore or StoreUnavailable.
        """
        return self._chosen(store_id).store

    def target(self, store_id: str | None) -> Store:
        """Like ``choose``, for data to be written. Also raises StoreReadOnly."""
        store = self.choose(store_id)
        if store.read_only:
            raise errors.StoreReadOnly(store=store.name)
        return store

    def targets(self) -> list[str]:
        """The ids of the stores that are not read-only."""
        return [backend.id for backend in self if not backend.read_only]

    def check_target(self, store_id: str | None) -> None:
        """Raises UnknownStore or StoreReadOnly for a store that a request names to write to."""
        backend = self._chosen(store_id)
        if backend.read_only:
            raise errors.StoreReadOnly(store=backend.id)

    def _chosen(self, store_id: str | None) -> Backend:
        store_id = store_id or self.default
        if store_id not in self._backends:
            raise errors.UnknownStore(store=store_id, stores=", ".join(self._backends))
        return self._backends[store_id]

    def get(self, store_id: str) -> Store:
        """The store that a record names. Raises StoreUnavailable, also if it is not enabled."""
        if store_id not in self._backends:
            raise errors.StoreUnavailable(store=store_id, problem="it is not enabled")
        return self._backends[store_id].store

    def vet(self, check: Callable[[Store], object]) -> None:
        """Call ``check`` with each store, see ``Backend.vet``. Raises BadConfig."""
        for backend in self:
            backend.vet(check)

    def preferred(self, locations: Iterable[Location]) -> list[Location]:
        """The copies of an image, sorted by the weight of their stores, highest first."""

        def weight(location: Location) -> int:
            backend = self._backends.get(location.store)
            return backend.weight if backend else 0

        return sorted(locations, key=weight, reverse=True)


def load(conf: Config) -> Stores:
    """Build every enabled store.

    Raises BadConfig, naming the option, for a reserved, malformed or repeated id, an unknown
    driver, a missing or unknown default store, two stores in the same place, and everything
    that a driver refuses.
    """
    kinds = drivers(conf)
    enabled = conf.read(EnabledSettings).enabled_backends
    default = _default(conf, enabled)
    backends: list[Backend] = []
    check = functools.partial(_check_places, backends)
    for store_id, name in enabled.items():
        backends.append(_build(conf, store_id, name, kinds[store_id], check))
    check()
    return Stores(backends, default)


def drivers(conf: Config) -> dict[str, type[Store]]:
    """The driver class of every enabled store, by the store's id. Raises BadConfig."""
    enabled = conf.read(EnabledSettings).enabled_backends
    _check_ids(conf, enabled)
    return {
        store_id: plugins.find(NAMESPACE, name, _ENABLED_KEY) for store_id, name in enabled.items()
    }


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Sections and options for the sample configuration, with those of all installed drivers."""
    return [
        ("DEFAULT", list(OPTS)),
        ("glance_store", list(DEFAULT_OPTS)),
        *((name, [*STORE_OPTS, *kind.OPTS]) for name, kind in installed().items()),
    ]


def installed() -> dict[str, type[Store]]:
    """All installed drivers that can be imported, sorted by name."""
    extensions: stevedore.ExtensionManager[type[Store]] = stevedore.ExtensionManager(
        NAMESPACE, on_load_failure_callback=_log_failure
    )
    drivers = {extension.name: cast(type[Store], extension.plugin) for extension in extensions}
    return dict(sorted(drivers.items()))


def _log_failure(manager: Any, entry: Any, error: BaseException) -> None:
    # Usually the extra with the library that it needs is not installed.
    LOG.debug("Store driver %s cannot be imported: %s", entry.name, error)


def _build(
    conf: Config,
    store_id: str,
    name: str,
    kind: type[Store],
    check: Callable[[], object],
) -> Backend:
    opts = [*STORE_OPTS, *kind.OPTS]
    settings = conf.section(store_id, opts)
    while further := [opt for opt in kind.further_opts(store_id, settings) if opt not in opts]:
        opts += further
        settings = conf.section(store_id, opts)
    return Backend(store_id, name, kind, settings, check)


def _default(conf: Config, enabled: Mapping[str, str]) -> str:
    default = conf.read(DefaultStoreSettings).default_backend
    if default is None and len(enabled) == 1:
        return next(iter(enabled))
    if default is None:
        raise BadConfig(
            _DEFAULT_KEY, "must name the default store, because several stores are enabled"
        )
    if default not in enabled:
        raise BadConfig(_DEFAULT_KEY, f"{default!r} is not one of enabled_backends")
    return default


def _check_ids(conf: Config, enabled: Mapping[str, str]) -> None:
    if not enabled:
        raise BadConfig(_ENABLED_KEY, "at least one store must be enabled")
    ids: dict[str, str] = {}
    for store_id in enabled:
        # oslo.config ignores the case of section names.
        twin = ids.setdefault(store_id.lower(), store_id)
        if twin != store_id:
            raise BadConfig(_ENABLED_KEY, f"{twin!r} and {store_id!r} would share a section")
        if _is_reserved(conf, store_id):
            raise BadConfig(_ENABLED_KEY, f"the store id {store_id!r} is reserved")
        try:
            headers.store_id(store_id)
        except errors.BadHeader as error:
            raise BadConfig(_ENABLED_KEY, f"{store_id!r}: {error.details['problem']}") from None


def _is_reserved(conf: Config, store_id: str) -> bool:
    if store_id.lower() in _RESERVED or store_id.startswith(_RESERVED_PREFIX):
        return True
    # A section with the name of an option in [DEFAULT] would hide that option.
    native = conf.native
    return store_id in native and not isinstance(native[store_id], cfg.ConfigOpts.GroupAttr)


def _check_places(backends: Sequence[Backend]) -> None:
    """Raises BadConfig if two stores use the same directory or bucket.

    Deleting a copy in one of them would delete the original in the other.
    """
    places: dict[Hashable, str] = {}
    for backend in backends:
        place = backend.started.place() if backend.started else None
        twin = places.setdefault(place, backend.id) if place is not None else backend.id
        if twin != backend.id:
            raise BadConfig(f"[{backend.id}]", f"this store uses the same place as {twin!r}")
