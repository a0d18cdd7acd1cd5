"""Downloads, which connect only to where the operator allows.

Every address that a name resolves to is judged, and the connection is made to that very
address; a redirect is judged like a new URI. The environment is ignored, so no proxy is used.
"""

import contextlib
import functools
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from email.message import Message
from importlib import metadata
from typing import Any, cast

from oslo_config import cfg

from imsgate.errors import BadConfig, SourceFailed, SourceUnavailable, UriRefused
from imsgate.settings import Settings
from imsgate.sources import uris
from imsgate.sources.addresses import Network, Rules
from imsgate.sources.deadline import Deadline, DeadlineSocket
from imsgate.sources.uris import DownloadTarget, TrustedService
from imsgate.sources.web_download import (
    FinalResponse,
    WebDownload,
    WebResponse,
    unfolded,
)
from imsgate.telemetry import trace_context

LOG = logging.getLogger(__name__)

GROUP = "web_download"
OPTS = (
    cfg.ListOpt(
        "allowed_networks",
        default=[],
        help="Networks (CIDR) that downloads may connect to although they are private, such as "
        "that of a mirror. Other addresses that are not public are refused.",
    ),
    cfg.ListOpt(
        "disallowed_networks",
        default=[],
        help="Networks (CIDR) that downloads must not connect to, such as public addresses of "
        "your own. Takes precedence over allowed_networks.",
    ),
    cfg.FloatOpt(
        "timeout",
        mutable=True,
        default=30,
        min=0.1,
        help="Seconds of silence after which the connection to a server is closed.",
    ),
    cfg.FloatOpt(
        "max_time",
        mutable=True,
        default=21600,
        min=0.1,
        help="The longest time in seconds of a download.",
    ),
    cfg.IntOpt(
        "minimum_rate",
        mutable=True,
        default=4096,
        min=0,
        help="The lowest rate at which a server may send, in bytes per second, measured over "
        "30 seconds of waiting for it. 0 means no limit.",
    ),
    cfg.IntOpt(
        "max_redirects", mutable=True, default=5, min=0, help="Redirects that a download follows."
    ),
    cfg.IntOpt(
        "max_resumes",
        mutable=True,
        default=5,
        min=0,
        help="How often a download continues after its connection was cut, if the server "
        "supports that.",
    ),
    cfg.StrOpt(
        "user_agent",
        help="The User-Agent header of downloads. Without it, it is imsgate/VERSION.",
    ),
    cfg.StrOpt(
        "ca_file",
        help="PEM file of the certificate authorities trusted for https. Without it, those of "
        "the system are trusted.",
    ),
    cfg.StrOpt(
        "keyring",
        help="File of OpenPGP keys, as `gpg --export` writes it. An import may name a detached "
        "signature of its file of digests (checksum_signature_url), which must be by one of these "
        "keys. Without it, such imports are refused. It needs the program gpgv.",
    ),
)


class WebSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[web_download]``."""

    allowed_networks: list[str]
    disallowed_networks: list[str]
    timeout: float
    max_time: float
    minimum_rate: int
    max_redirects: int
    max_resumes: int
    user_agent: str | None
    ca_file: str | None
    keyring: str | None


_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})

_HEADER_TEXT = re.compile(r"[!-~]([ -~]*[!-~])?")

#: All of ASCII except the space.
_KEPT_IN_LOCATION = "".join(chr(code) for code in range(128) if code != 0x20)

Resolve = Callable[..., list[tuple[Any, ...]]]


class Web:
    """Opens downloads. ``resolve`` has the interface of ``socket.getaddrinfo``."""

    def __init__(
        self,
        uri_settings: uris.UriSettings,
        settings: WebSettings,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        """Raises BadConfig."""
        self._uri_settings = uri_settings
        self._settings = settings
        self._resolve = resolve
        self._rules = Rules(
            _networks("allowed_networks", settings.allowed_networks),
            _networks("disallowed_networks", settings.disallowed_networks),
        )
        self._user_agent = settings.user_agent or f"imsgate/{metadata.version('imsgate')}"
        if not _HEADER_TEXT.fullmatch(self._user_agent):
            raise BadConfig(f"[{GROUP}] user_agent", "it must be printable ASCII text")
        # The system's authorities are read on first use: they take 50 ms and 1 MiB per process.
        self._tls = functools.cache(lambda: ssl.create_default_context(cafile=settings.ca_file))
        if settings.ca_file:
            try:
                self._tls()
            except OSError as error:
                raise BadConfig(f"[{GROUP}] ca_file", str(error)) from error

    def check(self, uri: str) -> None:
        """Refuse what can be refused without a look-up. Raises UriRefused."""
        target = uris.parse(uri, self._uri_settings)
        if target.address is not None:
            self._judge(target, [str(target.address)])

    def deadline(self, check: Callable[[], object]) -> Deadline:
        """The end of a download that begins now. ``check`` is called before each read from a
        server, and raises to stop."""
        return Deadline(self._settings.max_time, check)

    def download(
        self,
        uri: str,
        deadline: Deadline,
        wait: Callable[[float], None],
        *,
        start: int = 0,
        size: int | None = None,
        has_digest: bool = False,
        service: TrustedService | None = None,
    ) -> WebDownload:
        """The body of a URI, which may be one of ``service``, from the byte ``start`` on; ``size``
        is that of the whole, if known.

        ``wait`` lets seconds pass. With ``has_digest``, the caller recognizes the end of the data
        even if the server does not announce it. Raises UriRefused, SourceFailed.
        """
        return WebDownload(
            functools.partial(self.follow, service=service),
            uri,
            deadline=deadline,
            wait=wait,
            max_resumes=self._settings.max_resumes,
            start=start,
            size=size,
            has_digest=has_digest,
        )

    def follow(
        self,
        uri: str,
        fields: Mapping[str, str],
        deadline: Deadline,
        service: TrustedService | None = None,
    ) -> WebResponse:
        """The response to GET after all redirects.

        Raises UriRefused, SourceFailed, and any of CONNECTION_ERRORS.
        """
        for _ in range(self._settings.max_redirects + 1):
            target = uris.parse(uri, self._uri_settings)
            if service is not None and service.is_at(target):
                response = self._get(target, {**fields, **service.fields}, deadline, judges=False)
            else:
                response = self._get(target, fields, deadline)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            location = _location(response.headers)
            if not location:
                raise SourceFailed(problem="a redirect has no Location")
            try:
                uri = urllib.parse.urljoin(target.uri, location)
            except ValueError as error:
                raise UriRefused(problem="a redirect has an invalid Location") from error
        raise SourceFailed(problem="there are too many redirects")

    def _get(
        self,
        target: DownloadTarget,
        fields: Mapping[str, str],
        deadline: Deadline,
        *,
        judges: bool = True,
    ) -> WebResponse:
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.response_class = FinalResponse
        try:
            deadline_socket = self._connect(target, deadline, judges=judges)
            connection.sock = cast(Any, deadline_socket)
            fixed = {
                "Host": target.authority,
                "User-Agent": self._user_agent,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                **trace_context.headers(),
            }
            # It may describe the systems that the request came through. A user chose this server.
            fixed.pop("tracestate", None)
            connection.request("GET", target.path, headers={**fixed, **fields})
            response = connection.getresponse()
            deadline_socket.begin_body()
            return WebResponse(target, connection, response)
        except BaseException:
            connection.close()
            raise

    def _connect(
        self, target: DownloadTarget, deadline: Deadline, *, judges: bool
    ) -> DeadlineSocket:
        """A connection to an address of the target; if ``judges``, to one that was judged."""
        try:
            addresses = self._resolve(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            kind = SourceUnavailable if error.errno == socket.EAI_AGAIN else SourceFailed
            raise kind(problem=f"the host {target.host!r} is not known") from error
        if judges:
            self._judge(target, [address[0] for *_, address in addresses])
        problem: OSError = OSError("it has no address")
        # The sort is stable: within a family, the resolver's order is kept.
        in_order = sorted(addresses, key=lambda place: place[0] != socket.AF_INET6)
        for number, (family, kind, protocol, _, address) in enumerate(in_order):
            # An address that does not answer leaves time for the others.
            timeout = deadline.left(self._settings.timeout / (len(in_order) - number))
            with contextlib.ExitStack() as stack:
                try:
                    plain = socket.socket(family, kind, protocol)  # fails on a host without IPv6
                    stack.callback(plain.close)
                    plain.settimeout(timeout)
                    plain.connect(address)
                    secured = self._secure(target, plain)
                except OSError as error:
                    problem = error
                    continue
                stack.pop_all()
                return DeadlineSocket(
                    secured, self._settings.timeout, deadline, self._settings.minimum_rate
                )
        raise problem

    def _secure(self, target: DownloadTarget, plain: socket.socket) -> socket.socket:
        if target.scheme != "https":
            return plain
        return self._tls().wrap_socket(plain, server_hostname=target.host)

    def _judge(self, target: DownloadTarget, addresses: list[str]) -> None:
        """Raises UriRefused if any of the addresses is not allowed."""
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not self._rules.permit(address):
                LOG.warning("Refused to download from %s: %s", target.host, address)
                problem = f"the host {target.host!r} leads to an address that is not allowed"
                raise UriRefused(problem=problem)


def _location(headers: Message) -> str:
    """The Location as curl reads it: unfolded, with what a URI cannot contain percent-encoded.

    Control characters and backslashes stay, so that they are refused. In a host, so is what was
    encoded.
    """
    text = unfolded(headers["Location"])
    # http.client decodes headers as Latin-1; servers send UTF-8.
    return urllib.parse.quote(text.encode("latin-1"), safe=_KEPT_IN_LOCATION)


def _networks(option: str, texts: list[str]) -> tuple[Network, ...]:
    try:
        return tuple(map(ipaddress.ip_network, texts))
    except ValueError as error:
        raise BadConfig(f"[{GROUP}] {option}", str(error)) from error
