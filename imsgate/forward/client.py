"""Requests of this service itself to upstream, beside those that it passes on."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import h11

from imsgate.errors import UpstreamFailed
from imsgate.forward import fields, upstream
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.credentials import Authenticator
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.incoming import IncomingBody
from imsgate.forward.outgoing import OutgoingImage
from imsgate.forward.pool import Pool
from imsgate.forward.settings import ForwardSettings

#: The longest response that is read as a whole, in bytes.
_MAX_BYTES = 1 << 20

#: The sender of requests that are in the name of no user.
THIS_SERVICE = (("Accept-Encoding", "identity"), ("Via", fields.VIA))


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A whole response. The names of ``headers`` are in lower case; ``body`` is at most 1 MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object in the body. Raises UpstreamFailed if it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed(problem="sent an invalid response") from error
        if not isinstance(document, dict):
            raise UpstreamFailed(problem="sent an invalid response")
        return document


class UpstreamClient:
    """Sends requests to upstream, and receives their responses."""

    def __init__(self, settings: ForwardSettings, credentials: Authenticator) -> None:
        """Raises BadConfig, naming the option."""
        self._settings = settings
        self.upstream = upstream.load(settings)
        self.pool = Pool(
            lambda: UpstreamConnection(self.upstream.connect(settings.connect_timeout)), settings
        )
        self.exchanges = Exchanges(self.pool, settings, credentials)

    def call(
        self,
        method: str,
        path: str,
        *,
        sender: Sequence[tuple[str, str]] = THIS_SERVICE,
        project: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Send a JSON document, or nothing, in the name of a project or of the user whose headers
        ``sender`` are. ``path`` is encoded.

        Raises UpstreamFailed, which leaves open whether upstream has processed a request that
        changes something; BusyUpstream, and what the credentials raise.
        """
        named = [*sender, ("Accept", "application/json")]
        if body is not None:
            named.append(("Content-Type", "application/json"))
        request = self._request(method, path, named, project)
        if body is not None:
            request = dataclasses.replace(request, document=json.dumps(body).encode())
        with self.pool.place():
            return self._reply(*self.exchanges.send(request))

    def deliver(self, path: str, sender: Sequence[tuple[str, str]], image: OutgoingImage) -> Reply:
        """Send image data by PUT.

        Raises LostResponse, UpstreamFailed, BusyUpstream, and what reading the image raises.
        """
        named = [*sender, ("Content-Type", "application/octet-stream")]
        with self.pool.place():
            request = self._request("PUT", path, named)
            return self._reply(*self.exchanges.send_image(request, image))

    @contextlib.contextmanager
    def asked(self, request: UpstreamRequest) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The status of the response and its body, of any size. The caller has a place in the pool.

        Raises UpstreamFailed, also while the body is read.
        """
        connection, response = self.exchanges.send(request)
        with contextlib.closing(self._incoming(connection)) as body:
            yield response.status_code, body

    def _request(
        self, method: str, path: str, named: fields.Fields, project: str | None = None
    ) -> UpstreamRequest:
        return UpstreamRequest(
            method=method,
            target=self.upstream.path + path,
            authority=self.upstream.authority,
            fields=named,
            project=project,
        )

    def _reply(self, connection: UpstreamConnection, response: h11.Response) -> Reply:
        with contextlib.closing(self._incoming(connection)) as body:
            content = whole(body)
        headers = {
            name.decode("latin-1").lower(): text.decode("latin-1")
            for name, text in response.headers.raw_items()
        }
        return Reply(response.status_code, headers, content)

    def _incoming(self, connection: UpstreamConnection) -> IncomingBody:
        return IncomingBody(connection, self._settings.idle_timeout, self._end)

    def _end(self, connection: UpstreamConnection, complete: bool) -> None:
        if complete:
            self.pool.give_back(connection)
        else:
            connection.abort()


def whole(chunks: Iterator[bytes], limit: int = _MAX_BYTES) -> bytes:
    """Raises UpstreamFailed for more than ``limit`` bytes."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise UpstreamFailed(problem="sent too long an answer")
    return bytes(content)
