"""Sends a span of each request to an OpenTelemetry collector.

::

    [filter:tracing]
    use = egg:imsgate#tracing

Right after ``faults``, so that it sees every response. It is not in the shipped pipelines. Needs
the extra ``imsgate[tracing]``. The trace goes on with the span: what this service logs and sends
for the request has the span's trace and its id.

Everything that ``[tracing]`` does not set is taken from OpenTelemetry's environment variables, such
as ``OTEL_SERVICE_NAME`` and ``OTEL_EXPORTER_OTLP_HEADERS``.
"""

import os
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from imsgate.errors import BadConfig
from imsgate.filters import base, outgoing
from imsgate.http.access_log import without_secrets
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.settings import Settings

GROUP = "tracing"

OPTS = (
    cfg.StrOpt(
        "endpoint",
        help="URL of the OpenTelemetry collector (OTLP over HTTP), to which /v1/traces is "
        "appended, for example http://127.0.0.1:4318. Without it, the environment variables "
        "OTEL_EXPORTER_OTLP_* apply.",
    ),
    cfg.FloatOpt(
        "sample_ratio",
        default=1.0,
        min=0.0,
        max=1.0,
        help="The share of new traces whose spans are sent, from 0 to 1. A request that continues "
        "a trace is sent if its traceparent is sampled.",
    ),
)


class TracingSettings(Settings, group=GROUP, opts=OPTS):
    endpoint: str | None
    sample_ratio: float


#: The entries of the environ that the middleware sees: the environ of the request, and the
#: response of the application.
_ENVIRON, _RESPONSE = "imsgate.tracing.environ", "imsgate.tracing.response"
#: Servers repeat the query there.
_RAW_TARGETS = ("RAW_URI", "REQUEST_URI")


class Tracing(base.Filter[TracingSettings]):
    NAME = GROUP
    OPTS = OPTS
    SETTINGS = TracingSettings

    def __init__(self, app: WsgiApp, settings: TracingSettings) -> None:
        """Raises BadConfig for an invalid endpoint, or if OpenTelemetry is not installed."""
        super().__init__(app, settings)
        _check(settings.endpoint)
        try:
            from imsgate.filters import spans  # noqa: PLC0415 - needs an extra
        except ImportError as error:
            problem = f"this filter needs imsgate[tracing]: {error}"
            raise BadConfig(f"[filter:{GROUP}]", problem) from error
        self._spans = spans
        self._lock = threading.Lock()
        self._pid = 0
        self._middleware: Any = None

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # A span contains the query, but must not contain credentials.
        seen = {**environ, _ENVIRON: environ}
        seen["QUERY_STRING"] = without_secrets(environ.get("QUERY_STRING", ""))
        for name in _RAW_TARGETS:
            seen.pop(name, None)
        # The middleware gets an empty response: it would replace the file wrapper of the server,
        # and not close a response that is never iterated. Reading the rest of it ends the span.
        rest = iter(self._get_middleware()(seen, start_response))
        chunks: Iterable[bytes] = seen[_RESPONSE]

        def end() -> None:
            next(rest, None)

        if outgoing.is_file(chunks, environ):
            outgoing.watch_file(chunks, end)
            return chunks
        return outgoing.until_sent(chunks, end)

    def _call_app(self, seen: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen[_RESPONSE] = self.app(seen[_ENVIRON], start_response)
        return ()

    def _get_middleware(self) -> Any:
        """This process's middleware. A server may build the pipeline before it forks, and the
        thread that sends the spans would not survive that."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._middleware = self._spans.middleware(
                        self._call_app, self.settings.endpoint, self.settings.sample_ratio, _ENVIRON
                    )
                    self._pid = os.getpid()
        return self._middleware


def _check(endpoint: str | None) -> None:
    if endpoint is None:
        return
    try:
        url = urllib.parse.urlsplit(endpoint)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise BadConfig(f"[{GROUP}] endpoint", "it must be an http or https URL")


filter_factory = base.filter_factory(Tracing)
