"""The application of ``egg:imsgate#bridge``: the services behind it, and how it is built."""

from imsgate import app, config
from imsgate.api import data, info, tus, uploads
from imsgate.api.deployment import Deployment
from imsgate.api.dialect import Dialect
from imsgate.api.job_starter import JobStarter
from imsgate.api.schemas import Checker
from imsgate.api.signatures import Signing
from imsgate.bridge import remote as image_service
from imsgate.bridge.application import Bridge
from imsgate.bridge.data import BridgeReceiver, DataCalls
from imsgate.bridge.records import BridgedAccess
from imsgate.bridge.registration import Registrations
from imsgate.bridge.remote import Remote
from imsgate.config import Config, DefaultSettings
from imsgate.forward.application import Forward
from imsgate.jobs.methods import GLANCE_DIRECT
from imsgate.services import Services, load_services
from imsgate.signatures import verify
from imsgate.transfer.repeat import Repeats


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Bridge:
    """The ``paste.app_factory``; its keys are options of ``[api]``.

    Raises BadConfig, naming the option, for an invalid configuration.
    """
    conf = config.load(global_conf)
    remote = image_service.load(conf)
    services = load_services(conf, local_conf, remote)
    bridge = make_bridge(services, conf, remote)
    app.start_work(services, conf, bridge.sweep)
    return bridge


def make_bridge(services: Services, conf: Config, remote: Remote) -> Bridge:
    """The application in front of these services and of IMS. Raises BadConfig."""
    assert isinstance(services.access, BridgedAccess)
    public_endpoint = conf.read(DefaultSettings).public_endpoint
    deployment = Deployment(
        stores=services.stores,
        import_methods=(GLANCE_DIRECT,),
        detects_formats=True,
        allowed_buckets=None,
        public_endpoint=public_endpoint,
    )
    registrations = Registrations(registry=services.registry, engine=services.engine)
    return Bridge(
        forward=Forward(remote.settings, public_endpoint, remote.credentials),
        calls=_calls(services, conf, deployment, services.access, registrations),
        remote=remote,
        registry=services.registry,
        records=services.records,
        registrations=registrations,
        check=services.read_only.check,
    )


def _calls(
    services: Services,
    conf: Config,
    deployment: Deployment,
    access: BridgedAccess,
    registrations: Registrations,
) -> DataCalls:
    signing = Signing(
        signatures=services.signatures,
        source=verify.load_source(conf.read(verify.SignatureSettings), conf.native),
    )
    receiver = BridgeReceiver(
        access=access,
        uploads=services.resumable,
        inspector=services.inspector,
        deployment=deployment,
        jobs=JobStarter(
            engine=services.engine,
            records=services.records,
            quotas=services.quotas,
            signing=signing,
        ),
    )
    resource = uploads.UploadResource(receiver=receiver)
    return DataCalls(
        access=access,
        upload=data.ImageUpload(
            access=access,
            uploads=services.uploads,
            # The object is gone once IMS has the image.
            repeats=Repeats(stores=services.stores, window=0),
            jobs=receiver.jobs,
            deployment=deployment,
            resource=resource,
        ),
        resource=resource,
        tus=tus.TusUploads(
            receiver=receiver, records=services.records, dialect=Dialect(Checker({}))
        ),
        info=info.Info(access=access, records=services.records, deployment=deployment, schemas={}),
        registrations=registrations,
    )
