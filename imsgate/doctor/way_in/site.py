"""The service behind its public URL, and the image records that probes make there."""

import contextlib
import dataclasses
import json
import secrets
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from imsgate.client.credentials import Credentials
from imsgate.doctor.way_in.connection import Lost, ProbeAnswer, ProbeConnection

OCTETS = {"Content-Type": "application/octet-stream"}
_PREFIX = "imsgate-doctor-way-in-"
_PORTS = {"http": 80, "https": 443}


class Silence(Exception):
    """No answer came in time."""


class Foreign(Exception):
    """Somebody else than imsgate answered."""

    def __init__(self, answer: ProbeAnswer, request: str) -> None:
        super().__init__(f"{answer.status} to {request} was not sent by imsgate")
        self.answer = answer
        self.request = request


class RefusedByImsgate(Exception):
    """imsgate refused what a probe needs."""

    def __init__(self, answer: ProbeAnswer, request: str) -> None:
        super().__init__(f"imsgate answered {request} with {answer.status} ({answer.reason})")
        self.answer = answer


@dataclasses.dataclass(slots=True)
class _Unsigned:
    """What credentials complete: they need no more of a request than this."""

    method: str
    url: str
    headers: dict[str, str]


class Site:
    """All times are in seconds. An answer that takes longer than ``patience`` counts as missing,
    and one to a body that is held back after ``held``. ``quiet`` is the length of a pause that a
    connection must survive."""

    def __init__(
        self, credentials: Credentials, *, patience: float, held: float, quiet: float
    ) -> None:
        """Raises ValueError if the endpoint is not a URL, and OSError if a certificate that the
        credentials name cannot be read."""
        self._credentials = credentials
        self.patience, self.held, self.quiet = patience, held, quiet
        self.url = urllib.parse.urlsplit(credentials.endpoint)
        if self.url.scheme not in _PORTS or not self.url.hostname:
            raise ValueError(f"{credentials.endpoint} is not the URL of a service")
        self.base = self.url.path.rstrip("/")
        self._port = self.url.port or _PORTS[self.url.scheme]
        self._tls = _tls(credentials) if self.url.scheme == "https" else None
        #: All records have this name, so that none is forgotten.
        self.name = _PREFIX + secrets.token_hex(8)
        self.has_created = False

    # Requests

    def open(self) -> ProbeConnection:
        """A new connection. Raises OSError."""
        host = str(self.url.hostname)
        connection = socket.create_connection((host, self._port), timeout=self.patience)
        if self._tls is None:
            return ProbeConnection(connection)
        try:
            return ProbeConnection(self._tls.wrap_socket(connection, server_hostname=host))
        except BaseException:
            connection.close()
            raise

    def fields(
        self, method: str, path: str, fields: Mapping[str, str], *, authorized: bool = True
    ) -> list[tuple[str, str]]:
        """The header fields of a request. Raises NotAllowed and Cut without a token."""
        target = f"{self.url.scheme}://{self.url.netloc}{self.base}{path}"
        unsigned = _Unsigned(method, target, {})
        if authorized:
            self._credentials(unsigned)
        host = {"Host": self.url.netloc.rpartition("@")[2]}
        accept = {"Accept": "application/json"}
        return list({**host, **accept, **unsigned.headers, **fields}.items())

    def begin(
        self,
        exchange: ProbeConnection,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
        authorized: bool = True,
        body: bytes = b"",
    ) -> None:
        """Send the head of a request, and the beginning of its body with it.

        The body is chunked unless its ``length`` is given.
        """
        chunked = {"Transfer-Encoding": "chunked"}
        framing = chunked if length is None else {"Content-Length": str(length)}
        sent = self.fields(method, path, {**(fields or {}), **framing}, authorized=authorized)
        exchange.head(method, self.base + path, sent, body)

    def call(
        self, method: str, path: str, body: Any = b"", fields: Mapping[str, str] | None = None
    ) -> ProbeAnswer:
        """One request on a connection of its own. What is not bytes is sent as JSON.

        Raises Lost, Silence, Foreign.
        """
        own = {}
        if not isinstance(body, bytes):
            body, own = json.dumps(body).encode(), {"Content-Type": "application/json"}
        with self.open() as exchange:
            fields = {**own, **(fields or {})}
            self.begin(exchange, method, path, fields, length=len(body), body=body)
            exchange.finish()
            return self.ours(exchange, f"{method} {_route(path)}")

    def ours(self, exchange: ProbeConnection, request: str) -> ProbeAnswer:
        """The final answer, from imsgate. ``request`` is for the message of an error.

        Raises Lost, Silence, Foreign.
        """
        answer = exchange.answer(self.patience)
        if answer is None:
            raise Silence(f"no answer to {request} within {self.patience:g} s")
        if not answer.is_ours:
            raise Foreign(answer, request)
        return answer

    # Images

    @contextlib.contextmanager
    def image(self) -> Iterator[str]:
        """The id of a new image record, which is removed at the end."""
        answer = self.create()
        image_id = str(json.loads(answer.body)["id"])
        try:
            yield image_id
        finally:
            with contextlib.suppress(Lost, Silence, Foreign, OSError):  # sweep() tries again
                self.call("DELETE", f"/v2/images/{image_id}")

    def create(self, fields: Mapping[str, str] | None = None) -> ProbeAnswer:
        """Create a record. Raises RefusedByImsgate, and what ``call`` raises."""
        record = {"name": self.name, "disk_format": "raw", "container_format": "bare"}
        self.has_created = True
        answer = self.call("POST", "/v2/images", record, fields)
        if answer.status != 201:
            raise RefusedByImsgate(answer, "POST /v2/images")
        return answer

    @contextlib.contextmanager
    def stored(self, data: bytes) -> Iterator[str]:
        """The id of an active image, which is removed at the end. Raises what ``call`` raises."""
        with self.image() as image_id:
            answer = self.upload(image_id, data)
            if answer.status != 204:
                raise RefusedByImsgate(answer, "PUT …/file")
            yield image_id

    def upload(self, image_id: str, data: bytes, **fields: str) -> ProbeAnswer:
        more = {name.replace("_", "-"): text for name, text in fields.items()}
        return self.call("PUT", f"/v2/images/{image_id}/file", data, {**OCTETS, **more})

    def record(self, image_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/v2/images/{image_id}")
        if answer.status != 200:
            raise RefusedByImsgate(answer, "GET …/images/{id}")
        shown: dict[str, Any] = json.loads(answer.body)
        return shown

    def sweep(self) -> list[str]:
        """Remove every record of this run; return the ids of those that remain.

        Raises Lost, Silence, Foreign, OSError.
        """
        answer = self.call("GET", f"/v2/images?name={self.name}")
        images = json.loads(answer.body)["images"] if answer.status == 200 else []
        remaining = []
        for image in images:
            if self.call("DELETE", f"/v2/images/{image['id']}").status not in (204, 404):
                remaining.append(image["id"])
        return remaining


def _route(path: str) -> str:
    """A path without what differs between runs."""
    parts = path.partition("?")[0].split("/")
    return "/".join("{id}" if len(part) == 36 and part.count("-") == 4 else part for part in parts)


def _tls(credentials: Credentials) -> ssl.SSLContext:
    """As requests understands ``verify`` and ``cert``."""
    verify, cert = credentials.verify, credentials.cert
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        files = (cert,) if isinstance(cert, str) else cert
        context.load_cert_chain(*files)
    return context
