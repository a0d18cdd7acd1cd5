"""The progress of the data that comes in for an image, however it comes."""

import time
from collections.abc import Mapping
from typing import Any

from imsgate.api import views
from imsgate.api.description import NUMBER, TEXT, nullable, record
from imsgate.model import Image, Job, Upload, UploadState, isotime

SCHEMA = record(
    {
        "image_id": TEXT,
        "state": {"enum": [str(state) for state in UploadState]},
        "received": {**NUMBER, "description": "Bytes"},
        "size": {**nullable(NUMBER), "description": "Bytes"},
        "rate": {**nullable(NUMBER), "description": "Bytes per second"},
        "started_at": nullable(TEXT),
        "expires_at": nullable(TEXT),
        "reason": {**nullable(TEXT), "description": "Why it ended"},
        "user_id": nullable(TEXT),
    }
)


def progress(image: Image, upload: Upload | None, job: Job | None) -> dict[str, Any] | None:
    """The progress of the data that comes in for an image, or came in last; None if none did.

    ``received`` and ``size`` are bytes, ``rate`` bytes per second; what is unknown is None.
    """
    newest = None if upload is None else upload.created_at
    if job is not None and (newest is None or job.created_at > newest):
        view = _of_job(image, job)
        if upload is not None and upload.state is UploadState.FINISHING:
            view["state"] = upload.state
        return view
    if upload is not None and (image.upload_key in (None, upload.key)):
        return _of_upload(image, upload)
    return _of_request(image) if image.upload_key is not None else None


def _of_upload(image: Image, upload: Upload) -> dict[str, Any]:
    received, ended = upload.offset, upload.state is not UploadState.OPEN
    if upload.writing:
        received = max(received, image.upload_received)
    return {
        "image_id": image.shown_id,
        "state": upload.state,
        "received": received,
        "size": upload.length,
        "rate": None if ended else _rate(received, upload.created_at.timestamp()),
        "started_at": isotime(upload.created_at),
        "expires_at": None if ended else views.isotime_of(upload.expires),
        "reason": upload.reason,
        "user_id": upload.user,
    }


def _of_request(image: Image) -> dict[str, Any]:
    """A plain upload: a single request. The record does not contain who sends it."""
    started = image.upload_started
    return {
        "image_id": image.shown_id,
        "state": UploadState.OPEN,
        "received": image.upload_received,
        "size": None,
        "rate": None if started is None else _rate(image.upload_received, started),
        "started_at": None if started is None else views.isotime_of(started),
        "expires_at": None,
        "reason": None,
        "user_id": None,
    }


_STATES: Mapping[str, UploadState] = {
    "INIT": UploadState.OPEN,
    "RUNNING": UploadState.OPEN,
    "SUCCESS": UploadState.COMPLETE,
    "FAIL": UploadState.ENDED,
}


def _of_job(image: Image, job: Job) -> dict[str, Any]:
    began = job.begin_at or job.created_at
    return {
        "image_id": image.shown_id,
        "state": _STATES[job.state],
        "received": job.progress,
        "size": job.total,
        "rate": None if job.end_at else _rate(job.progress, began.timestamp()),
        "started_at": isotime(began),
        "expires_at": None,
        "reason": job.reason,
        "user_id": job.arguments.get("user_id"),
    }


def _rate(received: int, started: float) -> int:
    return int(received / max(1.0, time.time() - started))
