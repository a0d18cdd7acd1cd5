"""The application at the end of the pipeline: the services behind both APIs."""

import atexit
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from imsgate import config, errors, profiles
from imsgate.api import (
    data,
    images,
    imports,
    info,
    injection,
    locations,
    members,
    metrics,
    openapi,
    routes,
    schemas,
    tasks,
    tus,
    uploads,
)
from imsgate.api.deployment import Deployment, check_named_stores
from imsgate.api.dialect import Dialect
from imsgate.api.idempotency import Repeatable
from imsgate.api.ims import about as ims_about
from imsgate.api.ims import copy as ims_copy
from imsgate.api.ims import export as ims_export
from imsgate.api.ims import images as ims_images
from imsgate.api.ims import jobs as ims_jobs
from imsgate.api.ims import members as ims_members
from imsgate.api.ims import register as ims_register
from imsgate.api.ims import tags as ims_tags
from imsgate.api.ims.dialect import ImsDialect
from imsgate.api.job_starter import JobStarter
from imsgate.api.receiver import Receiver
from imsgate.api.signatures import Signing
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.filters.metrics import MetricsSettings
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.maintenance.read_only import ReadOnlyMode
from imsgate.profiles import Profile
from imsgate.records.settings import FormatSettings
from imsgate.registry.base import Registry
from imsgate.services import Services, load_services
from imsgate.signatures import encryption_keys, verify
from imsgate.stores.enabled import Stores
from imsgate.transfer import orphans
from imsgate.transfer.cleanup import Cleanup, sweep_forever
from imsgate.transfer.repeat import Repeats
from imsgate.transfer.resumable import ResumableUploads


class Application:
    """The WSGI application: routes requests and renders errors."""

    def __init__(self, router: Callable[[Request], Any], check: Callable[[Request], None]) -> None:
        """``check`` raises an Error for a request that is refused before it is routed."""
        self._router = router
        self._check = check

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            self._check(request)
            response = responses.identified(self._router(request), environ)
        except errors.Error as error:
            response = responses.refusal(error)
        return response(environ, start_response)


#: What stops the jobs and the senders of the applications in this process.
_stopping: list[Callable[[], None]] = []


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Application:
    """The ``paste.app_factory`` of ``egg:imsgate#gate``; its keys are options of ``[api]``.

    Raises BadConfig, naming the option, for an invalid configuration.
    """
    conf = config.load(global_conf)
    services = load_services(conf, local_conf)
    application = make_application(services, conf)
    start_work(services, conf)
    return application


def start_work(services: Services, conf: Config, *sweeps: Callable[[], object]) -> None:
    """Notify, sweep (also by ``sweeps``), do jobs and verify data on threads of this process."""
    threads = conf.read(JobSettings).threads
    services.notifications.start_threads()
    work_in_background(services, threads, services.notifications.forget, *sweeps)
    services.verification.start_threads(min(threads, 1))
    _stopping.extend((services.notifications.stop, services.verification.stop))


class Background(Protocol):
    """What is done beside requests."""

    @property
    def registry(self) -> Registry: ...
    @property
    def stores(self) -> Stores: ...
    @property
    def cleanup(self) -> Cleanup: ...
    @property
    def resumable(self) -> ResumableUploads: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def read_only(self) -> ReadOnlyMode: ...


def work_in_background(services: Background, threads: int, *sweeps: Callable[[], object]) -> None:
    """Sweep regularly, also by ``sweeps``, and do jobs on this many threads, until
    ``hand_back``."""
    work = (make_sweep(services, *sweeps), services.resumable.settings.lease)
    threading.Thread(target=sweep_forever, args=work, name="sweep", daemon=True).start()
    services.engine.start_threads(threads)
    _stopping.append(services.engine.stop)
    # For servers that do not call hand_back earlier.
    atexit.register(hand_back)


def hand_back() -> None:
    """Hand the running jobs of this process back, so that others need not wait for their leases,
    and stop sending notifications.

    To be called before the interpreter shuts down its thread pools, which happens before
    ``atexit``: a job that writes to S3 would fail. May be called more than once.
    """
    while _stopping:
        _stopping.pop()()


def make_sweep(services: Background, *sweeps: Callable[[], object]) -> Callable[[], None]:
    """What to call regularly: it sweeps records and ended jobs, and, the first time, the stores.

    It does nothing while the service is read-only. Raises Unavailable.
    """
    first = [lambda: orphans.sweep_quietly(services.registry, services.stores)]

    def sweep() -> None:
        if services.read_only.is_on():
            return
        while first:
            first.pop()()
        services.cleanup.sweep()
        services.engine.forget()
        services.registry.forget_keys(time.time())
        services.resumable.forget()
        for further in sweeps:
            further()

    return sweep


def make_application(services: Services, conf: Config) -> Application:
    """The application in front of these services. Raises BadConfig, naming the option."""
    check_named_stores(services.uploads.settings, services.stores)
    profile = profiles.chosen(conf.read(profiles.ProfileSettings))
    deployment = _deployment(services, conf, profile)
    formats = conf.read(FormatSettings)
    schema = schemas.image(formats.disk_formats, formats.container_formats)
    signing = Signing(
        signatures=services.signatures,
        source=verify.load_source(conf.read(verify.SignatureSettings), conf.native),
    )
    jobs = JobStarter(
        engine=services.engine, records=services.records, quotas=services.quotas, signing=signing
    )
    checker = schemas.Checker(schema)
    ims_dialect = ImsDialect(checker, profile)
    dialect = Dialect(checker) if profile is profiles.NONE else ims_dialect
    about = info.Info(
        access=services.access,
        records=services.records,
        deployment=deployment,
        schemas=schemas.documents(schema),
    )
    table = [
        *_image_api(services, conf, deployment, dialect, jobs, about),
        *_ims_api(services, deployment, ims_dialect, jobs),
    ]
    described = openapi.ApiDescription(table, schema, deployment.public_endpoint)
    router = routes.Router([*table, described.route], versions=about.versions)
    return Application(router, services.read_only.check)


