"""The services that handlers, jobs and sweeps share, and how they are built from options."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from oslo_config import cfg

from imsgate import inspection, plugins, profiles
from imsgate.auth.policy import Policy
from imsgate.buckets import base as user_buckets
from imsgate.buckets.image_url import Allowed
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.filters.sizelimit import SizeLimitSettings
from imsgate.formats.inspector import Inspector
from imsgate.jobs import engine, export, imports, locations
from imsgate.model import Status
from imsgate.quotas import quota
from imsgate.quotas.quota import Quotas
from imsgate.records.access import Access
from imsgate.records.reauthorize import Reauthorizer
from imsgate.records.records import Records
from imsgate.records.settings import ApiSettings
from imsgate.records.sharing import Sharing
from imsgate.registry.base import Registry
from imsgate.settings import Settings
from imsgate.signatures import verify
from imsgate.signatures.verify import Signatures
from imsgate.sources import bucket, decompress, inspected, uris, web
from imsgate.sources.web import Web
from imsgate.stores import loader
from imsgate.stores.loader import Stores
from imsgate.transfer import upload
from imsgate.transfer.upload import Uploads

REGISTRY_OPTS = (
    cfg.StrOpt(
        "driver",
        default="sql",
        help="Entry point in imsgate.registries of the driver that stores image records.",
    ),
)


class RegistrySettings(Settings, group="registry", opts=REGISTRY_OPTS):
    driver: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers, jobs and sweeps share, in serving processes and workers alike.

    ``allowed_buckets`` is None if no object storage for users is configured.
    """

    registry: Registry
    stores: Stores
    quotas: Quotas
    access: Access
    records: Records
    sharing: Sharing
    uploads: Uploads
    web: Web
    signatures: Signatures
    engine: engine.Engine
    allowed_buckets: Allowed | None


_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def load_services(conf: Config, api_overrides: Mapping[str, str] = _NO_OVERRIDES) -> Services:
    """The services that the configuration describes. ``api_overrides`` are options of ``[api]``.

    Raises BadConfig, naming the option.
    """
    return make_services(
        conf,
        registry=load_registry(conf),
        stores=loader.load(conf),
        quotas=quota.load(conf),
        accounts=user_buckets.load(conf),
        api_overrides=api_overrides,
    )


def make_services(
    conf: Config,
    *,
    registry: Registry,
    stores: Stores,
    quotas: Quotas,
    accounts: user_buckets.Accounts | None = None,
    api_overrides: Mapping[str, str] = _NO_OVERRIDES,
) -> Services:
    """The services around these drivers. ``accounts`` are those of users' object storage, if any.

    Raises BadConfig, naming the option.
    """
    api = conf.read(ApiSettings, api_overrides)
    access = Access(registry=registry, policy=Policy(conf.native))
    uploads = Uploads(
        registry=registry,
        stores=stores,
        settings=conf.section(upload.GROUP, upload.OPTS),
        quotas=quotas,
    )
    records = Records(
        registry=registry, access=access, cleanup=uploads, quotas=quotas, settings=api
    )
    downloads = Web(conf.section(uris.GROUP, uris.OPTS), conf.section(web.GROUP, web.OPTS))
    allowed_buckets = None if accounts is None else _allowed_buckets(conf)
    work = _Work(
        stores=stores,
        quotas=quotas,
        web=downloads,
        signatures=verify.load(conf.read(verify.SignatureSettings)),
        inspector=inspection.shared(conf.read(inspection.InspectionSettings)),
        algorithm=uploads.settings.hashing_algorithm,
        max_size=conf.read(SizeLimitSettings).image_size_cap,
        recheck=Reauthorizer(access=access, native=conf.native),
    )
    kinds = work.import_kinds(conf)
    if accounts is not None and allowed_buckets is not None:
        kinds |= work.bucket_kinds(conf, accounts, allowed_buckets)
    return Services(
        registry=registry,
        stores=stores,
        quotas=quotas,
        access=access,
        records=records,
        sharing=Sharing(registry=registry, access=access, settings=api),
        uploads=uploads,
        web=downloads,
        signatures=work.signatures,
        engine=make_engine(registry, kinds, conf.section(engine.GROUP, engine.OPTS)),
        allowed_buckets=allowed_buckets,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the work of jobs is made of. ``max_size`` is that of an image, in bytes."""

    stores: Stores
    quotas: Quotas
    web: Web
    signatures: Signatures
    inspector: Inspector
    algorithm: str
    max_size: int
    recheck: Reauthorizer

    def import_kinds(self, conf: Config) -> dict[str, engine.Work]:
        """The kinds of jobs that every deployment has, and their work."""
        sources = inspected.Sources(
            stores=self.stores,
            web=self.web,
            unpacker=decompress.Decompressor(conf.section(decompress.GROUP, decompress.OPTS)),
            gate=self.inspector,
            limit=self.max_size,
            signatures=self.signatures,
        )
        return {
            imports.KIND: self._import_from(sources),
            locations.KIND: locations.AddLocation(
                stores=self.stores,
                algorithm=self.algorithm,
                sources=sources,
                quotas=self.quotas,
                recheck=self.recheck,
            ),
        }

    def bucket_kinds(
        self, conf: Config, accounts: user_buckets.Accounts, allowed: Allowed
    ) -> dict[str, engine.Work]:
        """The kinds of jobs that read and write users' buckets, and their work."""
        profile = profiles.chosen(conf.read(profiles.ProfileSettings))
        limit = min(self.max_size, profile.import_limit or self.max_size)
        sources = bucket.BucketSources(
            accounts=accounts,
            allowed=allowed,
            gate=self.inspector,
            limit=limit,
            signatures=self.signatures,
        )
        register = self._import_from(sources)
        return {
            bucket.REGISTER: register,
            bucket.CREATE: dataclasses.replace(register, failed=Status.DELETED),
            export.KIND: export.ExportWork(
                stores=self.stores, accounts=accounts, allowed=allowed, recheck=self.recheck
            ),
        }

    def _import_from(self, sources: imports.Sources) -> imports.ImportWork:
        return imports.ImportWork(
            stores=self.stores,
            algorithm=self.algorithm,
            sources=sources,
            quotas=self.quotas,
            recheck=self.recheck,
        )


def _allowed_buckets(conf: Config) -> Allowed:
    try:
        return Allowed(conf.read(user_buckets.BucketsSettings).allowed)
    except ValueError as error:
        raise BadConfig(f"[{user_buckets.GROUP}] allowed", str(error)) from error


def load_registry(conf: Config) -> Registry:
    """The registry that ``[registry] driver`` names. Raises BadConfig."""
    name = conf.read(RegistrySettings).driver
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


def import_drivers(conf: Config) -> None:
    """Import the configured drivers and their libraries, so that forked processes share them.

    Raises BadConfig, naming the option.
    """
    loader.drivers(conf)
    user_buckets.driver(conf)
    _engine_driver(conf.section(engine.GROUP, engine.OPTS))
