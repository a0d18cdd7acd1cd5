"""The upload application at the end of the pipeline: the parts, behind the whole API."""

import atexit
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from oslo_config import cfg

from imsgate import config, errors, profiles
from imsgate.api import (
    access,
    data,
    images,
    info,
    locations,
    members,
    routes,
    schemas,
    signatures,
    tasks,
    views,
)
from imsgate.api import imports as import_api
from imsgate.api.ims import about as ims_about
from imsgate.api.ims import dialect
from imsgate.api.ims import images as ims_images
from imsgate.api.ims import jobs as ims_jobs
from imsgate.api.ims import members as ims_members
from imsgate.api.ims import register as ims_register
from imsgate.api.ims import tags as ims_tags
from imsgate.errors import BadConfig
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.jobs import engine
from imsgate.services import SectionOf, Services, load_services
from imsgate.signatures import verify
from imsgate.stores import loader
from imsgate.stores.base import Addressed
from imsgate.transfer import orphans
from imsgate.transfer.cleanup import sweep_forever
from imsgate.transfer.upload import GROUP as UPLOAD
from imsgate.transfer.upload import OPTS as UPLOAD_OPTS


class Application:
    """The WSGI application: routes a request and renders what it raises."""

    def __init__(self, router: Callable[[Request], Any]) -> None:
        self._router = router

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer: WsgiApp = self._router(request)
        except errors.Error as error:
            answer = responses.refusal(error)
        return answer(environ, start_response)


#: The engines of this process's applications.
_engines: list[engine.Engine] = []


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Application:
    """The ``paste.app_factory`` of ``egg:imsgate#gate``; its keys are options of ``[api]``.

    Raises BadConfig, naming the key, for anything that cannot work.
    """
    conf = config.load(global_conf)
    parts = load_services(conf)
    api = conf.section(images.GROUP, images.OPTS, local_conf)
    gate = assemble(parts, conf.native, conf.section, api)
    threading.Thread(target=_look_after, args=(parts,), name="sweep", daemon=True).start()
    parts.engine.start_threads(conf.section(engine.GROUP, engine.OPTS).threads)
    _engines.append(parts.engine)
    # For servers that do not say so earlier.
    atexit.register(hand_back)
    return gate


def hand_back() -> None:
    """Hand the running jobs of this process back: one that ends in peace does not leave them
    to their leases.

    To be called before the interpreter ends its thread pools, which come before ``atexit``: a
    job that writes into S3 would fail. May be called again.
    """
    while _engines:
        _engines.pop().stop()


def assemble(parts: Services, conf: cfg.ConfigOpts, section: SectionOf, api: Any) -> Application:
    """The application of these parts; ``api`` are the values of ``[api]``, ``conf`` what
    libraries read their own options from. Raises BadConfig."""
    registry, stores, uploads = parts.registry, parts.stores, parts.uploads
    formats = section(images.FORMAT_GROUP, images.FORMAT_OPTS)
    methods = tuple(section("DEFAULT", import_api.OPTS).enabled_import_methods)
    staging = _staging_store(stores, section(UPLOAD, UPLOAD_OPTS).staging_store)
    image = schemas.image(formats.disk_formats, formats.container_formats)
    documents = {
        "image": image,
        "images": schemas.page("images", image),
        "member": schemas.MEMBER,
        "members": schemas.MEMBERS,
        "task": schemas.TASK,
        "tasks": schemas.page("tasks", schemas.TASK),
    }
    gatekeeper = parts.access
    signer = _signing(parts, conf, section)
    native = dialect.Native(profiles.chosen(section))
    spoken = views.GLANCE if native.profile is profiles.NONE else native
    endpoint = section("DEFAULT", config.OPTS).public_endpoint
    about = info.Info(gatekeeper, stores, endpoint, documents, uploads.quotas, methods)
    checker = schemas.Checker(image)
    import_checker = schemas.Checker(import_api.SCHEMA)
    records = images.Images(
        gatekeeper,
        registry,
        stores,
        uploads,
        parts.cleanup,
        api,
        checker,
        methods,
        spoken,
        endpoint,
    )
    shared = members.Members(gatekeeper, registry, api, schemas.Checker(schemas.MEMBER))
    table = routes.routes(
        about,
        records,
        data.Data(
            gatekeeper, registry, stores, uploads, parts.cleanup, signer, staging, spoken.detects
        ),
        shared,
        import_api.Imports(
            gatekeeper,
            stores,
            parts.engine,
            parts.import_sources,
            uploads.quotas,
            signer,
            methods,
            import_checker,
            spoken.detects,
        ),
        _locations(parts, gatekeeper, signer, section),
        tasks.Tasks(gatekeeper, registry, api.limit_param_default, api.api_limit_max),
    )
    ims_table = _ims_table(parts, records, shared, native, signer)
    return Application(routes.Router([*table, *ims_table], otherwise=about.versions))


