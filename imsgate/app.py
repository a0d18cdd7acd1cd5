"""The upload application at the end of the pipeline, and the one place that knows every part."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import stevedore
from oslo_config import cfg
from stevedore.exception import NoMatches

from imsgate import config, errors, residue, wsgi
from imsgate.api import access, data, images, info, members, routes, schemas
from imsgate.errors import BadConfig
from imsgate.policy import Policy
from imsgate.registry.base import Registry
from imsgate.stores import loader
from imsgate.upload import GROUP as UPLOAD
from imsgate.upload import OPTS as UPLOAD_OPTS
from imsgate.upload import Uploads, sweep_forever
from imsgate.wsgi import Environ, Request, WsgiApp

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


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Gate:
    """The ``paste.app_factory`` of ``egg:imsgate#gate``; its keys are options of ``[api]``.

    Raises BadConfig, naming the key, for anything that cannot work.
    """
    conf = config.load(global_conf)
    gate, uploads = assemble(
        load_registry(conf),
        loader.load(conf),
        Policy(conf.native),
        api=conf.section("api", images.OPTS, local_conf),
        formats=conf.section(images.FORMAT_GROUP, images.FORMAT_OPTS),
        upload=conf.section(UPLOAD, UPLOAD_OPTS),
        public_endpoint=conf.section("DEFAULT", config.OPTS).public_endpoint,
    )
    threading.Thread(target=_look_after, args=(uploads,), name="sweep", daemon=True).start()
    return gate


def assemble(
    registry: Registry,
    stores: loader.Stores,
    policy: Policy,
    *,
    api: Any,
    formats: Any,
    upload: Any,
    public_endpoint: str | None = None,
) -> tuple[Gate, Uploads]:
    """The application made of these parts and settings, and what sweeps for it."""
    uploads = Uploads(registry, stores, upload)
    image = schemas.image(formats.disk_formats, formats.container_formats)
    documents = {
        "image": image,
        "images": schemas.images(image),
        "member": schemas.MEMBER,
        "members": schemas.MEMBERS,
    }
    gatekeeper = access.Access(registry, policy)
    about = info.Info(gatekeeper, stores, public_endpoint, documents)
    table = routes.routes(
        about,
        images.Images(gatekeeper, registry, stores, uploads, api, schemas.Checker(image)),
        data.Data(gatekeeper, registry, stores, uploads),
        members.Members(gatekeeper, registry, api, schemas.Checker(schemas.MEMBER)),
    )
    return Gate(routes.Router(table, otherwise=about.versions)), uploads


def _look_after(uploads: Uploads) -> None:
    """The work of a daemon thread: the stores once, then the records again and again."""
    residue.sweep_quietly(uploads.registry, uploads.stores)
    sweep_forever(uploads, uploads.settings.lease)


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
