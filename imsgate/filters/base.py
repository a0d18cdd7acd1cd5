"""The filter contract.

A filter answers or passes. It decides whatever it can when it is built, it
checks a request before the application sees it, and it never reads the body:
it may tap it (``Request.tap``) and so see the bytes when the application reads
them. A filter keeps nothing of a request on itself.
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from oslo_config import cfg

from imsgate import config, errors
from imsgate.http import responses, wsgi
from imsgate.http.request import IMAGE_REQUESTS, Request
from imsgate.http.wsgi import Environ, WsgiApp

#: The option of a filter that does something else with images than with other bodies.
REQUESTS = cfg.StrOpt(
    "requests",
    default=IMAGE_REQUESTS,
    help="Regular expression of the requests whose body is an image: method, space, path "
    "(with /v2 for /v2.5, and one slash for several).",
)


class Filter:
    """One step of the pipeline.

    ``NAME`` is its entry point, option group and logger; ``OPTS`` its options.
    """

    NAME: ClassVar[str]
    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        """Raises BadConfig, naming the key, when the settings cannot work."""
        self.app = app
        self.settings = settings
        self.log = logging.getLogger(f"imsgate.{self.NAME}")

    def check(self, request: Request) -> None:
        """Return to let the request pass; raise an ``errors.Error`` to refuse it."""
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
        """Call the application as it is; a filter that taps uses :class:`TappingFilter`."""
        return self.app(request.environ, start_response)


class TappingFilter(Filter):
    """A filter whose tap may refuse the body: its error then is the answer.

    An application that meets a failing read may say anything or nothing about
    it; the client is told what was wrong with the body all the same.
    """

    def forward(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Kept: what stands behind may wrap the body once more in the same environ.
        tapped = request.tapped()
        try:
            status, headers, answer = wsgi.call(self.app, request.environ)
        except Exception:
            if tapped and tapped.failure:
                raise tapped.failure from None
            raise
        if tapped and tapped.failure:
            if hasattr(answer, "close"):
                answer.close()
            raise tapped.failure
        start_response(status, headers)
        return answer


def image_requests(name: str, settings: Any) -> re.Pattern[str]:
    """What ``REQUESTS`` says, for ``Request.is_one_of``. Raises BadConfig."""
    try:
        return re.compile(settings.requests)
    except re.error as error:
        raise errors.BadConfig(f"{name}.requests", str(error)) from error


def filter_factory(kind: type[Filter]) -> Callable[..., Callable[[WsgiApp], Filter]]:
    """The ``paste.filter_factory`` of a filter class."""

    def factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], Filter]:
        settings = config.load(global_conf).section(kind.NAME, kind.OPTS, local_conf)
        return lambda app: kind(app, settings)

    return factory
