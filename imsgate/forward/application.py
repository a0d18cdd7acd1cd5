"""Passes requests on to another image service, and its responses back.

::

    [app:forward]
    use = egg:imsgate#forward

With ``[forward] spool_store``, ``imsgate.spool`` is in front of it.

At the end of a pipeline, in the place of ``gate``: the filters decide here, records and data are
there (``[forward] upstream``). Bodies stream in both directions in bounded memory. ``sniff`` with
``ask_record`` gets the declared format from the record there.
"""

import contextlib
import http
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import h11

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.forward import admission, fields, lost, upstream
from imsgate.forward.client import UpstreamClient
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.credentials import Authenticator, UpstreamCredentials
from imsgate.forward.exchange import LostResponse, UpstreamRequest
from imsgate.forward.fingerprint import Fingerprint
from imsgate.forward.incoming import IncomingBody
from imsgate.forward.links import Links, has_links
from imsgate.forward.outgoing import OutgoingImage
from imsgate.forward.settings import GROUP, ForwardSettings
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ
from imsgate.telemetry.dependencies import Dependency

LOG = logging.getLogger(__name__)

#: A JSON document up to this size keeps a Content-Length when its links are replaced.
_MAX_BUFFERED_BYTES = 1 << 18
#: Responses to any method that have no body (RFC 9110 section 6.4.1).
_BODILESS = (204, 304)


class Forward:
    """The WSGI application."""

    def __init__(
        self,
        settings: ForwardSettings,
        public_endpoint: str | None = None,
        credentials: Authenticator | None = None,
    ) -> None:
        """``credentials`` replace those of ``[forward]``. Raises BadConfig, naming the option."""
        self._settings = settings
        self._public_endpoint = public_endpoint
        self.credentials = credentials or UpstreamCredentials(settings)
        self.client = UpstreamClient(settings, self.credentials)
        self.upstream, self.pool = self.client.upstream, self.client.pool
        self._exchanges = self.client.exchanges
        self._service = Dependency(f"The image service {self.upstream.authority}", LOG)
        self._links = Links(upstream.names(settings))
        try:
            self._images = re.compile(settings.requests)
        except re.error as error:
            raise BadConfig(f"[{GROUP}] requests", str(error)) from error

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            return self._answer(request, start_response)
        except errors.Error as error:
            if isinstance(error, errors.UpstreamFailed):
                cause = error.__cause__ or "no further details"
                self._service.failed(f"it {error.details['problem']} ({cause})")
            return responses.refusal(error)(environ, start_response)

    def _answer(self, request: Request, start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_image = admission.carries_image(request, self._images)
        message = UpstreamRequest(
            method=request.method,
            target=fields.target(request, self.upstream.path),
            authority=self.upstream.authority,
            fields=fields.of_request(
                request, self.public_url(request), with_credentials=not self.credentials.replace
            ),
            # Before a place is taken, which a slow client must not hold.
            document=b"" if is_image else admission.document(request),
            project=request.identity.project_id if request.identity else None,
        )
        self.pool.enter()
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.pool.leave)
            sent = self._upload(request, message) if is_image else self._exchanges.send(message)
            if sent is None:
                start_response("204 No Content", [("Via", fields.VIA)])
                return []
            connection, response = sent
            self._service.works()
            body = IncomingBody(connection, self._settings.idle_timeout, self._end)
            on_error.pop_all()
            on_error.callback(body.close)
            headers = fields.of_response(response.headers.raw_items())
            headers, chunks = self._translated(request, response.status_code, headers, body)
            start_response(_status(response), headers)
            on_error.pop_all()
        return chunks

    def sender(self, request: Request) -> fields.Fields:
        """The headers of further requests in the name of the user who sent this one."""
        with_credentials = not self.credentials.replace
        return fields.of_sender(
            request, self.public_url(request), with_credentials=with_credentials
        )

    def _end(self, connection: UpstreamConnection, complete: bool) -> None:
        """The end of an exchange."""
        try:
            if complete:
                self.pool.give_back(connection)
            else:
                connection.abort()
        finally:
            self.pool.leave()

    def _upload(
        self, request: Request, message: UpstreamRequest
    ) -> tuple[UpstreamConnection, h11.Response] | None:
        """None if the response is lost, but the record says that upstream has the image."""
        length = admission.image_length(request, self._settings.chunked)
        looks = self._settings.check_lost_responses and lost.can_be_checked(message)
        image = OutgoingImage(request.reader(), length, Fingerprint() if looks else None)
        try:
            return self._exchanges.send_image(message, image)
        except LostResponse as response:
            if looks and lost.is_stored(self.client, message, image):
                return None
            raise response.failure from None

    def _translated(
        self, request: Request, status: int, headers: fields.Fields, body: IncomingBody
    ) -> tuple[fields.Fields, Iterable[bytes]]:
        """Headers and body for the client: links lead to this service."""
        public_url = self.public_url(request)
        headers = self._links.in_fields(headers, public_url)
        lengths = [text for name, text in headers if name.lower() == "content-length"]
        translates = has_links(headers)
        if translates:
            headers = [field for field in headers if field[0].lower() != "content-length"]
        if request.method == "HEAD" or status in _BODILESS:
            return headers, list(body)
        if not translates:
            return headers, body
        body.links = self._links.rewriter(public_url)
        if not lengths or int(lengths[0]) > _MAX_BUFFERED_BYTES:
            return headers, body
        content = b"".join(body)
        return [*headers, ("Content-Length", str(len(content)))], [content]

    def public_url(self, request: Request) -> str:
        return (self._public_endpoint or cast(str, request.application_url)).rstrip("/")


def _status(response: h11.Response) -> str:
    """The status line without the version. Upstream may leave the reason empty."""
    reason = response.reason.decode("latin-1").strip()
    if not reason:
        with contextlib.suppress(ValueError):
            reason = http.HTTPStatus(response.status_code).phrase
    return f"{response.status_code} {reason or 'Unknown'}"
