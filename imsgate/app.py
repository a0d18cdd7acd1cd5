"""The upload application at the end of the pipeline, and the one place that knows every part."""

import atexit
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import stevedore
from oslo_config import cfg
from stevedore.exception import NoMatches

from imsgate import config, errors, gating, profiles, quota, residue, signatures, wsgi
from imsgate.api import (
    access,
    data,
    images,
    info,
    locations,
    members,
    rechecks,
    routes,
    schemas,
    signing,
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
from imsgate.filters.sizelimit import SizeLimit
from imsgate.image_url import Allowed
from imsgate.jobs import adoption, engine, export, imports, register, sources, unpack, uris, web
from imsgate.model import Status
from imsgate.policy import Policy
from imsgate.registry.base import Registry
from imsgate.stores import buckets as user_buckets
from imsgate.stores import loader
from imsgate.stores.base import Addressed
from imsgate.upload import GROUP as UPLOAD
from imsgate.upload import OPTS as UPLOAD_OPTS
from imsgate.upload import Uploads, sweep_forever
from imsgate.wsgi import Environ, Request, WsgiApp

#: The values of a group's options.
SectionOf = Callable[[str, Sequence[cfg.Opt]], Any]

REGISTRY_OPTS = (
    cfg.StrOpt(
        "driver",
        default="sql",
        help="The entry point in imsgate.registries that keeps the image records.",
    ),
)


class Gate:
    """The WSGI application: routes a request and renders what it raises."""

    def __init__(self, router: Callable[[Request], Any]) -> None:
        self._router = router

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer: WsgiApp = self._router(request)
        except errors.Error as error:
            answer = wsgi.refusal(error)
        return answer(environ, start_response)


def load_registry(conf: config.Config) -> Registry:
    """The registry driver that ``[registry] driver`` names. Raises BadConfig."""
    name = conf.section("registry", REGISTRY_OPTS).driver
    try:
        found: stevedore.DriverManager[type[Registry]] = stevedore.DriverManager(
            "imsgate.registries", name
        )
    except NoMatches as error:
        raise BadConfig("[registry] driver", f"no registry driver {name!r} is installed") from error
    kind: Any = found.driver
    registry: Registry = kind(conf.section("database", kind.OPTS))
    return registry


def make_engine(
    registry: Registry, kinds: Mapping[str, engine.Work], settings: Any
) -> engine.Engine:
    """The engine that ``[jobs] engine`` names. Raises BadConfig."""
    try:
        found: stevedore.DriverManager[type[engine.Engine]] = stevedore.DriverManager(
            "imsgate.engines", settings.engine
        )
    except (NoMatches, ImportError) as error:
        problem = f"no engine {settings.engine!r} can be loaded; celery needs imsgate[celery]"
        raise BadConfig(f"[{engine.GROUP}] engine", problem) from error
    kind: Any = found.driver
    made: engine.Engine = kind(registry, kinds, settings)
    return made


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What serving processes and workers are both made of."""

    registry: Registry
    stores: loader.Stores
    uploads: Uploads
    web: web.Web
    signatures: signatures.Signatures
    access: access.Access
    engine: engine.Engine
    allowed: Allowed | None


def make_parts(
    registry: Registry,
    stores: loader.Stores,
    quotas: quota.Quotas,
    native: cfg.ConfigOpts,
    section: SectionOf,
    buckets: user_buckets.Buckets | None = None,
) -> Parts:
    """``section`` gives the values of a group's options, ``native`` is what libraries read
    their own from. Raises BadConfig."""
    upload = section(UPLOAD, UPLOAD_OPTS)
    gate = gating.shared(section(gating.GROUP, gating.OPTS))
    limit = section(SizeLimit.NAME, SizeLimit.OPTS).image_size_cap
    downloads = web.Web(section(uris.GROUP, uris.OPTS), section(web.GROUP, web.OPTS))
    origins = sources.Sources(
        stores,
        downloads,
        unpack.Unpacker(section(unpack.GROUP, unpack.OPTS)),
        gate,
        limit,
        signatures.load(section(signatures.GROUP, signatures.OPTS)),
    )
    algorithm = upload.hashing_algorithm
    gatekeeper = access.Access(registry, Policy(native))
    recheck = rechecks.Rechecks(gatekeeper, native)
    kinds: dict[str, engine.Work] = {
        imports.KIND: imports.Imports(stores, algorithm, origins, quotas, recheck),
        adoption.KIND: adoption.Adoption(registry, stores, algorithm, origins, quotas, recheck),
    }
    allowed = None
    if buckets is not None:
        allowed = _allowed(section)
        most = min(limit, profiles.chosen(section).import_limit or limit)
        objects = register.BucketSources(buckets, allowed, gate, most, origins.signatures)
        of_objects = imports.Imports(stores, algorithm, objects, quotas, recheck)
        kinds[register.REGISTER] = of_objects
        kinds[register.CREATE] = dataclasses.replace(of_objects, failed=Status.DELETED)
        kinds[export.KIND] = export.Export(stores, buckets, allowed, recheck)
    return Parts(
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


def load_parts(conf: config.Config) -> Parts:
    """The parts that the configuration names. Raises BadConfig, naming the key."""
    registry, stores = load_registry(conf), loader.load(conf)
    buckets = user_buckets.load(conf.section)
    return make_parts(registry, stores, quota.load(conf), conf.native, conf.section, buckets)


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Gate:
    """The ``paste.app_factory`` of ``egg:imsgate#gate``; its keys are options of ``[api]``.

    Raises BadConfig, naming the key, for anything that cannot work.
    """
    conf = config.load(global_conf)
    parts = load_parts(conf)
    api = conf.section("api", images.OPTS, local_conf)
    gate = assemble(parts, conf.native, conf.section, api)
    threading.Thread(target=_look_after, args=(parts,), name="sweep", daemon=True).start()
    parts.engine.start_threads(conf.section(engine.GROUP, engine.OPTS).threads)
    # A process that ends in peace does not leave its jobs to their leases.
    atexit.register(parts.engine.stop)
    return gate


def assemble(parts: Parts, conf: cfg.ConfigOpts, section: SectionOf, api: Any) -> Gate:
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
    records = images.Images(gatekeeper, registry, stores, uploads, api, checker, methods, spoken)
    shared = members.Members(gatekeeper, registry, api, schemas.Checker(schemas.MEMBER))
    table = routes.routes(
        about,
        records,
        data.Data(gatekeeper, registry, stores, uploads, signer, staging, spoken.detects),
        shared,
        import_api.Imports(
            gatekeeper,
            stores,
            parts.engine,
            parts.web,
            uploads.quotas,
            signer,
            methods,
            import_checker,
            spoken.detects,
        ),
        _locations(parts, gatekeeper, signer, section),
        tasks.Tasks(gatekeeper, registry, api.limit_param_default, api.api_limit_max),
    )
    ims_table = routes.ims_routes(
        ims_about.About(gatekeeper, registry, uploads.quotas),
        ims_images.CloudImages(records, native),
        ims_jobs.Jobs(gatekeeper, registry),
        ims_members.CloudMembers(shared),
        ims_register.Register(
            gatekeeper,
            stores,
            parts.engine,
            signer,
            uploads.quotas,
            records,
            native,
            parts.allowed,
        ),
        ims_tags.ImageTags(records),
    )
    return Gate(routes.Router([*table, *ims_table], otherwise=about.versions))


def _signing(parts: Parts, native: cfg.ConfigOpts, section: SectionOf) -> signing.Signing:
    options = section(signatures.GROUP, signatures.OPTS)
    return signing.Signing(parts.signatures, signatures.load_source(options, native))


def _locations(
    parts: Parts, gatekeeper: access.Access, signer: signing.Signing, section: SectionOf
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


def _look_after(parts: Parts) -> None:
    """The work of a daemon thread: the stores once, then the records again and again."""
    residue.sweep_quietly(parts.registry, parts.stores)

    def sweep() -> None:
        parts.uploads.sweep()
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
