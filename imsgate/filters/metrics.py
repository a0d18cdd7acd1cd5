"""Counts requests for Prometheus, and lets the whole process count what it does.

::

    [filter:metrics]
    use = egg:imsgate#metrics

Right after ``faults``, so that it sees every response. Needs prometheus_client, which the extra
``imsgate[server]`` installs. ``imsgate.metrics`` names what is counted. ``GET /metrics`` and
``imsgate metrics`` report it.
"""

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oslo_config import cfg

from imsgate import config, errors, metrics
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.filters import base, outgoing
from imsgate.http.body import Tapped
from imsgate.http.request import ENCODED, NOTES, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.metrics import values
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

GROUP = "metrics"

OPTS = (
    cfg.BoolOpt(
        "enabled",
        default=True,
        help="Count requests, jobs and what they do, for Prometheus. If false, nothing is counted, "
        "and /metrics and `imsgate metrics` report only what they ask the database and the stores.",
    ),
    cfg.StrOpt(
        "directory",
        default="$state_path/metrics",
        help="Directory in which all processes of this host count: each has a file of 1 MiB while "
        "it runs. Use a local file system, or one in memory.",
    ),
)


class MetricsSettings(Settings, group=GROUP, opts=OPTS):
    enabled: bool
    directory: str


#: Any other method is counted as "other": a client may invent one for each request.
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
_OTHER = "other"
_STATUS_DIGITS = 3
_IN_USE, _ = metrics.THREADS_IN_USE.change("requests")


def begin(settings: MetricsSettings) -> None:
    """Let this process count from now on, if it is enabled.

    Raises BadConfig if the directory cannot be used or prometheus_client is not installed.
    """
    if not settings.enabled:
        return
    try:
        values.begin(settings.directory)
    except ImportError as error:
        problem = "this needs prometheus_client, which imsgate[server] installs"
        raise BadConfig(f"[{GROUP}] enabled", problem) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            problem = f"{settings.directory} cannot be used: {error.strerror}"
            raise BadConfig(f"[{GROUP}] directory", problem) from error
        # Images can still be downloaded and deleted.
        LOG.error("This process counts no metrics: %s", error)


def begin_configured(conf: Config) -> None:
    """``begin`` for a process without the filter, such as ``imsgate worker``."""
    begin(conf.read(MetricsSettings))


class MetricsFilter(base.Filter[MetricsSettings]):
    NAME = GROUP
    OPTS = OPTS
    SETTINGS = MetricsSettings

    def __init__(self, app: WsgiApp, settings: MetricsSettings) -> None:
        super().__init__(app, settings)
        begin(settings)
        # So that the first bug is an increase, of which an alert can tell.
        metrics.REFUSALS.add(errors.Error.reason, "", amount=0)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        exchange = _Exchange(environ)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            exchange.status, exchange.headers = status[:_STATUS_DIGITS], headers
            return start_response(status, headers, *exc_info)

        try:
            chunks = self.app(environ, start)
        except Exception:
            exchange.failed()
            raise
        return exchange.watch(chunks)


class _Exchange:
    """One request and its response, counted once when the response is closed."""

    def __init__(self, environ: Environ) -> None:
        self._environ = environ
        # To build a Request takes as long as all that is counted here.
        self._notes = environ.get(NOTES) or Request(environ).notes
        self._began = time.monotonic()
        self._is_counted = False
        #: The status code that was sent, "" before that, and the headers of the response.
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        #: Bytes of the response's body that were sent.
        self.sent = 0
        values.add((_IN_USE, 1))

    def failed(self) -> None:
        """The application raised an exception, which ``faults`` answers."""
        self.status = str(errors.Error.status)
        self._notes.error = self._notes.error or errors.Error()
        self.finish()

    def watch(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """``chunks``, counted. The file wrapper of the server stays the same object."""
        if outgoing.is_buffered(chunks):
            self.sent = sum(map(len, chunks))
            self.finish()
            return chunks
        if not outgoing.is_file(chunks, self._environ):
            return _CountedBody(chunks, self)
        # Bytes sent by sendfile cannot be counted.
        lengths = [text for name, text in self.headers if name.lower() == "content-length"]
        self.sent = int(lengths[0]) if lengths and lengths[0].isdigit() else 0
        outgoing.watch_file(chunks, self.finish)
        return chunks

    def finish(self) -> None:
        """Count the request, once."""
        if self._is_counted:
            return
        self._is_counted = True
        route = self._notes.route or _OTHER
        method = self._environ["REQUEST_METHOD"]
        method = method if method in _METHODS else _OTHER
        status = self.status if self.status.isdigit() else str(errors.Error.status)
        received = self._received()
        changes = [
            (_IN_USE, -1),
            metrics.REQUESTS.change(route, method, status),
            *metrics.REQUEST_SECONDS.changes((route, method), time.monotonic() - self._began),
        ]
        if received:
            changes.append(metrics.RECEIVED.change(route, method, status, amount=received))
        if self.sent:
            changes.append(metrics.SENT.change(route, method, status, amount=self.sent))
        error = self._notes.error
        if error is not None:
            reason = error.reason, str(error.details.get("check", ""))
            changes.append(metrics.REFUSALS.change(*reason))
            changes.append(metrics.REFUSED_BYTES.change(*reason, amount=received))
        values.add(*changes)

    def _received(self) -> int:
        """Bytes of the body that have come from the client, which may be compressed."""
        stream = self._environ.get(ENCODED) or self._environ.get("wsgi.input")
        return stream.received if isinstance(stream, Tapped) else 0


class _CountedBody:
    """The chunks of a response, counted."""

    def __init__(self, chunks: Iterable[bytes], exchange: _Exchange) -> None:
        self._chunks = chunks
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._exchange.sent += len(chunk)
            yield chunk

    def close(self) -> None:
        try:
            if hasattr(self._chunks, "close"):
                self._chunks.close()
        finally:
            self._exchange.finish()


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. If it is disabled, requests do not pass through it."""
    settings = MetricsSettings.of(config.load(global_conf).section(GROUP, OPTS, local_conf))
    return lambda app: MetricsFilter(app, settings) if settings.enabled else app
