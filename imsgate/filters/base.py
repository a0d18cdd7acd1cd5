"""The filter contract.

A filter passes a request on or answers it. It validates its settings when it is built and checks
each request before the application gets it. It never reads the body. Instead it may tap the body
(``Request.tap``) and get every byte that the application reads. All requests share one instance,
so a filter stores nothing about a request on itself.

``NAME`` and ``OPTS`` declare the options of a filter. Their values are in ``self.settings``. For
values that type checkers know, declare a :class:`~imsgate.settings.Settings` record as well::

    class ClientsSettings(Settings, group="clients", opts=OPTS):
        unwanted: list[str]

    class Clients(base.Filter[ClientsSettings]):
        NAME = "clients"
        OPTS = OPTS
        SETTINGS = ClientsSettings
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from oslo_config import cfg

from imsgate import config, errors
from imsgate.http import responses, wsgi
from imsgate.http.request import IMAGE_REQUESTS, UPLOAD_REQUESTS, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.settings import Settings

#: The option of filters that treat image data differently from other bodies.
REQUESTS = cfg.StrOpt(
    "requests",
    default=UPLOAD_REQUESTS,
    help="Regular expression for the requests whose body is image data, or a part of it. It must "
    "match the whole of method, space and path. In the path, /v2.5 is replaced by /v2, and "
    "several slashes in a row by one.",
)

#: The same for a filter that needs the whole image in one request.
WHOLE_REQUESTS = cfg.StrOpt(
    "requests",
    default=IMAGE_REQUESTS,
    help="Regular expression for the requests whose body is a whole image. It must match the "
    "whole of method, space and path. In the path, /v2.5 is replaced by /v2, and several "
    "slashes in a row by one.",
)

#: The type of a filter's settings: its ``SETTINGS``, or Section without one.
SettingsT = TypeVar("SettingsT")


class Filter(Generic[SettingsT]):
    """One step of the pipeline.

    ``NAME`` is its entry point, option group and logger, ``OPTS`` its options. ``SETTINGS`` is
    the type of ``settings``; without one it is a read-only :class:`~imsgate.config.Section`.
    """

    NAME: ClassVar[str]
    OPTS: ClassVar[Sequence[cfg.Opt]] = ()
    SETTINGS: ClassVar[type[Settings] | None] = None

    def __init__(self, app: WsgiApp, settings: SettingsT) -> None:
        """Raises BadConfig, naming the key, if the settings are invalid."""
        self.app = app
        self.settings = settings
        self.log = logging.getLogger(f"imsgate.{self.NAME}")

    def check(self, request: Request) -> None:
        """Return to pass the request on; raise an ``errors.Error`` to refuse it."""
        raise NotImplementedError

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        start = wsgi.Start(start_response)
        try:
            self.check(request)
            return self.forward(request, start)
        except errors.Error as error:
            return responses.refusal(error)(environ, start.anew)

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Call the application. A filter that taps the body uses :class:`TappingFilter`."""
        return self.app(request.environ, start_response)


class TappingFilter(Filter[SettingsT]):
    """A filter whose tap may refuse the body. The error of the tap is then the response.

    An application may respond anything when reading the body fails. The client gets the reason
    in any case.
    """

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Read before the call: a later filter may replace the body in this environ.
        tapped = request.tapped()
        try:
            status, headers, chunks = wsgi.call(self.app, request.environ)
        except Exception:
            if tapped and tapped.failure:
                raise tapped.failure from None
            raise
        if tapped and tapped.failure:
            if hasattr(chunks, "close"):
                chunks.close()
            raise tapped.failure
        start_response(status, headers)
        return chunks


def image_requests(name: str, requests: str) -> re.Pattern[str]:
    """The option ``REQUESTS`` of the filter ``name``, compiled. Raises BadConfig."""
    try:
        return re.compile(requests)
    except re.error as error:
        raise errors.BadConfig(f"{name}.requests", str(error)) from error


def filter_factory(kind: type[Filter[Any]]) -> Callable[..., Callable[[WsgiApp], Filter[Any]]]:
    """The ``paste.filter_factory`` of a filter class."""

    def factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], Filter[Any]]:
        conf = config.load(global_conf)
        if kind.SETTINGS:
            settings: Any = conf.read(kind.SETTINGS, local_conf)
        else:
            settings = conf.section(kind.NAME, kind.OPTS, local_conf)
        return lambda app: kind(app, settings)

    return factory
