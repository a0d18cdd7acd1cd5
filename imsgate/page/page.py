"""The page for browsers, as a WSGI application of its own.

::

    [app:page]
    use = egg:imsgate#page

It serves the files of the directory ``static`` and two resources: ``settings.json`` tells the page
what it can offer, and ``POST sign-in`` gets a token from Keystone. Everything else the page asks
the APIs for, with the user's token, as any other client. Put it below a path that ends with a
slash (``egg:imsgate#paths``); the APIs are expected in the directory above.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any, Protocol

import webob
from oslo_config import cfg

from imsgate import config, errors, profiles
from imsgate.buckets.base import BucketsSettings
from imsgate.config import Config
from imsgate.http import responses
from imsgate.http.body import Limit
from imsgate.http.json_body import json_object
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.settings import Settings

OPTS = (
    cfg.BoolOpt(
        "keystone_sign_in",
        default=False,
        help="Let people sign in on the page with a user name and a password. This service sends "
        "them to the Keystone of [keystone_authtoken], and stores neither them nor the token. "
        "Needs the filter authtoken in front of the API. The shipped Paste file sets it in the "
        "flavors with Keystone.",
    ),
)


class PageSettings(Settings, group="page", opts=OPTS):
    keystone_sign_in: bool


#: Nothing from another host, nothing inline, and no text that becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}

#: Bytes of a request to sign in. Its four texts need far less.
_SIGN_IN_BYTES = 16384
_MAX_CHARACTERS = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """What a user types in to sign in. Domains and the project are names."""

    user: str
    password: str = dataclasses.field(repr=False)
    project: str
    user_domain: str
    project_domain: str


class Keystone(Protocol):
    """Where people sign in."""

    def sign_in(self, credentials: PasswordCredentials, client: str | None) -> Mapping[str, Any]:
        """The token and what it is for, as members of a JSON object. ``client`` is an IP address.

        Raises SignInRefused and Unavailable.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    content_type: str
    etag: str


class WebPage:
    """The WSGI application. All files are in memory: they are small, and no path is ever opened."""

    def __init__(self, settings: Mapping[str, Any], keystone: Keystone | None = None) -> None:
        """``settings`` is what ``settings.json`` contains."""
        self._files = {f"/{name}": file for name, file in _files()}
        self._files["/"] = self._files.pop("/index.html")
        self._settings = {**settings, "keystone": keystone is not None}
        self._keystone = keystone

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            given = {name.lower() for name, _ in headers}
            more = [pair for pair in _HEADERS.items() if pair[0].lower() not in given]
            return start_response(status, [*headers, *more], *exc_info)

        request = Request(environ)
        try:
            app: WsgiApp = self._response(request)
        except errors.Error as error:
            app = responses.refusal(error)
        return app(environ, start)

    def _response(self, request: Request) -> Any:
        path = request.environ.get("PATH_INFO", "")
        if path == "/sign-in" and self._keystone is not None:
            _check_method(request, "POST")
            return self._sign_in(request, self._keystone)
        if path == "/settings.json":
            _check_method(request, "GET", "HEAD")
            return responses.json_response(self._settings, Cache_Control="no-store")
        if path not in self._files:
            raise errors.NotFound(what="This page")
        _check_method(request, "GET", "HEAD")
        return _file_response(self._files[path])

    def _sign_in(self, request: Request, keystone: Keystone) -> webob.Response:
        if request.content_type != "application/json":
            raise errors.UnsupportedMediaType(accepted="application/json")
        request.tap(Limit(_SIGN_IN_BYTES))
        token = keystone.sign_in(_credentials(request), request.remote_addr)
        return responses.json_response(dict(token), Cache_Control="no-store")


def _files() -> Iterable[tuple[str, _File]]:
    for path in (resources.files(__package__) / "static").iterdir():
        kind = _TYPES.get(path.name.rpartition(".")[2])
        if kind is not None:
            content = path.read_bytes()
            yield path.name, _File(content, kind, hashlib.sha256(content).hexdigest()[:32])


def _file_response(file: _File) -> webob.Response:
    response = webob.Response(
        body=file.content,
        content_type=file.content_type,
        charset="UTF-8",
        conditional_response=True,
    )
    response.etag = file.etag
    # A browser asks each time, and gets 304: after an upgrade, no old module is left.
    response.headers["Cache-Control"] = "no-cache"
    return response


def _check_method(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        names = ", ".join(allowed)
        raise errors.MethodNotAllowed(allowed=names, headers={"Allow": names})


def _credentials(request: Request) -> PasswordCredentials:
    """Raises BadJson, and what reading the body raises."""
    body = json_object(request)
    names = [field.name for field in dataclasses.fields(PasswordCredentials)]
    texts = {name: body.get(name, "") for name in names}
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
            problem = f"{name} must be a text of at most {_MAX_CHARACTERS} characters"
            raise errors.BadJson(problem=problem)
        if name in ("user", "password", "project") and not text:
            raise errors.BadJson(problem=f"{name} is required")
    return PasswordCredentials(**texts)


def app_factory(global_conf: dict[str, str], **local_conf: str) -> WebPage:
    """The ``paste.app_factory`` of ``egg:imsgate#page``; its keys are options of ``[page]``.

    Raises BadConfig, naming the option, if people cannot sign in with this configuration.
    """
    conf = config.load(global_conf)
    settings = conf.read(PageSettings, local_conf)
    return WebPage(_offers(conf), _keystone(conf) if settings.keystone_sign_in else None)


def _offers(conf: Config) -> dict[str, Any]:
    has_profile = profiles.chosen(conf.read(profiles.ProfileSettings)) is not profiles.NONE
    return {"buckets": has_profile and conf.read(BucketsSettings).driver is not None}


def _keystone(conf: Config) -> Keystone:
    from imsgate.page.sign_in import KeystoneSignIn  # noqa: PLC0415 - needs an extra

    return KeystoneSignIn(conf.native)
