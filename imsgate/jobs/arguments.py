"""The arguments of jobs: how they are built when a job starts, and read when it runs.

The database stores them as JSON. A job that was started before an upgrade continues after it, so
the meaning of a stored name must never change.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from imsgate.buckets.image_url import ImageUrl
from imsgate.model import Image, Job, Location
from imsgate.telemetry import trace_context
from imsgate.telemetry.trace_context import Trace

#: The number of attempts that ended in an orderly way. A job that kills its workers must not be
#: retried forever; one whose host is restarted, or whose database is unavailable, may be.
HANDED_BACK = "handed_back"

#: The number of attempts that ended because the job's source was unavailable.
POSTPONED = "postponed"

#: The sealed credential, which was named differently when the first such jobs were stored. The
#: record of a job that has ended has none.
_CREDENTIAL = "warrant"

#: Set when the image has its data and other data may be removed: what was staged, and what may
#: be in stores that were left out.
_SURPLUS, _LEFT_OUT = "surplus", "left_out"

#: The id of the image as the client gave it, in jobs of images where it is not in lower case.
_GIVEN_ID = "given_id"
#: The headers of W3C Trace Context that continue the trace of the request.
_TRACE = "trace"

#: The location of the data that a job copies.
_ORIGIN = "origin"

#: The URL of the image service from which a job downloads an image; None if there is none.
_ENDPOINT = "endpoint"

#: Identifies what the last attempt at an export began in the bucket.
_BEGUN = "begun"

#: The content formats that a quick import accepts.
QUICK_IMPORT_FORMATS = ("raw", "zvhd2")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SealedCredential:
    """How a job authorizes its requester again when its work is done.

    ``sealed`` is the encrypted credential and ``rule`` the policy rule to ask.
    ``service_roles`` are those of a service beside the user, as they were at the start.
    """

    sealed: str
    rule: str
    service_roles: frozenset[str]

    @classmethod
    def of(cls, job: Job) -> Self | None:
        stored = job.arguments.get(_CREDENTIAL)
        if stored is None:
            return None
        return cls(
            sealed=stored["sealed"],
            rule=stored["rule"],
            service_roles=frozenset(stored["service_roles"]),
        )

    def stored(self) -> dict[str, Any]:
        roles = sorted(self.service_roles)
        return {_CREDENTIAL: {"sealed": self.sealed, "rule": self.rule, "service_roles": roles}}


def without_credential(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a job whose requester need not be authorized again."""
    return {name: value for name, value in arguments.items() if name != _CREDENTIAL}


def requested_by(
    *,
    user_id: str | None,
    request_id: str | None,
    credential: SealedCredential | None = None,
    certificate: bytes | None = None,
) -> dict[str, Any]:
    """Arguments of every job: the user and the request that asked for it.

    ``credential`` is None if nobody can be authorized again. ``certificate`` (DER) verifies the
    data of a signed image; a job has no token with which it could fetch it. The trace is the
    current one.
    """
    return {
        "user_id": user_id,
        "request_id": request_id,
        **_stored_trace(),
        **(credential.stored() if credential else {}),
        **_stored_certificate(certificate),
    }


def _stored_trace() -> dict[str, Any]:
    headers = trace_context.headers()
    return {_TRACE: headers} if headers else {}


def trace_of(job: Job) -> Trace:
    """The trace of the request that asked for a job, or a new one for a job without a request."""
    headers = job.arguments.get(_TRACE, {})
    return trace_context.received(headers.get("traceparent"), headers.get("tracestate"))


def for_image(image: Image) -> dict[str, Any]:
    """Arguments of every job of an image: its id as the client gave it, if that differs."""
    return {} if image.shown_id == image.id else {_GIVEN_ID: image.shown_id}


def shown_image_id(job: Job) -> str | None:
    """The id of a job's image as the client gave it; None if the job has no image."""
    given: str | None = job.arguments.get(_GIVEN_ID, job.image_id)
    return given


def for_import(
    *,
    method: Mapping[str, Any],
    store_ids: Sequence[str],
    all_stores_must_succeed: bool,
    asked: Mapping[str, Any],
    properties: Mapping[str, str] = MappingProxyType({}),
    endpoint: str | None = None,
) -> dict[str, Any]:
    """Arguments of an import. ``method`` and ``asked`` (the whole request) are as in Glance's
    API. The image has ``properties`` in addition once it has its data. ``endpoint`` is the URL of
    the image service for ``glance-download``."""
    return {
        "method": dict(method),
        **({} if endpoint is None else {_ENDPOINT: endpoint}),
        "stores": list(store_ids),
        "all_stores_must_succeed": all_stores_must_succeed,
        "asked": asked,
        **({"properties": dict(properties)} if properties else {}),
    }


