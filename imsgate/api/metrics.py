"""What this host has counted, and what is in progress, for Prometheus."""

import dataclasses
import importlib.metadata
import logging
import time
from collections.abc import Iterator

import webob
from prometheus_client.core import Metric

from imsgate import errors
from imsgate.api.description import TEXT, described
from imsgate.api.requester import identity
from imsgate.filters.metrics import MetricsSettings
from imsgate.http.request import Request
from imsgate.metrics import exposition
from imsgate.metrics.exposition import gauge
from imsgate.model import PASSING
from imsgate.records.access import Access
from imsgate.registry.base import Registry
from imsgate.stores.enabled import Backend, Stores

LOG = logging.getLogger(__name__)


def report(settings: MetricsSettings, registry: Registry | None, stores: Stores | None) -> bytes:
    """All metrics as text. Without ``registry`` and ``stores``, only what processes have counted.

    The database and each store are asked once. Raises Unavailable if the directory of the metrics
    cannot be used.
    """
    further = [_build_info()]
    if registry is not None:
        further += _records(registry)
    if stores is not None:
        further += _stores(stores)
    try:
        return exposition.text(settings.directory, further)
    except OSError as error:
        LOG.error("The metrics in %s cannot be read: %s", settings.directory, error)
        raise errors.Unavailable(what="The directory of metrics") from error


def _build_info() -> Metric:
    version = importlib.metadata.version("imsgate")
    return gauge("imsgate_build_info", "1, and the version.", {(version,): 1}, "version")


def _records(registry: Registry) -> Iterator[Metric]:
    try:
        now = registry.activity()
    except errors.Unavailable:
        now = None
    yield gauge(
        "imsgate_database_up",
        "Whether the database answers. If not, what is in progress is unknown.",
        {(): now is not None},
    )
    if now is None:
        return
    yield gauge(
        "imsgate_images",
        "Images in a status that they leave by themselves.",
        {(status,): now.images.get(status, 0) for status in PASSING},
        "status",
    )
    yield gauge(
        "imsgate_jobs",
        "Jobs that have not ended, in all processes.",
        {(kind, state): number for (kind, state), number in now.jobs.items()},
        "kind",
        "state",
    )
    waiting = 0.0 if now.waiting_since is None else time.time() - now.waiting_since.timestamp()
    yield gauge(
        "imsgate_oldest_waiting_job_seconds",
        "Seconds for which the oldest job has waited that no worker has begun; 0 if none waits.",
        {(): max(waiting, 0.0)},
    )
    yield gauge(
        "imsgate_suspended_uploads",
        "Resumable uploads that wait for their clients.",
        {(): now.suspended_uploads},
    )
    yield gauge(
        "imsgate_reserved_bytes",
        "Bytes that are reserved in quotas for data that comes in.",
        {(): now.reserved_bytes},
    )
    yield gauge(
        "imsgate_damaged_copies",
        "Copies of image data in which the last check found damage.",
        {(store,): number for store, number in now.damaged_copies.items()},
        "store",
    )


def _stores(stores: Stores) -> Iterator[Metric]:
    yield gauge(
        "imsgate_store_started",
        "Whether the store could be used when this process started, or since.",
        {(backend.id,): backend.started is not None for backend in stores},
        "store",
    )
    free = {(backend.id,): _free_bytes(backend) for backend in stores}
    yield gauge(
        "imsgate_store_free_bytes",
        "Free space of the store, if it can tell.",
        {labels: number for labels, number in free.items() if number is not None},
        "store",
    )


def _free_bytes(backend: Backend) -> int | None:
    if backend.started is None:
        return None
    try:
        return backend.started.free_space()
    except errors.Error:
        return None  # its operations are counted with their outcomes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReport:
    """``GET /metrics``."""

    access: Access
    settings: MetricsSettings
    registry: Registry
    stores: Stores

    @described(answers={200: {exposition.CONTENT_TYPE: TEXT}})
    def show(self, request: Request) -> webob.Response:
        """Metrics: What this host has counted, in Prometheus' text format."""
        self.access.check(identity(request), "get_metrics", {}, "metrics")
        response = webob.Response(content_type=None)
        response.headers["Content-Type"] = exposition.CONTENT_TYPE
        response.body = report(self.settings, self.registry, self.stores)
        return response
