"""Passes requests about records on to IMS, and answers those that bring image data.

::

    [app:bridge]
    use = egg:imsgate#bridge

Behind authentication: every request has the rights of an access key of the cloud.
"""

import contextlib
import logging
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from imsgate import errors
from imsgate.api.ims import jobs
from imsgate.api.routes import Router
from imsgate.bridge import data, overlay
from imsgate.bridge.records import recalled
from imsgate.bridge.registration import Registrations
from imsgate.bridge.remote import Remote
from imsgate.forward.application import Forward
from imsgate.http import responses, wsgi
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.model import Image
from imsgate.records.records import Records
from imsgate.registry.base import Registry

LOG = logging.getLogger(__name__)

#: The id of the job that registers the data, in responses to the requests that brought it.
JOB_HEADER = "X-Imsgate-Job"

_IMAGE = re.compile(r"/v2/(?:cloud)?images/([^/]+)/?")
_SHOWN = re.compile(r"(GET|PATCH) /v2/(images|cloudimages)(/[^/]+)?/?")
_JOB = re.compile(r"/v1/(?:cloudimages/job|([^/]+)/jobs)/([^/]+)/?")
#: Calls of IMS with a project in their path.
_OF_PROJECT = re.compile(r"(/v1/)([^/]+)(/(?:jobs|cloudimages)/.*)|(/v2/)([^/]+)(/images/.*)")

#: The policy rules of requests about records, by their methods.
_RULES = {"GET": "get_images", "HEAD": "get_images", "DELETE": "delete_image"}

#: A longer list is passed on as it is.
_MAX_LIST_BYTES = 32 << 20
_JSON = "application/json"