def _ims_table(
    parts: Services,
    records: images.Images,
    shared: members.Members,
    native: dialect.Native,
    signer: signatures.Signing,
) -> Sequence[routes.Route]:
    gatekeeper, quotas = parts.access, parts.uploads.quotas
    return routes.ims_routes(
        ims_about.About(gatekeeper, parts.registry, quotas),
        ims_images.CloudImages(records, native),
        ims_jobs.Jobs(gatekeeper, parts.registry),
        ims_members.CloudMembers(shared),
        ims_register.Register(
            gatekeeper,
            parts.stores,
            parts.engine,
            signer,
            quotas,
            records,
            native,
            parts.allowed,
        ),
        ims_tags.ImageTags(records),
    )


def _signing(parts: Services, native: cfg.ConfigOpts, section: SectionOf) -> signatures.Signing:
    options = section(verify.GROUP, verify.OPTS)
    return signatures.Signing(parts.signatures, verify.load_source(options, native))


def _locations(
    parts: Services, gatekeeper: access.Access, signer: signatures.Signing, section: SectionOf
) -> locations.Locations:
    """Raises BadConfig for a store that is not there, or has no URLs."""
    key = f"[{locations.GROUP}] stores"
    wanted = tuple(section(locations.GROUP, locations.OPTS).stores)
    backends = {backend.id: backend for backend in parts.stores}
    for store_id in wanted:
        if store_id not in backends:
            raise BadConfig(key, f"there is no store {store_id!r}")
        store = backends[store_id].started
        if store is not None and not isinstance(store, Addressed):
            raise BadConfig(key, f"the objects of store {store_id!r} have no URLs")
    return locations.Locations(
        gatekeeper,
        parts.registry,
        parts.stores,
        parts.engine,
        signer,
        parts.uploads.quotas,
        wanted,
        section("DEFAULT", locations.DEFAULT_OPTS).do_secure_hash,
        schemas.Checker(locations.SCHEMA),
    )


def _staging_store(stores: loader.Stores, named: str | None) -> str:
    """The id of the store for staged data, which need not be up yet."""
    if named and named not in {backend.id for backend in stores}:
        raise BadConfig(f"[{UPLOAD}] staging_store", f"there is no store {named!r}")
    return named or stores.default


def _look_after(parts: Services) -> None:
    """The work of a daemon thread: the stores once, then the records again and again."""
    orphans.sweep_quietly(parts.registry, parts.stores)

    def sweep() -> None:
        parts.cleanup.sweep()
        parts.engine.forget()

    sweep_forever(sweep, parts.uploads.settings.lease)


class Paths:
    """Sends a request to the application of its exact path, all others to that of ``/``."""

    def __init__(self, apps: dict[str, WsgiApp]) -> None:
        self._apps = apps

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        return self._apps.get(path, self._apps["/"])(environ, start_response)


def composite_factory(loader: Any, global_conf: dict[str, str], **paths: str) -> Paths:
    """The ``paste.composite_factory`` of ``egg:imsgate#paths``: keys are paths, values apps."""
    if "/" not in paths:
        raise BadConfig("[composite] /", "every request needs an application in the end")
    return Paths({path: loader.get_app(name, global_conf) for path, name in paths.items()})
