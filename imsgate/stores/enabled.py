"""The enabled stores: selects one for a request; starts optional ones that were unavailable."""

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from oslo_config import cfg

from imsgate import errors
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.model import Damage, Location
from imsgate.settings import Settings
from imsgate.stores.base import Store
from imsgate.stores.watched import Outages, watched

#: Options in the section of every store, whatever its driver.
STORE_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt("store_description", help="Description of this store that users see."),
    cfg.IntOpt(
        "weight",
        mutable=True,
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


class BackendSettings(Settings, group="file", opts=STORE_OPTS):
    """The options that every store has, whatever its driver."""

    store_description: str | None
    weight: int
    optional: bool


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
        self._settings = settings
        self._outages = Outages(store_id)
        self._build = functools.partial(_build, kind, store_id, settings, self._outages)
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
                    self._outages.reading.works()
                except BadConfig as problem:
                    self._store = None
                    self._postpone(problem)
            if self._store is None:
                raise errors.StoreUnavailable(store=self.id, problem="it could not be started")
            return self._store

    @property
    def weight(self) -> int:
        return BackendSettings.of(self._settings).weight

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
        self._outages.reading.failed(problem)
        self._retry_at = time.monotonic() + _RETRY_SECONDS


def _build(kind: type[Store], store_id: str, settings: Section, outages: Outages) -> Store:
    store: Store = watched(kind(store_id, settings), outages)
    return store


class Stores:
    """The enabled stores, in the order of ``enabled_backends``."""

    def __init__(self, backends: Sequence[Backend], default: str) -> None:
        """``default`` is the id of one of them."""
        self._backends = {backend.id: backend for backend in backends}
        #: Stores that records name, but which are not enabled.
        self._disabled: dict[str, Outages] = {}
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

    def check(self, store_id: str) -> None:
        """Raises UnknownStore for a store that a request names to read from."""
        self._chosen(store_id)

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
            problem = "it is not enabled"
            self._disabled.setdefault(store_id, Outages(store_id)).reading.failed(problem)
            raise errors.StoreUnavailable(store=store_id, problem=problem)
        return self._backends[store_id].store

    def vet(self, check: Callable[[Store], object]) -> None:
        """Call ``check`` with each store, see ``Backend.vet``. Raises BadConfig."""
        for backend in self:
            backend.vet(check)

    def preferred(self, locations: Iterable[Location], first: Sequence[str] = ()) -> list[Location]:
        """The copies of an image to read: those in the stores ``first``, in that order, then the
        others by the weight of their stores, highest first.

        Those that are known to have wrong data are left out. Those that were missing come last,
        since they may have been restored. Raises ImageDamaged if there are only copies with wrong
        data.
        """
        copies, ranks = list(locations), {name: -rank for rank, name in enumerate(first)}
        readable = [copy for copy in copies if copy.damage in (None, Damage.MISSING)]
        if copies and not readable:
            raise errors.ImageDamaged

        def preference(copy: Location) -> tuple[bool, int, int]:
            backend = self._backends.get(copy.store)
            rank = ranks.get(copy.store, -len(ranks))
            return copy.damage is None, rank, backend.weight if backend else 0

        return sorted(readable, key=preference, reverse=True)
