"""A whole gateway in memory, made of the parts the served one is made of."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, cast

from oslo_config import cfg

from imsgate import app
from imsgate.api import images
from imsgate.buckets.base import Accounts, Buckets
from imsgate.config import Section
from imsgate.jobs.engine import Engine
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.registry.memory import MemoryRegistry
from imsgate.services import make_services
from imsgate.stores.base import Store
from imsgate.stores.loader import STORE_OPTS, Backend, Stores
from imsgate.stores.memory import MemoryStore
from imsgate.transfer import upload
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.upload import Uploads


def settings(options: Iterable[cfg.Opt], **changed: Any) -> Section:
    """The defaults of these options, with some changed."""
    return Section(**{option.dest: option.default for option in options} | changed)


def memory_store(name: str = "fast", capacity: int | None = None) -> MemoryStore:
    """A memory store of so many bytes."""
    return MemoryStore(name, Section(memory_store_capacity=capacity))


@dataclasses.dataclass(frozen=True)
class Gateway:
    """The application and the parts behind it."""

    app: app.Application
    registry: Registry
    stores: Stores
    uploads: Uploads
    cleanup: Cleanup
    engine: Engine


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
    """A gateway with these parts, or parts in memory; ``api`` are options of ``[api]``,
    ``further`` those of other groups.

    The first store is the default one. Nothing sweeps or does jobs by itself.
    """
    registry = registry or MemoryRegistry()
    found = list(stores) or [memory_store()]
    backends = [_backend(store, (descriptions or {}).get(store.name)) for store in found]
    enabled = Stores(backends, found[0].name)
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    changed: dict[str, dict[str, Any]] = {
        upload.GROUP: {"lease": lease},
        "DEFAULT": {"public_endpoint": public_endpoint},
    }

    def section(group: str, options: Iterable[cfg.Opt]) -> Section:
        more = {**changed.get(group, {}), **further.get(group, {})}
        return settings(options, **more)

    quotas = quota.configured(section(quota.GROUP, quota.OPTS))
    accounts = Accounts(buckets) if isinstance(buckets, Buckets) else buckets
    parts = make_services(registry, enabled, quotas, conf, section, accounts)
    gate = app.assemble(parts, conf, section, settings(images.OPTS, **api))
    return Gateway(gate, registry, enabled, parts.uploads, parts.cleanup, parts.engine)


def _backend(store: Store, description: str | None) -> Backend:
    told = settings(STORE_OPTS, store_description=description)

    def built(name: str, settings: Any) -> Store:
        return store

    return Backend(store.name, "memory", cast(type[Store], built), told)