class Bridge:
    """The WSGI application. ``sweep`` is to be called regularly."""

    def __init__(
        self,
        *,
        forward: Forward,
        calls: data.DataCalls,
        remote: Remote,
        registry: Registry,
        records: Records,
        registrations: Registrations,
        check: Callable[[Request], None],
    ) -> None:
        """``check`` raises an Error for a request that is refused before it is routed."""
        self._forward = forward
        self._check = check
        self._router = Router(calls.routes(), versions=_no_route)
        self._jobs = jobs.Jobs(access=calls.access, registry=registry)
        self._access = calls.access
        self._remote = remote
        self._registry = registry
        self._records = records
        self._registrations = registrations
        self.sweep = registrations.sweep

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._response(request)
        except errors.Error as error:
            if error.needs_operator:
                LOG.error("%s", error)
            response = responses.refusal(error)
        return response(environ, start_response)

    def _response(self, request: Request) -> WsgiApp:
        self._check(request)
        if request.is_one_of(data.REQUESTS):
            return responses.identified(self._received(request), request.environ)
        job = _JOB.fullmatch(request.route)
        if job and request.method in ("GET", "HEAD") and request.identity is not None:
            with contextlib.suppress(errors.JobNotFound):  # it may be one of IMS
                return responses.identified(
                    self._jobs.show(request, job[2], job[1]), request.environ
                )
        return self._passed_on(request)

    def close(self) -> None:
        """Close idle connections to IMS."""
        self._forward.pool.close()
        self._remote.client.pool.close()

    # Data

    def _received(self, request: Request) -> Any:
        """The response to a request that brings data, or is about data that comes in."""
        image_id = data.image_of(request, self._registry)
        try:
            response = self._router(request)
        except errors.NoImageUpstream:
            if image_id:
                self._forget(request, image_id)
            raise
        if image_id:
            job = self._registrations.start_if_due(image_id, request.request_id)
            if job is not None:
                response.headers[JOB_HEADER] = jobs.shown_id(job)
        return response

    def _forget(self, request: Request, image_id: str) -> None:
        """Remove what is here of an image that IMS no longer has, or does not show to the user,
        whose own image it is."""
        image = recalled(self._registry, image_id)
        if image is None or not self._remote.is_alike(_project(request), image.owner):
            return
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            self._records.remove(image_id)

    # Records

    def _passed_on(self, request: Request) -> WsgiApp:
        """The response of IMS, with what only this service knows."""
        self._check_rights(request)
        status, headers, body = wsgi.call(self._forward, self._for_cloud(request))
        code, of_upstream = int(status.split()[0]), _is_of_upstream(headers)
        with contextlib.ExitStack() as on_error:
            on_error.callback(_close, body)
            if code == 401 and of_upstream:
                raise errors.UpstreamDenied(problem="401")
            if of_upstream and (match := _IMAGE.fullmatch(request.route)):
                self._note_deletion(request, match[1], code)
            if code == 200 and request.is_one_of(_SHOWN) and _is_json(headers):
                headers, body = self._overlaid(request, headers, body)
            on_error.pop_all()

        def respond(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            start_response(status, headers)
            return body

        return respond

    def _note_deletion(self, request: Request, image_id: str, code: int) -> None:
        """Remove what is here of an image if the response of IMS means that it is gone."""
        if request.method == "DELETE" and code == 204:
            self._forget(request, image_id)
        elif code == 404 and recalled(self._registry, image_id) is not None:
            # It may only be the path that is not found, such as during maintenance.
            try:
                self._remote.image(_project(request), image_id)
            except errors.NoImageUpstream:
                self._forget(request, image_id)
            except errors.Unavailable as error:
                LOG.warning("It is unknown whether image %s is deleted: %s", image_id, error)

    def _check_rights(self, request: Request) -> None:
        """Raises Forbidden for what the policy does not let the user do: IMS sees the access key of
        the cloud only. What an image is, and whose, is left to IMS."""
        who = request.identity
        if who is None:
            if request.method not in ("GET", "HEAD"):
                raise errors.Unauthenticated
            return  # one of the public paths of the filter ``identity``
        own = {"project_id": who.project_id, "owner": who.project_id}
        rule = _RULES.get(request.method, "modify_image")
        if request.method == "POST" and request.route.rstrip("/") == "/v2/images":
            rule = "add_image"
        self._access.check(who, rule, own, "in the image service")

    def _for_cloud(self, request: Request) -> Environ:
        """The environ for IMS: in its path is the cloud's project."""
        environ: Environ = request.environ
        own = _project(request)
        project = self._remote.project(own)
        match = _OF_PROJECT.fullmatch(environ.get("PATH_INFO", ""))
        if not match or own is None or project is None:
            return environ
        before, named, after = match.groups()[:3] if match[1] else match.groups()[3:]
        if named != own:
            return environ
        quoted = urllib.parse.quote(project, safe="")
        return {**environ, "PATH_INFO": f"{before}{quoted}{after}"}

    def _overlaid(
        self, request: Request, headers: list[tuple[str, str]], body: Iterable[bytes]
    ) -> tuple[list[tuple[str, str]], Iterable[bytes]]:
        chunks, content = iter(body), bytearray()
        for chunk in chunks:
            content += chunk
            if len(content) > _MAX_LIST_BYTES:
                return headers, _Joined(bytes(content), chunks, body)
        _close(body)
        vendor = responses.speaks_ims(request.environ)
        changed = overlay.overlaid(bytes(content), self._find, vendor=vendor)
        content_length = str(len(content if changed is None else changed))
        others = [field for field in headers if field[0].lower() != "content-length"]
        return [*others, ("Content-Length", content_length)], [changed or bytes(content)]

    def _find(self, image_id: str) -> Image | None:
        self._registrations.start_if_due(image_id)
        return recalled(self._registry, image_id)


class _Joined:
    """A body of which the beginning was read."""

    def __init__(self, content: bytes, rest: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._chunks = (content, rest)
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        content, rest = self._chunks
        yield content
        yield from rest

    def close(self) -> None:
        _close(self._body)


def _project(request: Request) -> str | None:
    return request.identity.project_id if request.identity else None


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _is_json(headers: list[tuple[str, str]]) -> bool:
    return any(
        name.lower() == "content-type" and text.lower().startswith(_JSON) for name, text in headers
    )


def _is_of_upstream(headers: list[tuple[str, str]]) -> bool:
    """Whether the response is that of IMS, not one of this service."""
    return any(name.lower() == "via" for name, _ in headers)


def _no_route(request: Request) -> Any:
    raise errors.NoRoute(what="The resource")
