"""One request to upstream, and the head of its response."""

import dataclasses

import h11

from imsgate import errors
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.credentials import Authenticator, Signable
from imsgate.forward.fields import Fields
from imsgate.forward.outgoing import OutgoingImage
from imsgate.forward.pool import Pool
from imsgate.forward.settings import ForwardSettings
from imsgate.telemetry import trace_context

#: Methods that change nothing (RFC 9110 section 9.2.1), so that they may be sent twice.
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))

_EXPECTATION_FAILED = 417


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """``fields`` are without Host and those of the body; a ``document`` is a body as a whole.
    ``project`` is that of the user, for credentials that depend on it."""

    method: str
    target: str
    authority: str
    fields: Fields
    document: bytes = b""
    project: str | None = None

    @property
    def may_repeat(self) -> bool:
        return self.method in _SAFE and not self.document

    def head(self, *framing: tuple[str, str]) -> h11.Request:
        """Raises BadRequest for headers that HTTP does not have."""
        try:
            return h11.Request(
                method=self.method,
                target=self.target,
                headers=[
                    ("Host", self.authority),
                    *self.fields,
                    *trace_context.headers().items(),
                    *framing,
                ],
            )
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            problem = "the request line or a header has invalid characters"
            raise errors.BadRequest(problem=problem) from error


class LostResponse(Exception):
    """All of an image has been sent, and nothing says what became of it."""

    def __init__(self, failure: errors.UpstreamFailed) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Exchanges:
    """Sends requests and returns the heads of their responses.

    The caller closes the connection that comes with a response, or gives it back to the pool.
    """

    def __init__(self, pool: Pool, settings: ForwardSettings, credentials: Authenticator) -> None:
        self._pool = pool
        self._settings = settings
        self._credentials = credentials

    def send(self, request: UpstreamRequest) -> tuple[UpstreamConnection, h11.Response]:
        """Send a request with a document or without a body.

        A request that changes nothing is sent again if a kept connection turns out to be closed.
        Raises UpstreamFailed and BadRequest.
        """
        connection = self._pool.connection(may_reuse=request.may_repeat)
        try:
            return connection, self._send_document(connection, request)
        except errors.UpstreamFailed as error:
            connection.abort()
            is_lost = isinstance(error, errors.UpstreamTimeout) or connection.has_answered
            if is_lost or not connection.is_reused:
                raise
        except BaseException:
            connection.abort()
            raise
        connection = self._pool.connection(may_reuse=False)
        try:
            return connection, self._send_document(connection, request)
        except BaseException:
            connection.abort()
            raise

    def _send_document(
        self, connection: UpstreamConnection, request: UpstreamRequest
    ) -> h11.Response:
        framing = []
        if request.document or request.method in ("POST", "PUT", "PATCH"):
            framing = [("Content-Length", str(len(request.document)))]
        credentials = self._replacing(request, request.document)
        events: list[h11.Event] = [request.head(*framing, *credentials)]
        if request.document:
            events.append(h11.Data(data=request.document))
        timeouts = self._settings
        early = connection.send(*events, h11.EndOfMessage(), timeout=timeouts.idle_timeout)
        return early or connection.response(timeouts.response_timeout)

    def _replacing(self, request: UpstreamRequest, document: bytes | None) -> Fields:
        return self._credentials.replacing(
            Signable(
                method=request.method,
                target=request.target,
                host=request.authority,
                document=document,
                project=request.project,
            )
        )

    def send_image(
        self, request: UpstreamRequest, image: OutgoingImage
    ) -> tuple[UpstreamConnection, h11.Response]:
        """Send an image. Nothing of it is read before upstream has had time to refuse its headers.

        If reading fails, upstream sees a broken connection. Raises what reading raises,
        LostResponse once all has been sent, UpstreamFailed otherwise, and BadRequest.
        """
        expects = self._settings.continue_timeout > 0
        connection, response = self._try_image(request, image, expects)
        if expects and response.status_code == _EXPECTATION_FAILED and not image.size:
            connection.close()
            connection, response = self._try_image(request, image, False)
        return connection, response

    def _try_image(
        self, request: UpstreamRequest, image: OutgoingImage, expects: bool
    ) -> tuple[UpstreamConnection, h11.Response]:
        framing = ("Transfer-Encoding", "chunked")
        if image.length is not None:
            framing = ("Content-Length", str(image.length))
        expectation = [("Expect", "100-continue")] if expects else []
        head = request.head(framing, *expectation, *self._replacing(request, None))
        connection = self._pool.connection(may_reuse=False)
        try:
            return connection, self._send_image(connection, head, image, expects)
        except BaseException:
            connection.abort()
            raise

    def _send_image(
        self, connection: UpstreamConnection, head: h11.Request, image: OutgoingImage, expects: bool
    ) -> h11.Response:
        idle = self._settings.idle_timeout
        early = connection.send(head, timeout=idle)
        if expects and not early:
            early = connection.until_wanted(self._settings.continue_timeout)
        if early:
            return _checked(early)
        for chunk in image:
            early = connection.send(h11.Data(data=chunk), timeout=idle)
            if early:
                return _checked(early)
        try:
            early = connection.send(h11.EndOfMessage(), timeout=idle)
            return early or connection.response(self._settings.commit_timeout)
        except errors.UpstreamFailed as error:
            raise LostResponse(error) from error


def _checked(response: h11.Response) -> h11.Response:
    """A response that came before all of the image was sent.

    It must not be a success: nobody knows what upstream has stored, and the filters have not seen
    the rest. Raises UpstreamFailed.
    """
    if response.status_code < 300:
        raise errors.UpstreamFailed(problem="accepted an image before its end")
    return response
