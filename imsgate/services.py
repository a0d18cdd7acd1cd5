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
from imsgate.inspection import InspectionSettings
from imsgate.jobs import engine, export, imports, locations
from imsgate.model import Status
from imsgate.profiles import ProfileSettings
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.signatures import verify
from imsgate.sources import bucket, decompress, inspected, uris, web
from imsgate.stores import loader
from imsgate.transfer.upload import GROUP as UPLOAD
from imsgate.transfer.upload import OPTS as UPLOAD_OPTS
from imsgate.transfer.upload import Uploads

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
    registry: Registry, kinds: Mapping[str, engine.Work], settings: Any
) -> engine.Engine:
    """The engine that ``[jobs] engine`` names. Raises BadConfig."""
    made: engine.Engine = _engine_driver(settings)(registry, kinds, settings)
    return made


def _engine_driver(settings: Any) -> Any:
    key, hint = f"[{engine.GROUP}] engine", "; celery needs imsgate[celery]"
    return plugins.find("imsgate.engines", settings.engine, key, hint)


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """What serving processes and workers are both made of."""

    registry: Registry
    stores: loader.Stores
    uploads: Uploads
    web: web.Web
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
    upload = section(UPLOAD, UPLOAD_OPTS)
    gate = inspection.shared(InspectionSettings.of(section(inspection.GROUP, inspection.OPTS)))
    limit = section(SizeLimit.NAME, SizeLimit.OPTS).image_size_cap
    downloads = web.Web(section(uris.GROUP, uris.OPTS), section(web.GROUP, web.OPTS))
    origins = inspected.Sources(
        stores,
        downloads,
        decompress.Decompressor(section(decompress.GROUP, decompress.OPTS)),
        gate,
        limit,
        verify.load(verify.SignatureSettings.of(section(verify.GROUP, verify.OPTS))),
    )
    algorithm = upload.hashing_algorithm
    gatekeeper = access.Access(registry, Policy(native))
    recheck = rechecks.Reauthorizer(gatekeeper, native)
    kinds: dict[str, engine.Work] = {
        imports.KIND: imports.ImportWork(stores, algorithm, origins, quotas, recheck),
        locations.KIND: locations.AddLocation(stores, algorithm, origins, quotas, recheck),
    }
    allowed = None
    if accounts is not None:
        allowed = _allowed(section)
        profile = profiles.chosen(ProfileSettings.of(section(profiles.GROUP, profiles.OPTS)))
        most = min(limit, profile.import_limit or limit)
        objects = bucket.BucketSources(accounts, allowed, gate, most, origins.signatures)
        of_objects = imports.ImportWork(stores, algorithm, objects, quotas, recheck)
        kinds[bucket.REGISTER] = of_objects
        kinds[bucket.CREATE] = dataclasses.replace(of_objects, failed=Status.DELETED)
        kinds[export.KIND] = export.ExportWork(stores, accounts, allowed, recheck)
    return Services(
        registry,
        stores,
        Uploads(registry, stores, upload, quotas),
        downloads,
        origins.signatures,
        gatekeeper,
        make_engine(registry, kinds, section(engine.GROUP, engine.OPTS)),
        allowed,
    )


def _allowed(section: SectionOf) -> Allowed:
    try:
        return Allowed(section(user_buckets.GROUP, user_buckets.OPTS).allowed)
    except ValueError as error:
        raise BadConfig(f"[{user_buckets.GROUP}] allowed", str(error)) from error


def load_services(conf: config.Config) -> Services:
    """The parts that the configuration names. Raises BadConfig, naming the key."""
    registry, stores = load_registry(conf), loader.load(conf)
    accounts = user_buckets.load(conf)
    return make_services(registry, stores, quota.load(conf), conf.native, conf.section, accounts)


def import_drivers(conf: config.Config) -> None:
    """Import the drivers that the configuration names, with all their libraries, so that
    processes forked later share them. Raises BadConfig, naming the key."""
    loader.drivers(conf)
    user_buckets.driver(conf)
    _engine_driver(conf.section(engine.GROUP, engine.OPTS))
