"""Counts requests for Prometheus, and lets the whole process count what it does.

::

    [filter:metrics]
    use = egg:imsgate#metrics

Right after ``faults``, which reports to it how every response ended. Needs prometheus_client, which
the extra ``imsgate[server]`` installs. ``imsgate.metrics`` names what is counted. ``GET /metrics``
and ``imsgate metrics`` report it.
"""

import errno
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from imsgate import config, errors, metrics
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.filters import base
from imsgate.http.body import Tapped
from imsgate.http.notes import Finished, RequestNotes
from imsgate.http.request import ENCODED, NOTES
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
        self._reported_misplaced = False
        # So that the first bug is an increase, of which an alert can tell.
        metrics.REFUSALS.add(errors.Error.reason, "", amount=0)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        notes: RequestNotes | None = environ.get(NOTES)
        if notes is None:
            self._report_misplaced()
        else:
            values.add((_IN_USE, 1))
            notes.on_finish = functools.partial(_count, environ, notes)
        return self.app(environ, start_response)

    def _report_misplaced(self) -> None:
        if not self._reported_misplaced:
            self._reported_misplaced = True
            self.log.error(
                "Requests are not counted: put the filter faults before metrics in the pipeline"
            )


def _count(environ: Environ, notes: RequestNotes, finished: Finished) -> None:
    """Count a request whose response is complete."""
    route = notes.route or _OTHER
    method = environ["REQUEST_METHOD"]
    method = method if method in _METHODS else _OTHER
    status = finished.status if finished.status.isdigit() else str(errors.Error.status)
    received = _received(environ)
    changes = [
        (_IN_USE, -1),
        metrics.REQUESTS.change(route, method, status),
        *metrics.REQUEST_SECONDS.changes((route, method), finished.seconds),
    ]
    if received:
        changes.append(metrics.RECEIVED.change(route, method, status, amount=received))
    if finished.sent:
        changes.append(metrics.SENT.change(route, method, status, amount=finished.sent))
    error = notes.error
    if error is not None:
        reason = error.reason, str(error.details.get("check", ""))
        changes.append(metrics.REFUSALS.change(*reason))
        changes.append(metrics.REFUSED_BYTES.change(*reason, amount=received))
    values.add(*changes)


def _received(environ: Environ) -> int:
    """Bytes of the body that have come from the client, which may be compressed."""
    stream = environ.get(ENCODED) or environ.get("wsgi.input")
    return stream.received if isinstance(stream, Tapped) else 0


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``. If it is disabled, requests do not pass through it."""
    settings = MetricsSettings.of(config.load(global_conf).section(GROUP, OPTS, local_conf))
    return lambda app: MetricsFilter(app, settings) if settings.enabled else app
