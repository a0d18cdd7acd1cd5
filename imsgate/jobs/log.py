"""The lines of the log about a job, as text and as fields for JSON."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.jobs.arguments import trace_of
from imsgate.jobs.context import Context
from imsgate.model import Job
from imsgate.telemetry import trace_context
from imsgate.telemetry.dependencies import one_line

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def requested(job: Job) -> Iterator[None]:
    """What this thread logs meanwhile names the request, user and project that want the job.

    What it sends belongs to the trace of that request.
    """
    trace_context.enter(trace_of(job))
    current = trace_context.LogContext(
        overwrite=True,
        request_id=job.arguments.get("request_id"),
        user_id=job.arguments.get("user_id"),
        project_id=job.project,
    )
    try:
        yield
    finally:
        for name in ("request_id", "user_id", "project_id"):
            setattr(current, name, None)
        trace_context.enter(None)


def begun(job: Job) -> None:
    """Log the start of an attempt."""
    fields = _fields(job)
    LOG.info(
        "Job %s (%s), attempt %d: %s",
        *(job.id, job.kind, job.epoch, _text(fields)),
        extra={"extra": {**fields, "attempt": job.epoch}},
    )


def succeeded(job: Job, attempt: Context) -> None:
    fields = {**_fields(job), **_work(attempt)}
    LOG.info("Job %s (%s) succeeded: %s", job.id, job.kind, _text(fields), extra={"extra": fields})


def failed(job: Job, attempt: Context, error: errors.Error) -> None:
    """Log why a job fails. A refused image is a WARNING, and so is what needs the operator."""
    refused = isinstance(error, errors.BadImage)
    fields = {**_fields(job), **_work(attempt), "reason": error.reason}
    if refused:
        fields |= {name: error.details[name] for name in ("check", "offset")}
    LOG.log(
        logging.WARNING if error.needs_operator or refused else logging.INFO,
        "Job %s (%s) failed: %s (%s)",
        *(job.id, job.kind, one_line(error), _text(fields)),
        extra={"extra": {**fields, "problem": one_line(error)}},
    )


def _fields(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "kind": job.kind,
        "image": job.image_id or "-",
        "project": job.project or "-",
        "request": job.arguments.get("request_id") or "-",
    }


def _work(attempt: Context) -> dict[str, Any]:
    return {"bytes": attempt.bytes, "time": round(attempt.seconds, 3)}


def _text(fields: dict[str, Any]) -> str:
    """What follows the job's id and kind."""
    rest = {name: value for name, value in fields.items() if name not in ("job", "kind")}
    return " ".join(f"{name}: {one_line(value)}" for name, value in rest.items())
