"""Builds the stores an operator enabled, from drivers that stevedore finds.

Options and their places are Glance's: ``[DEFAULT] enabled_backends`` maps a
store id to a driver, ``[glance_store] default_backend`` names the id used when
a request names none, and each store has a section named by its id.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, cast

import stevedore
from oslo_config import cfg

from imsgate import config, errors, plugins
from imsgate.errors import BadConfig
from imsgate.http import headers
from imsgate.model import Location
from imsgate.stores.base import Store

LOG = logging.getLogger(__name__)

NAMESPACE = "imsgate.stores"

_ENABLED_KEY = "[DEFAULT] enabled_backends"
_DEFAULT_KEY = "[glance_store] default_backend"

#: Options of ``[DEFAULT]``. The id is the driver's name, so that the driver's
#: section of the sample configuration is the one a first start reads.
OPTS: Sequence[cfg.Opt] = (
    cfg.DictOpt(
        "enabled_backends",
        default={"file": "file"},
        help="The stores, as id:driver, separated by commas: fast:file, archive:file. "
        "Each id has a section of its own with the driver's options.",
    ),
)

#: Options of ``[glance_store]``.
DEFAULT_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "default_backend",
        help="Id of the store for uploads that name none. "
        "It may be left out while only one store is enabled.",
    ),
)

#: Options that every store's section has, whatever its driver.
STORE_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt("store_description", help="What users are told about this store."),
    cfg.IntOpt(
        "weight",
        default=0,
        help="Of several stores that hold an image, the one with the highest weight is read.",
    ),
    cfg.BoolOpt(
        "optional",
        default=False,
        help="Start even while this store cannot be used. What needs it is answered 503, and it "
        "is tried again.",
    ),
)

#: Glance keeps ids that begin so for its staging areas, and a pasted
#: configuration may have sections of these names.
_RESERVED_PREFIX = "os_glance_"
_RESERVED = frozenset({"default", "glance_store"})


#: Seconds between two attempts to build a store that was away at start.
_RETRY = 10.0


class Backend:
    """One enabled store, and what the operator says of it. ``driver`` is its entry point."""

    def __init__(
        self,
        store_id: str,
        driver: str,
        kind: type[Store],
        settings: Any,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Raises BadConfig when the store cannot be used, unless it is ``optional``.

        ``check`` raises BadConfig for one that was built later, and cannot be beside others.
        """
        self.id = store_id
        self.driver = driver
        self.description: str | None = settings.store_description
        self.weight: int = settings.weight
        self._build = functools.partial(kind, store_id, settings)
        self._check = check
        self._lock = threading.Lock()
        self._retry_at = 0.0
        self._store: Store | None = None
        try:
            self._store = self._build()
        except BadConfig as problem:
            if not settings.optional:
                raise
            self._note(problem)

    @property
    def store(self) -> Store:
        """The store. Raises StoreUnavailable while one that was away at start still is."""
        with self._lock:
            if self._store is None and time.monotonic() >= self._retry_at:
                try:
                    self._store = self._build()
                    self._check()
                except BadConfig as problem:
                    self._store = None
                    self._note(problem)
            if self._store is None:
                raise errors.StoreUnavailable(store=self.id, problem="it could not be started")
            return self._store

    @property
    def started(self) -> Store | None:
        """The store if it could be built so far."""
        return self._store

    def _note(self, problem: BadConfig) -> None:
        LOG.warning("Store %s cannot be used yet: %s", self.id, problem)
        self._retry_at = time.monotonic() + _RETRY


class Stores:
    """The enabled stores, in the order of ``enabled_backends``."""

    def __init__(self, backends: Sequence[Backend], default: str) -> None:
        """``default`` is the id of one of them."""
        self._backends = {backend.id: backend for backend in backends}
        self.default = default

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._backends.values())

    def choose(self, store_id: str | None) -> Store:
        """The store a request names, or the default. Raises UnknownStore or StoreUnavailable."""
        store_id = store_id or self.default
        if store_id not in self._backends:
            raise errors.UnknownStore(store=store_id, stores=", ".join(self._backends))
        return self._backends[store_id].store

    def get(self, store_id: str) -> Store:
        """The store a record names. Raises StoreUnavailable, also if it is enabled no longer."""
        if store_id not in self._backends:
            raise errors.StoreUnavailable(store=store_id, problem="it is not enabled here")
        return self._backends[store_id].store

    def preferred(self, locations: Iterable[Location]) -> list[Location]:
        """The copies of an image, those in the stores of highest weight first."""

        def weight(location: Location) -> int:
            backend = self._backends.get(location.store)
            return backend.weight if backend else 0

        return sorted(locations, key=weight, reverse=True)