def _deployment(services: Services, conf: Config, profile: Profile) -> Deployment:
    return Deployment(
        stores=services.stores,
        import_methods=imports.enabled(conf),
        detects_formats=profile is not profiles.NONE,
        allowed_buckets=services.allowed_buckets,
        conversion=services.conversion,
        public_endpoint=conf.section("DEFAULT", config.OPTS).public_endpoint,
    )


def _image_api(
    services: Services,
    conf: Config,
    deployment: Deployment,
    dialect: Dialect,
    jobs: JobStarter,
    about: info.Info,
) -> list[routes.Route]:
    access, records = services.access, services.records
    receiver = Receiver(
        access=access,
        uploads=services.resumable,
        inspector=services.inspector,
        deployment=deployment,
        jobs=jobs,
    )
    resource = uploads.UploadResource(receiver=receiver)
    accepting = conf.read(locations.LocationSettings).stores
    return routes.routes(
        info=about,
        images=images.Images(
            records=records,
            dialect=dialect,
            deployment=deployment,
            keys=encryption_keys.load(conf),
        ),
        upload=data.ImageUpload(
            access=access,
            uploads=services.uploads,
            repeats=Repeats(stores=services.stores, window=services.uploads.settings.repeat_window),
            jobs=jobs,
            deployment=deployment,
            resource=resource,
        ),
        resource=resource,
        tus=tus.TusUploads(receiver=receiver, records=records, dialect=dialect),
        download=data.ImageDownload(
            access=access, stores=services.stores, on_sent=services.notifications.on_sent
        ),
        members=members.Members(sharing=services.sharing),
        imports=imports.Imports(
            access=access,
            sources=services.import_sources,
            jobs=jobs,
            deployment=deployment,
            injection=injection.load(conf),
        ),
        locations=locations.Locations(
            records=records,
            jobs=jobs,
            stores=locations.LocationStores(services.stores, accepting),
            reads_data=conf.read(locations.SecureHashSettings).do_secure_hash,
        ),
        tasks=tasks.Tasks(access=access, registry=services.registry, settings=records.settings),
        metrics=metrics.MetricsReport(
            access=access,
            settings=conf.read(MetricsSettings),
            registry=services.registry,
            stores=services.stores,
        ),
        repeatable=Repeatable(services.registry),
    )


def _ims_api(
    services: Services, deployment: Deployment, dialect: ImsDialect, jobs: JobStarter
) -> list[routes.Route]:
    access, records = services.access, services.records
    return routes.ims_routes(
        about=ims_about.About(access=access, records=records),
        images=ims_images.CloudImages(records=records, dialect=dialect),
        jobs=ims_jobs.Jobs(access=access, registry=services.registry),
        members=ims_members.CloudMembers(sharing=services.sharing, registry=services.registry),
        register=ims_register.Register(
            records=records, dialect=dialect, jobs=jobs, deployment=deployment
        ),
        copy=ims_copy.ImageCopy(records=records, jobs=jobs, deployment=deployment),
        export=ims_export.ImageExport(access=access, jobs=jobs, deployment=deployment),
        tags=ims_tags.ImageTags(records=records, dialect=dialect),
        repeatable=Repeatable(services.registry),
    )


class Paths:
    """Calls the application of a request's path.

    A path that ends with a slash stands for all paths below it, which its application sees without
    that beginning, as in WSGI; of several, the longest counts. Without its slash, it is redirected.
    Any other path stands for itself alone. ``/`` is for everything else.
    """

    def __init__(self, apps: Mapping[str, WsgiApp]) -> None:
        self._apps = apps
        below = [path for path in apps if path.endswith("/") and path != "/"]
        self._below = sorted(below, key=len, reverse=True)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if f"{path}/" in self._below and path not in self._apps:
            return _add_slash(environ, start_response)
        for beginning in self._below:
            if path.startswith(beginning):
                mounted = {
                    **environ,
                    "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + beginning[:-1],
                    "PATH_INFO": path[len(beginning) - 1 :],
                }
                return self._apps[beginning](mounted, start_response)
        return self._apps.get(path, self._apps["/"])(environ, start_response)


def _add_slash(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Relative links of a page lead below its directory only with the slash."""
    name = environ.get("PATH_INFO", "").rpartition("/")[2]
    # Relative: behind a proxy, the client's URL may have another host and path.
    headers = [("Location", f"{name}/"), ("Content-Type", "text/plain"), ("Content-Length", "0")]
    start_response("308 Permanent Redirect", headers)
    return []


def composite_factory(loader: Any, global_conf: dict[str, str], **paths: str) -> Paths:
    """The ``paste.composite_factory`` of ``egg:imsgate#paths``: keys are paths, values apps.

    Raises BadConfig if there is no application for ``/``.
    """
    if "/" not in paths:
        raise BadConfig("[composite] /", "the application for all other paths is missing")
    return Paths({path: loader.get_app(name, global_conf) for path, name in paths.items()})
