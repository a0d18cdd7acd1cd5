"""What the requests, jobs and sweeps of a spool share, and how it is built from options."""

import dataclasses

from imsgate.api import schemas
from imsgate.api.dialect import Dialect
from imsgate.api.job_starter import JobStarter
from imsgate.api.receiver import Receiver
from imsgate.api.signatures import Signing
from imsgate.api.tus import TusUploads
from imsgate.api.uploads import UploadResource
from imsgate.auth.policy import Policy
from imsgate.config import Config, DefaultSettings
from imsgate.errors import BadConfig
from imsgate.forward.application import Forward
from imsgate.forward.settings import GROUP, ForwardSettings
from imsgate.http.request import Request
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.maintenance.read_only import MaintenanceSettings, ReadOnlyMode
from imsgate.quotas import quota
from imsgate.quotas.quota import Quotas
from imsgate.records.settings import ApiSettings, FormatSettings
from imsgate.registry.base import Registry
from imsgate.registry.loader import load_registry
from imsgate.services import make_engine, source_inspector
from imsgate.sources.inspected import SourceInspector
from imsgate.sources.stored import StoredSources
from imsgate.spool.job import KIND, ForwardUpload
from imsgate.spool.repeat import UpstreamRepeats
from imsgate.spool.seal import CredentialSeal
from imsgate.spool.upstream import (
    UpstreamAccess,
    UpstreamDeployment,
    UpstreamImages,
    UpstreamRecords,
    UpstreamStores,
)
from imsgate.stores import loader
from imsgate.stores.base import Resumable
from imsgate.stores.enabled import Stores
from imsgate.transfer import media
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.settings import UploadSettings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """The services, and the handlers that use them in the name of a user."""

    registry: Registry
    stores: Stores
    cleanup: Cleanup
    resumable: ResumableUploads
    engine: Engine
    read_only: ReadOnlyMode
    quotas: Quotas
    inspector: SourceInspector
    policy: Policy
    api: ApiSettings
    dialect: Dialect
    repeats: UpstreamRepeats
    seal: CredentialSeal
    forward: Forward
    public_endpoint: str | None

    def images(self, request: Request) -> UpstreamImages:
        """The images of upstream, as the user who sent the request sees them."""
        return UpstreamImages(self.forward, self.forward.sender(request))

    def handlers(self, request: Request) -> tuple[UploadResource, TusUploads]:
        """Those of both protocols, in the name of the user who sent the request."""
        images = self.images(request)
        access = UpstreamAccess(registry=self.registry, policy=self.policy, images=images)
        records = UpstreamRecords(
            registry=self.registry,
            access=access,
            cleanup=self.cleanup,
            resumable=self.resumable,
            quotas=self.quotas,
            settings=self.api,
            images=images,
        )
        signing = Signing(signatures=self.inspector.signatures, source=None)
        receiver = Receiver(
            access=access,
            uploads=self.resumable,
            inspector=self.inspector,
            deployment=UpstreamDeployment(
                stores=UpstreamStores(),
                import_methods=(),
                detects_formats=True,
                allowed_buckets=None,
                public_endpoint=self.public_endpoint,
                images=images,
            ),
            jobs=JobStarter(
                engine=self.engine, records=records, quotas=self.quotas, signing=signing
            ),
            finishing=KIND,
        )
        resource = UploadResource(receiver=receiver)
        return resource, TusUploads(receiver=receiver, records=records, dialect=self.dialect)


def load_spool(conf: Config, settings: ForwardSettings, forward: Forward) -> Spool:
    """The spool that ``[forward]`` describes. Raises BadConfig, naming the option."""
    registry, stores = load_registry(conf), loader.load(conf)
    read_only = ReadOnlyMode(registry, conf.read(MaintenanceSettings))
    media.check(registry, stores)
    check_store(stores, str(settings.spool_store))
    upload = conf.read(UploadSettings, {"spool_store": str(settings.spool_store)})
    inspector = source_inspector(conf)
    quotas = _quotas(settings)
    resumable = ResumableUploads(
        registry=registry,
        stores=stores,
        settings=upload,
        limit=lambda: min(inspector.limit(), settings.spool_limit << 20),
        quotas=quotas,
    )
    seal = CredentialSeal(settings.spool_seal_file)
    work = ForwardUpload(
        uploads=resumable,
        sources=StoredSources(stores=stores, inspector=inspector),
        forward=forward,
        seal=seal,
    )
    formats = conf.read(FormatSettings)
    schema = schemas.image(formats.disk_formats, formats.container_formats)
    return Spool(
        registry=registry,
        stores=stores,
        cleanup=Cleanup(registry=registry, stores=stores, lease=upload.lease),
        resumable=resumable,
        engine=make_engine(registry, {KIND: work}, conf.read(JobSettings), read_only.is_on),
        read_only=read_only,
        quotas=quotas,
        inspector=inspector,
        policy=Policy(conf.native),
        api=conf.read(ApiSettings),
        dialect=Dialect(schemas.Checker(schema)),
        repeats=UpstreamRepeats(window=upload.repeat_window),
        seal=seal,
        forward=forward,
        public_endpoint=conf.read(DefaultSettings).public_endpoint,
    )


def _quotas(settings: ForwardSettings) -> Quotas:
    """All records here have the same owner, whose quota is what the spool may occupy."""
    unlimited = dict.fromkeys((str(option.dest) for option in quota.OPTS), -1)
    return Quotas(lambda _: {**unlimited, "image_size_total": settings.spool_limit})


def check_store(stores: Stores, name: str) -> None:
    """Raises BadConfig. Of a store that is unavailable now, only the existence is checked."""
    key, backends = f"[{GROUP}] spool_store", {each.id: each for each in stores}
    if name not in backends:
        raise BadConfig(key, f"there is no store {name!r}")
    store = backends[name].started
    if store is not None and store.read_only:
        raise BadConfig(key, f"the store {name!r} is read-only")
    if not isinstance(store, Resumable | None):
        raise BadConfig(key, f"the store {name!r} cannot keep a part of an upload")
