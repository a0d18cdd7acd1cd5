"""The services that handlers, jobs and sweeps share, and how they are built from options."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imsgate import inspection, plugins
from imsgate.auth.policy import Policy
from imsgate.bridge.settings import BridgeSettings
from imsgate.buckets import base as user_buckets
from imsgate.buckets.image_url import Allowed
from imsgate.config import Config
from imsgate.filters.sizelimit import SizeLimitSettings
from imsgate.jobs import conversion as conversions
from imsgate.jobs import export, locations, methods, uploads
from imsgate.jobs.conversion import Conversion
from imsgate.jobs.engine import Engine
from imsgate.jobs.imports import ImportWork
from imsgate.jobs.methods import ImportSources
from imsgate.jobs.settings import GROUP as JOBS_GROUP
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.maintenance.read_only import MaintenanceSettings, ReadOnlyMode
from imsgate.notifications import notifications
from imsgate.notifications.notifications import Notifications
from imsgate.quotas import quota
from imsgate.quotas.quota import Quotas
from imsgate.records import protections, remote_fields
from imsgate.records.access import Access
from imsgate.records.reauthorize import Reauthorizer
from imsgate.records.records import Records
from imsgate.records.settings import ApiSettings
from imsgate.records.sharing import Sharing
from imsgate.registry.base import Registry
from imsgate.registry.loader import load_registry
from imsgate.signatures import verify
from imsgate.signatures.verify import Signatures
from imsgate.sources import bucket
from imsgate.sources.decompress import DecompressionSettings, Decompressor
from imsgate.sources.downloads import Downloads, WebSources
from imsgate.sources.glance import GlanceSources
from imsgate.sources.inspected import SourceInspector
from imsgate.sources.openpgp import Keyring
from imsgate.sources.staged import StagedSources
from imsgate.sources.stored import StoredSources
from imsgate.sources.uris import UriSettings
from imsgate.sources.web import Web, WebSettings
from imsgate.stores import loader
from imsgate.stores.enabled import Stores
from imsgate.transfer import media
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.settings import UploadSettings
from imsgate.transfer.upload import Uploads
from imsgate.verification import repair
from imsgate.verification.background import BackgroundVerification
from imsgate.verification.repair import Repairs
from imsgate.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from imsgate.bridge.remote import Remote


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers, jobs and sweeps share, in serving processes and workers alike.

    ``allowed_buckets`` is None if no object storage for users is configured, ``conversion`` if
    no images are converted.
    """

    registry: Registry
    stores: Stores
    quotas: Quotas
    access: Access
    records: Records
    sharing: Sharing
    uploads: Uploads
    resumable: ResumableUploads
    inspector: SourceInspector
    cleanup: Cleanup
    import_sources: ImportSources
    signatures: Signatures
    engine: Engine
    repairs: Repairs
    verification: BackgroundVerification
    notifications: Notifications
    read_only: ReadOnlyMode
    allowed_buckets: Allowed | None
    conversion: Conversion | None


_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def load_services(
    conf: Config,
    api_overrides: Mapping[str, str] = _NO_OVERRIDES,
    remote: "Remote | None" = None,
) -> Services:
    """The services that the configuration describes. ``api_overrides`` are options of ``[api]``,
    ``remote`` is the image service that has the records, for a bridge.

    Raises BadConfig, naming the option.
    """
    registry, stores = load_registry(conf), loader.load(conf)
    media.check(registry, stores)
    accounts = user_buckets.load(conf)
    if accounts is not None:
        accounts.check_at_start()
    return make_services(
        conf,
        registry=registry,
        stores=stores,
        quotas=quota.load(conf),
        accounts=accounts,
        api_overrides=api_overrides,
        remote=remote,
    )


def make_services(
    conf: Config,
    *,
    registry: Registry,
    stores: Stores,
    quotas: Quotas,
    accounts: user_buckets.Accounts | None = None,
    api_overrides: Mapping[str, str] = _NO_OVERRIDES,
    remote: "Remote | None" = None,
) -> Services:
    """The services around these drivers. ``accounts`` are those of users' object storage, if any,
    and ``remote`` is as for ``load_services``.

    Raises BadConfig, naming the option.
    """
    read_only = ReadOnlyMode(registry, conf.read(MaintenanceSettings))
    api = conf.read(ApiSettings, api_overrides)
    upload = conf.read(UploadSettings)
    access = _access(conf, registry, remote)
    cleanup = Cleanup(registry=registry, stores=stores, lease=upload.lease)
    inspector = source_inspector(conf)
    reauthorize = Reauthorizer(access=access, native=conf.native)
    protected = protections.load(conf, access.policy)
    adopt = remote_fields.load(conf, api, protected, reauthorize.user)
    sources = _import_sources(conf, stores, inspector, accounts, reauthorize, adopt)
    conversion = conversions.load(conf, inspector)
    resumable = ResumableUploads(
        registry=registry, stores=stores, settings=upload, limit=inspector.limit, quotas=quotas
    )
    work = _work(
        conf,
        registry=registry,
        stores=stores,
        sources=sources,
        inspector=inspector,
        resumable=resumable,
        quotas=quotas,
        reauthorize=reauthorize,
        conversion=conversion,
    )
    if remote is not None:
        work.update(_register_work(conf, registry, stores, remote))
    jobs = conf.read(JobSettings)
    engine = make_engine(registry, work, jobs, read_only.is_on)
    repairs = Repairs(stores=stores, engine=engine)
    return Services(
        registry=registry,
        stores=stores,
        quotas=quotas,
        access=access,
        records=Records(
            registry=registry,
            access=access,
            cleanup=cleanup,
            resumable=resumable,
            quotas=quotas,
            settings=api,
            protections=protected,
        ),
        sharing=Sharing(registry=registry, access=access, settings=api),
        uploads=Uploads(registry=registry, settings=upload, quotas=quotas),
        resumable=resumable,
        inspector=inspector,
        cleanup=cleanup,
        import_sources=sources,
        signatures=inspector.signatures,
        engine=engine,
        repairs=repairs,
        verification=BackgroundVerification(
            registry, stores, repairs, conf.read(VerificationSettings), jobs, read_only.is_on
        ),
        notifications=(
            notifications.load(conf, registry) if remote is None else notifications.none(registry)
        ),
        read_only=read_only,
        allowed_buckets=sources.objects.allowed if sources.objects else None,
        conversion=conversion,
    )


