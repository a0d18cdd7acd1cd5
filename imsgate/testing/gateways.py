"""A complete gateway in memory, for tests; it is assembled as a served one is."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from oslo_config import cfg

from imsgate import app
from imsgate.buckets.base import Accounts, Buckets
from imsgate.config import Config, Section
from imsgate.jobs.engine import Engine
from imsgate.maintenance.read_only import ReadOnlyMode
from imsgate.quotas import quota
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import Registry
from imsgate.registry.memory import MemoryRegistry
from imsgate.services import make_services
from imsgate.stores.base import Store
from imsgate.stores.enabled import STORE_OPTS, Backend, Stores
from imsgate.stores.memory import MemoryStore
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.settings import UploadSettings
from imsgate.transfer.upload import Uploads


def settings(options: Iterable[cfg.Opt], **changed: Any) -> Section:
    """The default values of ``options``, some of them changed."""
    return Section(**{option.dest: option.default for option in options} | changed)


def memory_store(name: str = "fast", capacity: int | None = None) -> MemoryStore:
    """A memory store with a capacity in bytes; None means unlimited."""
    return MemoryStore(name, Section(memory_store_capacity=capacity))


@dataclasses.dataclass(frozen=True)
class Gateway:
    """The application and the services behind it."""

    app: app.Application
    registry: Registry
    stores: Stores
    uploads: Uploads
    resumable: ResumableUploads
    cleanup: Cleanup
    engine: Engine
    read_only: ReadOnlyMode


def gateway(
    *,
    registry: Registry | None = None,
    stores: Iterable[Store] = (),
    descriptions: Mapping[str, str] | None = None,
    lease: int = 60,
    public_endpoint: str | None = None,
    buckets: Buckets | Accounts | None = None,
    further: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **api: Any,
) -> Gateway:
    """A gateway with this registry and these stores, or with ones in memory.

    ``api`` are options of ``[api]``, ``further`` those of other groups. The first store is the
    default store. Neither sweeps nor jobs run by themselves.
    """
    registry = registry or MemoryRegistry()
    opened = list(stores) or [memory_store()]
    backends = [_backend(store, (descriptions or {}).get(store.name)) for store in opened]
    enabled = Stores(backends, opened[0].name)
    conf = _Defaults(
        {
            ApiSettings.GROUP: api,
            **further,
            UploadSettings.GROUP: {"lease": lease, **further.get(UploadSettings.GROUP, {})},
            "DEFAULT": {"public_endpoint": public_endpoint, **further.get("DEFAULT", {})},
        }
    )
    quotas = quota.configured(conf.read(quota.QuotaSettings))
    accounts = Accounts(buckets) if isinstance(buckets, Buckets) else buckets
    services = make_services(
        conf, registry=registry, stores=enabled, quotas=quotas, accounts=accounts
    )
    made = app.make_application(services, conf)
    return Gateway(
        made,
        registry,
        enabled,
        services.uploads,
        services.resumable,
        services.cleanup,
        services.engine,
        services.read_only,
    )


class _Defaults(Config):
    """The defaults of all options, with some changed by group."""

    def __init__(self, changed: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__([os.devnull])
        self._changed = changed

    def section(
        self,
        group: str,
        opts: Sequence[cfg.Opt],
        overrides: Mapping[str, str] = MappingProxyType({}),
    ) -> Section:
        return settings(opts, **self._changed.get(group, {}))


def _backend(store: Store, description: str | None) -> Backend:
    options = settings(STORE_OPTS, store_description=description)

    def build(name: str, settings: Section) -> Store:
        return store

    return Backend(store.name, "memory", cast(type[Store], build), options)