def for_bucket_import(
    *,
    method: str,
    url: ImageUrl,
    store_id: str,
    properties: Mapping[str, str],
    name: str | None = None,
    job_type: str | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Arguments of an import from a user's bucket.

    The image has ``properties`` in addition once it has its data. ``name`` (the image's) and
    ``job_type`` are shown by IMS's job query. A ``quick`` import accepts certain formats only.
    """
    shown = {"name": name, "job_type": job_type}
    return {
        "method": {"name": method},
        "stores": [store_id],
        "all_stores_must_succeed": True,
        "properties": dict(properties),
        **{member: value for member, value in shown.items() if value is not None},
        **({"formats": list(QUICK_IMPORT_FORMATS)} if quick else {}),
        **_stored_object(url),
    }


def for_copy(
    *, method: str, origin: Location, store_id: str, properties: Mapping[str, str], name: str
) -> dict[str, Any]:
    """Arguments of a job that copies another image's data, which is at ``origin``.

    ``properties`` and ``name`` are as for an import from a bucket.
    """
    return {
        "method": {"name": method},
        "stores": [store_id],
        "all_stores_must_succeed": True,
        "properties": dict(properties),
        "name": name,
        _ORIGIN: [origin.store, origin.url],
    }


def for_location(
    *, location: Location, validation_data: Mapping[str, str], read: bool
) -> dict[str, Any]:
    """Arguments of a job that adds a location. With ``read`` the object is read and checked."""
    return {
        "location": [location.store, location.url],
        "validation_data": dict(validation_data),
        "read": read,
    }


def for_upload(upload_id: str) -> dict[str, Any]:
    """Arguments of a job that verifies a resumable upload."""
    return {"upload": upload_id}


def for_export(*, url: ImageUrl) -> dict[str, Any]:
    """Arguments of an export into a user's bucket."""
    return _stored_object(url)


def _stored_object(url: ImageUrl) -> dict[str, Any]:
    """``asked`` is shown by Glance's task API."""
    return {"object": [url.bucket, url.key], "asked": {"object": f"{url.bucket}:{url.key}"}}


def _stored_certificate(certificate: bytes | None) -> dict[str, str]:
    if certificate is None:
        return {}
    return {"certificate": base64.b64encode(certificate).decode("ascii")}


def _certificate(job: Job) -> bytes | None:
    text = job.arguments.get("certificate")
    return base64.b64decode(text) if text else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportArguments:
    """What an import job has to do, and its progress.

    A job is ``settled`` when the image has its data. It then only has to remove ``surplus``
    objects, and what its attempts left in the stores ``left_out``. ``postponed`` is the number of
    attempts that ended because its source was unavailable.
    """

    method: Mapping[str, Any]
    store_ids: tuple[str, ...]
    all_stores_must_succeed: bool
    certificate: bytes | None
    url: ImageUrl | None
    origin: Location | None
    endpoint: str | None
    formats: tuple[str, ...]
    properties: Mapping[str, str]
    settled: bool
    surplus: tuple[Location, ...]
    left_out: tuple[str, ...]
    postponed: int

    @classmethod
    def of(cls, job: Job) -> Self:
        stored = job.arguments
        return cls(
            method=stored["method"],
            store_ids=tuple(stored["stores"]),
            all_stores_must_succeed=stored["all_stores_must_succeed"],
            certificate=_certificate(job),
            url=ImageUrl(*stored["object"]) if "object" in stored else None,
            origin=Location(*stored[_ORIGIN]) if _ORIGIN in stored else None,
            endpoint=stored.get(_ENDPOINT),
            formats=tuple(stored.get("formats", ())),
            properties=stored.get("properties", {}),
            settled=_SURPLUS in stored,
            surplus=tuple(Location(*location) for location in stored.get(_SURPLUS, ())),
            left_out=tuple(stored.get(_LEFT_OUT, ())),
            postponed=stored.get(POSTPONED, 0),
        )


def when_settled(job: Job, surplus: Sequence[Location], left_out: Sequence[str]) -> dict[str, Any]:
    """The arguments of an import job from the step on in which the image gets its data."""
    return {
        **without_credential(job.arguments),
        _SURPLUS: [[location.store, location.url] for location in surplus],
        _LEFT_OUT: list(left_out),
    }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocationArguments:
    """The object that becomes an image's data; ``read`` says whether it is read and checked."""

    location: Location
    validation_data: Mapping[str, str]
    read: bool
    certificate: bytes | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            location=Location(*job.arguments["location"]),
            validation_data=job.arguments["validation_data"],
            read=job.arguments["read"],
            certificate=_certificate(job),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UploadArguments:
    """The upload to verify."""

    upload_id: str
    certificate: bytes | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(upload_id=job.arguments["upload"], certificate=_certificate(job))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExportArguments:
    """The object to write. ``begun`` identifies what the last attempt began, if anything."""

    url: ImageUrl
    begun: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(url=ImageUrl(*job.arguments["object"]), begun=job.arguments.get(_BEGUN))


def when_begun(begun: str) -> dict[str, Any]:
    """What an export adds to its arguments before it writes."""
    return {_BEGUN: begun}
