"""Starts the jobs that requests ask for."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api import idempotency
from imsgate.api.requester import identity, sealed_credential
from imsgate.api.signatures import Signing
from imsgate.http.request import CLAIM, Request
from imsgate.jobs.arguments import for_image, requested_by
from imsgate.jobs.engine import Ending, Engine
from imsgate.model import Image, Job
from imsgate.quotas.quota import Quotas
from imsgate.records.records import Records
from imsgate.registry.base import NOTHING
from imsgate.registry.changes import version_of

#: The response to a request that started a job.
Answering = Callable[[Job], webob.Response]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobStarter:
    """Records jobs in the name of the user who sent a request.

    Each job stores which user and request asked for it and, where the authentication filter
    can tell, a credential by which the policy rule ``rule`` is asked again at the job's end.
    The result of each method is what ``answer`` makes of the job.
    """

    engine: Engine
    records: Records
    quotas: Quotas
    signing: Signing

    def start_import(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        answer: Answering,
        is_signed: bool = True,
        was: Mapping[str, Any] = NOTHING,
        **fields: Any,
    ) -> webob.Response:
        """Start a job that brings in data, and set ``fields`` of the image in the same step.

        ``is_signed`` is false for data that was verified before. Raises Conflict if the image
        has changed since it was read or differs from ``was``, or another job uses it;
        OverLimit, SignatureRefused and Unavailable.
        """
        job = self._start(
            request,
            image,
            kind,
            arguments,
            rule=rule,
            is_signed=is_signed,
            was={**version_of(image), **was},
            within=self.quotas.of(image.owner),
            outcome=_ending(request, answer),
            **fields,
        )
        return answer(job)

    def start_creation(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        answer: Answering,
    ) -> webob.Response:
        """Record a new image together with the job that brings in its data.

        Raises AlreadyExists, OverLimit, SignatureRefused and Unavailable; then there is neither.
        """
        certificate = self.signing.certificate(request, image)
        repeatable = CLAIM in request.environ
        try:
            job = self.engine.start_with(
                image,
                kind,
                project=identity(request).project_id,
                arguments=_arguments(request, image, arguments, rule, certificate),
                within=self.quotas.of(image.owner),
                outcome=_ending(request, answer),
            )
        except errors.Unavailable:
            # Only the database's answer may have been lost. The client does not know the image,
            # unless it can ask again.
            if not repeatable:
                with contextlib.suppress(errors.Error):
                    self.records.discard(image.id)
            raise
        return answer(job)

    def start_verification(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        is_signed: bool,
        was: Mapping[str, Any],
    ) -> Job:
        """Start a job that verifies data which has arrived; the image then waits for the job.

        Raises as ``start_import``.
        """
        return self._start(
            request,
            image,
            kind,
            arguments,
            rule=rule,
            is_signed=is_signed,
            was=was,
            upload_expires=None,
        )

    def start_upload_import(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        was: Mapping[str, Any],
        **fields: Any,
    ) -> Job:
        """Start a job that imports what this request has staged, and set ``fields`` of the image
        in the same step. Raises Conflict and Unavailable."""
        return self._start(
            request, image, kind, arguments, rule=rule, is_signed=False, was=was, **fields
        )

    def start_export(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        answer: Answering,
    ) -> webob.Response:
        """Start a job that reads an image's data. Raises Conflict as ``start_import``."""
        job = self._start(
            request,
            image,
            kind,
            arguments,
            rule=rule,
            is_signed=False,
            was=version_of(image),
            outcome=_ending(request, answer),
        )
        return answer(job)

    def _start(
        self,
        request: Request,
        image: Image,
        kind: str,
        arguments: Mapping[str, Any],
        *,
        rule: str,
        is_signed: bool,
        **more: Any,
    ) -> Job:
        """``more`` are further arguments of ``Engine.start``."""
        certificate = self.signing.certificate(request, image) if is_signed else None
        return self.engine.start(
            kind,
            project=identity(request).project_id,
            image_id=image.id,
            arguments=_arguments(request, image, arguments, rule, certificate),
            **more,
        )


def _ending(request: Request, answer: Answering) -> Ending:
    """What ends the claim of the request, if it has one, when its job is recorded."""
    return lambda job: idempotency.outcome(request, lambda: answer(job))


def _arguments(
    request: Request,
    image: Image,
    arguments: Mapping[str, Any],
    rule: str,
    certificate: bytes | None,
) -> dict[str, Any]:
    """The arguments with those of every job."""
    return {
        **arguments,
        **for_image(image),
        **requested_by(
            user_id=identity(request).user_id,
            request_id=request.request_id,
            credential=sealed_credential(request, rule),
            certificate=certificate,
        ),
    }