def load(conf: config.Config) -> Stores:
    """Build every enabled store.

    Raises BadConfig, naming the key, for whatever could not work: a reserved,
    malformed or repeated id, an unknown driver, a missing or unknown default,
    two stores in one place, and all that a driver refuses.
    """
    kinds = drivers(conf)
    enabled = conf.section("DEFAULT", OPTS).enabled_backends
    default = _default(conf, enabled)
    backends: list[Backend] = []
    check = functools.partial(_check_places, backends)
    for store_id, name in enabled.items():
        backends.append(_build(conf, store_id, name, kinds[store_id], check))
    check()
    return Stores(backends, default)


def drivers(conf: config.Config) -> dict[str, type[Store]]:
    """The driver of every enabled store, by the store's id. Raises BadConfig."""
    enabled = conf.section("DEFAULT", OPTS).enabled_backends
    _check_ids(conf, enabled)
    return {
        store_id: plugins.find(NAMESPACE, name, _ENABLED_KEY) for store_id, name in enabled.items()
    }


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Sections and options for the sample: every installed driver's, plugins included, sorted."""
    return [
        ("DEFAULT", list(OPTS)),
        ("glance_store", list(DEFAULT_OPTS)),
        *((name, [*STORE_OPTS, *kind.OPTS]) for name, kind in installed().items()),
    ]


def installed() -> dict[str, type[Store]]:
    """Every installed driver by its name, sorted; one that cannot be imported is left out."""
    found: stevedore.ExtensionManager[type[Store]] = stevedore.ExtensionManager(
        NAMESPACE, on_load_failure_callback=_left_out
    )
    drivers = {extension.name: cast(type[Store], extension.plugin) for extension in found}
    return dict(sorted(drivers.items()))


def _left_out(manager: Any, entry: Any, error: BaseException) -> None:
    # Most often the extra that brings its library is not installed.
    LOG.debug("Store driver %s cannot be imported: %s", entry.name, error)


def _build(
    conf: config.Config,
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


def _default(conf: config.Config, enabled: dict[str, str]) -> str:
    default = conf.section("glance_store", DEFAULT_OPTS).default_backend
    if default is None and len(enabled) == 1:
        return next(iter(enabled))
    if default is None:
        raise BadConfig(_DEFAULT_KEY, "several stores are enabled: name the default one")
    if default not in enabled:
        raise BadConfig(_DEFAULT_KEY, f"{default!r} is not among enabled_backends")
    return str(default)


def _check_ids(conf: config.Config, enabled: dict[str, str]) -> None:
    if not enabled:
        raise BadConfig(_ENABLED_KEY, "at least one store must be enabled")
    seen: dict[str, str] = {}
    for store_id in enabled:
        # oslo.config knows sections without regard to case.
        twin = seen.setdefault(store_id.lower(), store_id)
        if twin != store_id:
            raise BadConfig(_ENABLED_KEY, f"{twin!r} and {store_id!r} would share one section")
        if _is_reserved(conf, store_id):
            raise BadConfig(_ENABLED_KEY, f"the store id {store_id!r} is reserved")
        try:
            headers.store_id(store_id)
        except errors.BadHeader as error:
            raise BadConfig(_ENABLED_KEY, f"{store_id!r}: {error.details['problem']}") from None


def _is_reserved(conf: config.Config, store_id: str) -> bool:
    if store_id.lower() in _RESERVED or store_id.startswith(_RESERVED_PREFIX):
        return True
    # A section that is called like an option of [DEFAULT] would hide that option.
    native = conf.native
    return store_id in native and not isinstance(native[store_id], cfg.ConfigOpts.GroupAttr)


def _check_places(backends: Sequence[Backend]) -> None:
    """Two ids for one directory or bucket: deleting a copy would delete the original."""
    taken: dict[Hashable, str] = {}
    for backend in backends:
        place = backend.started.place() if backend.started else None
        twin = taken.setdefault(place, backend.id) if place is not None else backend.id
        if twin != backend.id:
            raise BadConfig(f"[{backend.id}]", f"this store lies in the same place as {twin!r}")
