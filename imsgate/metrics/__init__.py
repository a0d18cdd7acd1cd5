"""What imsgate counts: every metric that a process counts by itself, and how to count.

Any layer may use this module. Nothing is counted until the process has called
``imsgate.metrics.values.begin``, and counting never fails. The values of labels come from fixed
lists (routes, reasons, stores, kinds of jobs), never from what a client sends: each combination is
a time series. Names follow Prometheus' conventions. ``imsgate.metrics.exposition`` reports them.
"""

import bisect
import time

from imsgate import errors
from imsgate.metrics import values

#: Upper bounds in seconds, from a policy decision to the upload of a large image.
SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0, float("inf"))
#: The last part of the key of each bucket, and that of the sum of all observations.
BUCKETS = tuple(f"le={bound}" for bound in SECONDS)
SUM = "sum"


class Metric:
    """A named number for each combination of label values."""

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        ALL[name] = self


#: Every metric of this module by its name.
ALL: dict[str, Metric] = {}


class Counter(Metric):
    """A number that only grows. It is exposed with ``_total`` after its name."""

    def add(self, *labels: str, amount: float = 1) -> None:
        values.add(((self.name, *labels), amount))

    def change(self, *labels: str, amount: float = 1) -> values.Change:
        """What ``add`` does, for ``values.add``: several changes together are cheaper."""
        return (self.name, *labels), amount

    def ending(self, *labels: str) -> "Ending":
        """Count a ``with`` block when it ends; ``labels`` are those before ``outcome``."""
        return Ending(self, labels)


class Ending:
    """The context of ``Counter.ending``."""

    def __init__(self, counter: Counter, labels: tuple[str, ...]) -> None:
        self._counter = counter
        self._labels = labels

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._counter.add(*self._labels, outcome(error))


class Gauge(Metric):
    """A number that goes up and down; that of a host is the sum over its living processes."""

    def add(self, *labels: str, amount: float = 1) -> None:
        values.add(((self.name, *labels), amount))

    def change(self, *labels: str, amount: float = 1) -> values.Change:
        """As for a counter."""
        return (self.name, *labels), amount


class Histogram(Metric):
    """How many observations took at most so many seconds."""

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        super().__init__(name, meaning, *labels)
        #: The keys of the buckets and of the sum, by label values.
        self._keys: dict[tuple[str, ...], list[values.Key]] = {}

    def observe(self, *labels: str, seconds: float) -> None:
        values.add(*self.changes(labels, seconds))

    def changes(
        self, labels: tuple[str, ...], seconds: float
    ) -> tuple[values.Change, values.Change]:
        """What ``observe`` does, for ``values.add``."""
        keys = self._keys.get(labels) or self._make_keys(labels)
        return (keys[bisect.bisect_left(SECONDS, seconds)], 1), (keys[-1], seconds)

    def _make_keys(self, labels: tuple[str, ...]) -> list[values.Key]:
        self._keys[labels] = keys = [(self.name, *labels, last) for last in (*BUCKETS, SUM)]
        return keys

    def time(self, *labels: str) -> "Timer":
        """Observe how long a ``with`` block takes, also if it raises."""
        return Timer(self, labels)


class Timer:
    """The context of ``Histogram.time``. If the last label is ``outcome``, it is filled in."""

    __slots__ = ("_began", "_histogram", "_labels")

    def __init__(self, histogram: Histogram, labels: tuple[str, ...]) -> None:
        self._histogram = histogram
        self._labels = labels

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = time.monotonic() - self._began
        labels = self._labels
        if len(labels) < len(self._histogram.labels):
            labels = (*labels, outcome(error))
        values.add(*self._histogram.changes(labels, seconds))


def outcome(error: BaseException | None) -> str:
    """The value of a label ``outcome``: "success", or the reason of the error.

    "object_not_found" and "fenced" are no failures of the store.
    """
    if error is None:
        return "success"
    if isinstance(error, errors.ObjectNotFound):
        return "object_not_found"
    if isinstance(error, errors.Fenced):
        return "fenced"
    return error.reason if isinstance(error, errors.Error) else errors.Error.reason


# Requests

_REQUEST = ("route", "method", "status")
REQUESTS = Counter("imsgate_requests", "Requests that were answered.", *_REQUEST)
RECEIVED = Counter("imsgate_received_bytes", "Bytes of request bodies that were read.", *_REQUEST)
SENT = Counter("imsgate_sent_bytes", "Bytes of response bodies that were sent.", *_REQUEST)
REQUEST_SECONDS = Histogram(
    "imsgate_request_seconds",
    "Seconds until the response was complete, from the first filter.",
    "route",
    "method",
)
REFUSALS = Counter(
    "imsgate_refusals",
    "Requests that were refused or failed, by reason (doc/api.md) and, if the content of an image "
    "was refused, by the check (doc/formats.md).",
    "reason",
    "check",
)
REFUSED_BYTES = Counter(
    "imsgate_refused_bytes",
    "Bytes of the body that had been received when the request was refused.",
    "reason",
    "check",
)
PHASE_SECONDS = Histogram(
    "imsgate_phase_seconds",
    "Seconds of one phase. authentication: one check of a token or signature. first_byte: waiting "
    "for the first bytes of image data. receive: waiting for all of it, in sum. write: handing it "
    "to the store, in sum. commit: until the store has it for good. database: one transaction.",
    "phase",
)
POLICY_SECONDS = Histogram(
    "imsgate_policy_seconds", "Seconds of a policy decision that was not cached."
)
KEYSTONE_SECONDS = Histogram(
    "imsgate_keystone_seconds",
    "Seconds of a question to Keystone: about a token or about limits.",
    "call",
    "outcome",
)
THREADS_IN_USE = Gauge(
    "imsgate_threads_in_use", "Threads that serve a request or run a job.", "pool"
)
THREADS = Gauge("imsgate_threads", "Threads for requests and for jobs.", "pool")

# Data and work

UPLOADS = Counter(
    "imsgate_uploads",
    "Uploads (upload), staged uploads (stage) and requests of resumable uploads (part) that ended.",
    "kind",
    "outcome",
)
STORE_SECONDS = Histogram(
    "imsgate_store_operation_seconds",
    "Seconds of a call of a store. Of writing and reading data, only failures are counted.",
    "store",
    "operation",
    "outcome",
)
STORE_WRITTEN = Counter(
    "imsgate_store_written_bytes", "Bytes of data that were written to a store.", "store"
)
ENDED_JOBS = Counter(
    "imsgate_ended_jobs",
    "Jobs that ended, by their last state and the reason of a failure.",
    "kind",
    "state",
    "reason",
)
JOB_SECONDS = Histogram("imsgate_job_seconds", "Seconds of one attempt at a job.", "kind")
LEASES_TAKEN_OVER = Counter(
    "imsgate_leases_taken_over",
    "Leases that ran out because a process died or was cut off, by what the lease was for.",
    "work",
)
RESIDUE_REMOVED = Counter(
    "imsgate_residue_removed", "Data of abandoned attempts that was removed later.", "store"
)
VERIFIED = Counter(
    "imsgate_verified_copies",
    "Copies of image data that were compared with their digests: good, damaged, or not_checked "
    "because the store failed.",
    "store",
    "result",
)
VERIFIED_BYTES = Counter(
    "imsgate_verified_bytes", "Bytes of image data that were read to compare them.", "store"
)
