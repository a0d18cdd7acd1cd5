"""Builds the enabled stores from the drivers that stevedore finds.

The options have Glance's names and sections: ``[DEFAULT] enabled_backends`` maps a store id to
a driver, ``[glance_store] default_backend`` names the store for requests that name none, and
each store has a section with its id as the name.
"""

import functools
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, cast

import stevedore
from oslo_config import cfg

from imsgate import errors, plugins
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.http import headers
from imsgate.settings import Settings
from imsgate.stores.base import Store
from imsgate.stores.enabled import STORE_OPTS, Backend, Stores

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


class EnabledSettings(Settings, group="DEFAULT", opts=OPTS):
    """Which stores are enabled."""

    enabled_backends: dict[str, str]


class DefaultStoreSettings(Settings, group="glance_store", opts=DEFAULT_OPTS):
    """Which store is the default."""

    default_backend: str | None


#: Glance reserves ids with this prefix for its staging areas, and a configuration copied from
#: Glance may have sections of these names.
_RESERVED_PREFIX = "os_glance_"
_RESERVED = frozenset({"default", "glance_store"})


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


def survey(conf: Config) -> Iterator[tuple[str, str, Backend | BadConfig]]:
    """Build each enabled store alone; yield its id, its driver, and the store or what is wrong.

    Raises BadConfig as ``load`` for what concerns all of them.
    """
    enabled = conf.read(EnabledSettings).enabled_backends
    _check_ids(conf, enabled)
    _default(conf, enabled)
    backends: list[Backend] = []
    check = functools.partial(_check_places, backends)
    for store_id, name in enabled.items():
        try:
            kind = plugins.find(NAMESPACE, name, _ENABLED_KEY)
            backends.append(_build(conf, store_id, name, kind, check))
            check()
        except BadConfig as problem:
            yield store_id, name, problem
        else:
            yield store_id, name, backends[-1]


def default_id(conf: Config) -> str:
    """The id of the default store. Raises BadConfig."""
    return _default(conf, conf.read(EnabledSettings).enabled_backends)


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
