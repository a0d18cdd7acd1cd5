"""What serving processes and workers are both made of, and how it is built."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from imsgate import config, inspection, plugins, profiles
from imsgate.api import access, rechecks
from imsgate.auth.policy import Policy
from imsgate.buckets import base as user_buckets
from imsgate.buckets.image_url import Allowed
from imsgate.errors import BadConfig
from imsgate.filters.sizelimit import SizeLimit
from imsgate.jobs import engine, export, locations, methods
from imsgate.jobs.imports import ImportWork
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.signatures import verify
from imsgate.sources import uris, web
from imsgate.sources.bucket import BucketSources
from imsgate.sources.decompress import DecompressionSettings, Decompressor
from imsgate.sources.inspected import SourceInspector
from imsgate.sources.staged import StagedSources
from imsgate.sources.stored import StoredSources
from imsgate.stores import loader
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.upload import Uploads, UploadSettings

#: The values of a group's options.
SectionOf = Callable[[str, Sequence[cfg.Opt]], Any]

REGISTRY_OPTS = (
    cfg.StrOpt(
        "driver",
        default="sql",
        help="The entry point in imsgate.registries that keeps the image records.",
    ),
)


def load_registry(conf: config.Config) -> Registry:
    """The registry driver that ``[registry] driver`` names. Raises BadConfig."""
    name = conf.section("registry", REGISTRY_OPTS).driver
    kind = plugins.find("imsgate.registries", name, "[registry] driver")
    registry: Registry = kind(conf.section("database", kind.OPTS))
    return registry


def make_engine(
    registry: Registry, kinds: Mapping[str, engine.Work], settings: engine.JobSettings
) -> engine.Engine:
    """The engine that ``[jobs] engine`` names. Raises BadConfig."""
    made: engine.Engine = _engine_driver(settings)(registry, kinds, settings)
    return made


def _engine_driver(settings: engine.JobSettings) -> Any:
    key, hint = f"[{engine.GROUP}] engine", "; celery needs imsgate[celery]"
    return plugins.find("imsgate.engines", settings.engine, key, hint)


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """What serving processes and workers are both made of."""

    registry: Registry
    stores: loader.Stores
    uploads: Uploads
    cleanup: Cleanup
    import_sources: methods.ImportSources
    signatures: verify.Signatures
    access: access.Access
    engine: engine.Engine
    allowed: Allowed | None


def make_services(
    registry: Registry,
    stores: loader.Stores,
    quotas: quota.Quotas,
    native: cfg.ConfigOpts,
    section: SectionOf,
    accounts: user_buckets.Accounts | None = None,
) -> Services:
    """``section`` gives the values of a group's options, ``native`` is what libraries read
    their own from. Raises BadConfig."""
    upload = UploadSettings.of(section(UploadSettings.GROUP, UploadSettings.OPTS))
    limit = section(SizeLimit.NAME, SizeLimit.OPTS).image_size_cap
    downloads = web.Web(
        uris.UriSettings.of(section(uris.GROUP, uris.OPTS)),
        web.WebSettings.of(section(web.GROUP, web.OPTS)),
    )
    unpacking = section(DecompressionSettings.GROUP, DecompressionSettings.OPTS)
    inspector = SourceInspector(
        inspector=inspection.shared(section(inspection.GROUP, inspection.OPTS)),
        signatures=verify.load(section(verify.GROUP, verify.OPTS)),
        decompressor=Decompressor(DecompressionSettings.of(unpacking)),
        limit=limit,
    )
    gatekeeper = access.Access(registry, Policy(native))
    recheck = rechecks.Reauthorizer(gatekeeper, native)
    allowed = objects = None
    if accounts is not None:
        allowed = _allowed(section)
        most = min(limit, profiles.chosen(section).import_limit or limit)
        objects = BucketSources(
            accounts=accounts,
            allowed=allowed,
            inspector=dataclasses.replace(inspector, limit=most),
        )
    import_sources = methods.ImportSources(
        staged=StagedSources(stores=stores, inspector=inspector),
        web=web.WebSources(web=downloads, inspector=inspector),
        objects=objects,
    )
    importing = ImportWork(
        stores=stores,
        algorithm=upload.hashing_algorithm,
        sources=import_sources,
        quotas=quotas,
        reauthorize=recheck,
    )
    kinds: dict[str, engine.Work] = {
        methods.IMPORT: importing,
        locations.KIND: locations.AddLocation(
            stores=stores,
            algorithm=upload.hashing_algorithm,
            sources=StoredSources(stores=stores, inspector=inspector),
            quotas=quotas,
            reauthorize=recheck,
        ),
    }
    if accounts is not None and allowed is not None:
        kinds[methods.REGISTER] = kinds[methods.CREATE] = importing
        kinds[export.KIND] = export.ExportWork(
            stores=stores, accounts=accounts, allowed=allowed, reauthorize=recheck
        )
    settings = engine.JobSettings.of(section(engine.GROUP, engine.OPTS))
    return Services(
        registry=registry,
        stores=stores,
        uploads=Uploads(registry=registry, settings=upload, quotas=quotas),
        cleanup=Cleanup(registry=registry, stores=stores, lease=upload.lease),
        import_sources=import_sources,
        signatures=inspector.signatures,
        access=gatekeeper,
        engine=make_engine(registry, kinds, settings),
        allowed=allowed,
    )


def _allowed(section: SectionOf) -> Allowed:
    try:
        return Allowed(section(user_buckets.GROUP, user_buckets.OPTS).allowed)
    except ValueError as error:
        raise BadConfig(f"[{user_buckets.GROUP}] allowed", str(error)) from error


def load_services(conf: config.Config) -> Services:
    """The parts that the configuration names. Raises BadConfig, naming the key."""
    registry, stores = load_registry(conf), loader.load(conf)
    accounts = user_buckets.load(conf.section)
    return make_services(registry, stores, quota.load(conf), conf.native, conf.section, accounts)


def import_drivers(conf: config.Config) -> None:
    """Import the drivers that the configuration names, with all their libraries, so that
    processes forked later share them. Raises BadConfig, naming the key."""
    loader.drivers(conf)
    user_buckets.driver(conf.section)
    _engine_driver(conf.read(engine.JobSettings))
