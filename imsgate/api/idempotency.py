"""Idempotency-Key: a request that is sent again gets the answer of the first one.

Source: draft-ietf-httpapi-idempotency-key-header-07. A handler that is wrapped by ``Repeatable``
gives the registry its answer together with what it records, so that a process may die at any
moment. Answers that record nothing are kept afterwards.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import time
from collections.abc import Callable
from typing import Any

import webob

from imsgate import errors
from imsgate.api import description
from imsgate.api.description import Description
from imsgate.api.requester import identity
from imsgate.http import headers, responses
from imsgate.http.request import CLAIM, Request
from imsgate.registry.base import Registry
from imsgate.registry.idempotency import Claim, KeptAnswer, Outcome

Handler = Callable[..., webob.Response]

_KEEP_SECONDS = 24 * 3600
#: Seconds for which a key stays in use if its process dies. That is longer than any of these
#: requests should take; one that takes longer records nothing.
_LEASE_SECONDS = 60

#: The statuses of final refusals. Others are temporary: an outage, a limit, a conflict with another
#: request.
_PERMANENT = frozenset({400, 403, 404, 415, 422})

#: Enough for an image: it has at most 128 KiB of properties, which JSON may make longer.
_MAX_ANSWER_BYTES = 1 << 20
#: Smaller, because no quota limits the number of refusals.
_MAX_REFUSAL_BYTES = 8192

#: Headers that each response gets anew.
_OWN_HEADERS = ("Content-Length", "X-Request-Id")


class Repeatable:
    """Wraps handlers whose requests may have an Idempotency-Key."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        def handle(request: Request, **arguments: str) -> webob.Response:
            key = headers.idempotency_key(request.environ.get("HTTP_IDEMPOTENCY_KEY"))
            if key is None:
                return handler(request, **arguments)
            return self._handle(request, key, functools.partial(handler, request, **arguments))

        return description.attach(_described(description.of(handler)))(handle)

    def _handle(
        self, request: Request, key: str, work: Callable[[], webob.Response]
    ) -> webob.Response:
        """Raises KeyReused, KeyInUse, Unauthenticated, Unavailable, and what ``work`` raises."""
        now = time.time()
        claim = self._registry.claim_key(
            _key_of_caller(request, key),
            _fingerprint(request),
            now=now,
            lease=now + _LEASE_SECONDS,
            expires=now + _KEEP_SECONDS,
        )
        if isinstance(claim, KeptAnswer):
            return _response(claim)
        request.environ[CLAIM] = claim
        try:
            response = work()
        except errors.Error as error:
            self._end_refused(request, claim, error)
            raise
        except BaseException:
            self._release(claim)
            raise
        if nothing_recorded := outcome(request, lambda: response):
            with contextlib.suppress(errors.Error):
                self._registry.keep_answer(nothing_recorded)
        return response

    def _end_refused(self, request: Request, claim: Claim, error: errors.Error) -> None:
        """Keep a final refusal; after any other failure the request may be repeated."""
        if error.status in _PERMANENT:
            # WebOb would rewind the body, which only the application has read.
            bodiless = Request({**request.environ, "wsgi.input": io.BytesIO()})
            answer = _answer(bodiless.get_response(responses.refusal(error)))
            if len(answer.body) <= _MAX_REFUSAL_BYTES:
                with contextlib.suppress(errors.Error):
                    self._registry.keep_answer(Outcome(claim, answer))
                return
        self._release(claim)

    def _release(self, claim: Claim) -> None:
        # Otherwise the lease runs out.
        with contextlib.suppress(errors.Error):
            self._registry.release_key(claim)


def _described(once: Description) -> Description:
    """The description of a handler whose requests may have a key."""
    key = {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._~+/=:-]{0,254}$",
        "description": "A new value for each new request",
    }
    return dataclasses.replace(
        once,
        headers={**once.headers, "Idempotency-Key": key},
        refusals=(*once.refusals, 409, 422),
        has_problems=True,
    )


def outcome(request: Request, respond: Callable[[], webob.Response]) -> Outcome | None:
    """The outcome that ends the claim of this request; None if it has no claim or its claim has
    ended.

    Raises BadRequest for a response that is too long to be kept.
    """
    claim: Claim | None = request.environ.pop(CLAIM, None)
    if claim is None:
        return None
    answer = _answer(respond())
    if len(answer.body) > _MAX_ANSWER_BYTES:
        problem = "the response would be too long to be kept; send no Idempotency-Key"
        raise errors.BadRequest(problem=problem)
    return Outcome(claim, answer)


def _key_of_caller(request: Request, key: str) -> str:
    """The key as it is recorded, which differs from that of any other caller."""
    who = identity(request)
    return _digest([who.user_id, who.project_id, key])


def _fingerprint(request: Request) -> str:
    """A digest of what is the same in a request that is sent again."""
    parts = [request.method, request.route, request.environ.get("HTTP_X_IMAGE_META_STORE")]
    return _digest(parts, request.whole_body())


def _digest(parts: list[str | None], body: bytes = b"") -> str:
    return hashlib.sha256(json.dumps(parts).encode("ascii") + body).hexdigest()


def _answer(response: webob.Response) -> KeptAnswer:
    kept: dict[str, Any] = {
        name: text for name, text in response.headerlist if name not in _OWN_HEADERS
    }
    return KeptAnswer(response.status_int, kept, response.body)


def _response(answer: KeptAnswer) -> webob.Response:
    return webob.Response(
        status=answer.status, headerlist=list(answer.headers.items()), body=answer.body
    )