def _access(conf: Config, registry: Registry, remote: "Remote | None") -> Access:
    policy = Policy(conf.native)
    if remote is None:
        return Access(registry=registry, policy=policy)
    from imsgate.bridge.records import BridgedAccess  # noqa: PLC0415 - only a bridge needs it

    return BridgedAccess(registry=registry, policy=policy, remote=remote)


def _register_work(
    conf: Config, registry: Registry, stores: Stores, remote: "Remote"
) -> dict[str, Work]:
    """Raises BadConfig if IMS could not read what is uploaded, or would refuse it."""
    from imsgate.bridge import registration  # noqa: PLC0415 - only a bridge needs it

    registration.check_store(stores, conf.read(UploadSettings))
    conf.require(lambda new: registration.check_size(new.read(SizeLimitSettings).image_size_cap))
    settings = conf.read(BridgeSettings)
    work = registration.RegisterWork(
        registry=registry,
        stores=stores,
        remote=remote,
        poll_interval=settings.poll_interval,
        timeout=settings.registration_timeout,
        says_why=conf.read(JobSettings).failure_message,
    )
    return {registration.KIND: work}


def source_inspector(conf: Config) -> SourceInspector:
    """The inspection of image data from anywhere. Raises BadConfig."""
    sizes = conf.read(SizeLimitSettings)
    return SourceInspector(
        inspector=inspection.shared(conf.read(inspection.InspectionSettings)),
        signatures=verify.load(conf.read(verify.SignatureSettings)),
        decompressor=Decompressor(conf.read(DecompressionSettings)),
        limit=lambda: sizes.image_size_cap,
    )


def _import_sources(
    conf: Config,
    stores: Stores,
    inspector: SourceInspector,
    accounts: user_buckets.Accounts | None,
    reauthorize: Reauthorizer,
    adopt: remote_fields.RemoteFields,
) -> ImportSources:
    web = conf.read(WebSettings)
    keyring = Keyring.load(f"[{WebSettings.GROUP}] keyring", web.keyring) if web.keyring else None
    downloads = Downloads(web=Web(conf.read(UriSettings), web), keyring=keyring)
    return ImportSources(
        staged=StagedSources(stores=stores, inspector=inspector),
        web=WebSources(downloads=downloads, inspector=inspector),
        remote=GlanceSources(
            web=downloads.web, inspector=inspector, token=reauthorize.token, adopt=adopt
        ),
        objects=None if accounts is None else bucket.load(conf, accounts, inspector),
    )


def _work(
    conf: Config,
    *,
    registry: Registry,
    stores: Stores,
    sources: ImportSources,
    inspector: SourceInspector,
    resumable: ResumableUploads,
    quotas: Quotas,
    reauthorize: Reauthorizer,
    conversion: Conversion | None,
) -> dict[str, Work]:
    """The kinds of jobs that this deployment has, and their work."""
    algorithms = conf.read(UploadSettings).algorithms
    says_why = conf.read(JobSettings).failure_message
    importing = ImportWork(
        stores=stores,
        algorithms=algorithms,
        sources=sources,
        quotas=quotas,
        reauthorize=reauthorize,
        says_why=says_why,
        conversion=conversion,
    )
    stored = StoredSources(stores=stores, inspector=inspector)
    work: dict[str, Work] = {
        methods.IMPORT: importing,
        methods.COPY: importing,
        locations.KIND: locations.AddLocation(
            stores=stores,
            algorithms=algorithms,
            sources=stored,
            quotas=quotas,
            reauthorize=reauthorize,
            says_why=says_why,
        ),
        uploads.KIND: uploads.VerifyUpload(
            uploads=resumable, sources=stored, reauthorize=reauthorize
        ),
        repair.KIND: repair.RepairWork(registry=registry, stores=stores),
    }
    if sources.objects is not None:
        work[methods.REGISTER] = work[methods.CREATE] = importing
        work[export.KIND] = export.ExportWork(
            stores=stores,
            accounts=sources.objects.accounts,
            allowed=sources.objects.allowed,
            reauthorize=reauthorize,
        )
    return work


def make_engine(
    registry: Registry,
    kinds: Mapping[str, Work],
    settings: JobSettings,
    is_paused: Callable[[], bool] = lambda: False,
) -> Engine:
    """The engine that ``[jobs] engine`` names. Raises BadConfig."""
    made: Engine = engine_driver(settings)(registry, kinds, settings, is_paused)
    return made


def engine_driver(settings: JobSettings) -> Any:
    """The class that ``[jobs] engine`` names. Raises BadConfig."""
    key, hint = f"[{JOBS_GROUP}] engine", "; celery needs imsgate[celery]"
    return plugins.find("imsgate.engines", settings.engine, key, hint)


def import_drivers(conf: Config) -> None:
    """Import the configured drivers and their libraries, so that forked processes share them.

    Raises BadConfig, naming the option.
    """
    loader.drivers(conf)
    user_buckets.driver(conf)
    engine_driver(conf.read(JobSettings))
    notifications.import_bus(conf)
