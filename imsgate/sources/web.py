"""Downloads that go nowhere but where the operator allows, resumed when they are cut.

Every address that a name leads to is judged, and the connection is made to the very
address that was; redirects begin from the start. Nothing of the environment is used, so
no proxy is.
"""

import contextlib
import functools
import hashlib
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from oslo_config import cfg

from imsgate import errors, hashing
from imsgate.errors import BadConfig, SourceFailed, UriRefused
from imsgate.sources import uris
from imsgate.sources.addresses import Network, Rules
from imsgate.sources.deadline import Deadline, DeadlineSocket
from imsgate.sources.uris import DownloadTarget

LOG = logging.getLogger(__name__)

GROUP = "web_download"
OPTS = (
    cfg.ListOpt(
        "allowed_networks",
        default=[],
        help="Networks (CIDR) that may be downloaded from though they are private, such as that "
        "of a mirror. Addresses that are not public are refused otherwise.",
    ),
    cfg.ListOpt(
        "disallowed_networks",
        default=[],
        help="Networks (CIDR) that may not, such as public addresses of your own. They count "
        "before allowed_networks.",
    ),
    cfg.FloatOpt(
        "timeout", default=30, min=0.1, help="Seconds a server may be silent before it is cut off."
    ),
    cfg.FloatOpt("max_time", default=21600, min=0.1, help="Seconds a download may take in all."),
    cfg.IntOpt("max_redirects", default=5, min=0, help="Redirects that are followed."),
    cfg.IntOpt(
        "max_resumes",
        default=5,
        min=0,
        help="How often a cut download goes on where it was cut, where the server can.",
    ),
    cfg.StrOpt("ca_file", help="PEM file of the authorities trusted for https; the system's."),
)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

#: What breaks while a connection is used.
_BROKEN = (OSError, http.client.HTTPException)

Resolve = Callable[..., list[tuple[Any, ...]]]


class Web:
    """Opens downloads. ``resolve`` is ``socket.getaddrinfo``, or what answers like it."""

    def __init__(self, filters: Any, settings: Any, resolve: Resolve = socket.getaddrinfo) -> None:
        """``filters`` are the values of ``uris.OPTS``. Raises BadConfig."""
        self._filters = filters
        self._settings = settings
        self._resolve = resolve
        self._rules = Rules(
            _networks("allowed_networks", settings.allowed_networks),
            _networks("disallowed_networks", settings.disallowed_networks),
        )
        # The system's authorities are read when one is needed: 50 ms and a MiB for each process.
        self._tls = functools.cache(lambda: ssl.create_default_context(cafile=settings.ca_file))
        if settings.ca_file:
            try:
                self._tls()
            except OSError as error:
                raise BadConfig(f"[{GROUP}] ca_file", str(error)) from error

    def check(self, uri: str, digest: str | None = None) -> None:
        """Refuse what can be without looking anything up. Raises UriRefused, BadRequest."""
        target = uris.parse(uri, self._filters)
        if target.address is not None:
            self._judge(target, [str(target.address)])
        parse_digest(digest)

    @contextlib.contextmanager
    def download(
        self,
        uri: str,
        digest: str | None,
        wait: Callable[[float], None],
        check: Callable[[], object],
    ) -> Iterator["Download"]:
        """The body of a URI. ``wait`` lets seconds pass; ``check`` is asked before each read
        from the server, and raises to stop. Raises UriRefused, SourceFailed, and BadRequest for
        a digest that is none."""
        deadline = Deadline(self._settings.max_time, check)
        with contextlib.closing(Download(self, uri, parse_digest(digest), deadline, wait)) as one:
            yield one

    @property
    def settings(self) -> Any:
        return self._settings

    def follow(self, uri: str, fields: Mapping[str, str], deadline: Deadline) -> "WebResponse":
        """The answer to GET that is no redirect. Raises UriRefused, SourceFailed, or _BROKEN."""
        for _ in range(self._settings.max_redirects + 1):
            target = uris.parse(uri, self._filters)
            answer = self._get(target, fields, deadline)
            if answer.status not in _REDIRECTS:
                return answer
            answer.close()
            location = answer.headers["Location"]
            if not location:
                raise SourceFailed(problem="a redirect leads nowhere")
            try:
                uri = urllib.parse.urljoin(target.uri, location)
            except ValueError as error:
                raise UriRefused(problem="a redirect cannot be read") from error
        raise SourceFailed(problem="there are too many redirects")

    def _get(
        self, target: DownloadTarget, fields: Mapping[str, str], deadline: Deadline
    ) -> "WebResponse":
        connection = http.client.HTTPConnection(target.host, target.port)
        try:
            timed = self._connect(target, deadline)
            connection.sock = cast(Any, timed)
            fixed = {"Host": target.authority, "Accept-Encoding": "identity"}
            connection.request("GET", target.path, headers={**fixed, **fields})
            response = connection.getresponse()
            timed.begin_body()
            return WebResponse(target, connection, response)
        except BaseException:
            connection.close()
            raise

    def _connect(self, target: DownloadTarget, deadline: Deadline) -> DeadlineSocket:
        """A connection to an address of the target that was judged: to no other."""
        try:
            found = self._resolve(target.host, target.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise SourceFailed(problem=f"the host {target.host!r} is not known") from error
        self._judge(target, [place[0] for *_, place in found])
        problem: OSError = OSError("it has no address")
        for family, kind, protocol, _, place in found:
            timeout = deadline.left(self._settings.timeout)
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(timeout)
                plain.connect(place)
                return DeadlineSocket(self._secure(target, plain), self._settings.timeout, deadline)
            except OSError as error:
                plain.close()
                problem = error
        raise problem

    def _secure(self, target: DownloadTarget, plain: socket.socket) -> socket.socket:
        if target.scheme != "https":
            return plain
        return self._tls().wrap_socket(plain, server_hostname=target.host)

    def _judge(self, target: DownloadTarget, addresses: list[str]) -> None:
        """One address that is not public among several refuses them all."""
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not self._rules.permit(address):
                LOG.warning("Refused to download from %s: %s", target.host, address)
                problem = f"the host {target.host!r} leads to an address that is not allowed"
                raise UriRefused(problem=problem)


class WebResponse:
    """A response whose body is still to come."""

    def __init__(
        self,
        target: DownloadTarget,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.target = target
        self.status = response.status
        self.headers = response.headers
        self.length = None if response.chunked else response.length
        self.ends = response.chunked or response.length is not None
        self.read = response.read1
        self._response = response
        self._connection = connection

    @property
    def etag(self) -> str | None:
        """The ETag, if equal ones mean equal bytes (RFC 9110 section 8.8.3)."""
        etag = self.headers["ETag"]
        return etag if etag and etag.startswith('"') else None

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class Download:
    """The bytes of a URI. ``size`` is None when the server does not announce it."""

    def __init__(
        self,
        web: Web,
        uri: str,
        digest: tuple[str, str] | None,
        deadline: Deadline,
        wait: Callable[[float], None],
    ) -> None:
        self._web = web
        self._deadline = deadline
        self._wait = wait
        self._digest = digest
        self._sum = hashlib.new(digest[0], usedforsecurity=False) if digest else None
        self._got = 0
        self._resumes = 0
        try:
            self._answer = web.follow(uri, {}, deadline)
        except _BROKEN as error:
            raise self._failure(error) from error
        self.size = self._answer.length
        self._etag = self._answer.etag
        try:
            self._check()
        except BaseException:
            self._answer.close()
            raise

    def _check(self) -> None:
        if self._answer.status != 200:
            raise SourceFailed(problem=f"the server answered {self._answer.status}")
        if not self._answer.ends:
            raise SourceFailed(problem="the server announces neither length nor end")
        if (self._answer.headers["Content-Encoding"] or "identity") != "identity":
            raise SourceFailed(problem="the server sends it encoded")

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end. Raises SourceFailed, DigestMismatch."""
        while True:
            try:
                chunk = self._answer.read(size)
                if not chunk and self.size is not None and self._got < self.size:
                    raise OSError("the connection was closed")
            except _BROKEN as error:
                self._resume(error)
                continue
            self._got += len(chunk)
            if self._sum is not None:
                self._sum.update(chunk)
            if not chunk or self._got == self.size:
                self._compare()
            return chunk

    def _compare(self) -> None:
        if self._digest and self._sum and self._sum.hexdigest() != self._digest[1]:
            algorithm, expected = self._digest
            found = self._sum.hexdigest()
            raise errors.DigestMismatch(algorithm=algorithm, found=found, expected=expected)

    def _resume(self, cause: Exception) -> None:
        """Go on where the connection was cut, if it is the same data there."""
        self._answer.close()
        while True:
            if (
                self._etag is None
                or self._resumes >= self._web.settings.max_resumes
                or self._deadline.passed
            ):
                raise self._failure(cause) from cause
            if self._resumes:
                self._wait(min(2.0**self._resumes, 30.0))
            self._resumes += 1
            fields = {"Range": f"bytes={self._got}-", "If-Range": self._etag}
            try:
                self._answer = self._web.follow(self._answer.target.uri, fields, self._deadline)
            except _BROKEN as error:
                cause = error
                continue
            self._check_same()
            return

    def _check_same(self) -> None:
        found = _CONTENT_RANGE.fullmatch(self._answer.headers["Content-Range"] or "")
        same = (
            self._answer.status == 206
            and self._answer.etag in (None, self._etag)
            and self._answer.ends
            and found is not None
            and int(found[1]) == self._got
            and int(found[2]) + 1 == int(found[3])
            and self.size in (None, int(found[3]))
        )
        if not same:
            self._answer.close()
            problem = f"it was cut after {self._got} bytes and could not go on there"
            raise SourceFailed(problem=problem)

    def _failure(self, cause: Exception) -> errors.Error:
        if self._deadline.passed:
            return SourceFailed(problem="it takes longer than is allowed")
        kind = "in time" if isinstance(cause, TimeoutError) else f"({type(cause).__name__})"
        return SourceFailed(problem=f"after {self._got} bytes the server did not answer {kind}")

    def close(self) -> None:
        self._answer.close()


def parse_digest(text: str | None) -> tuple[str, str] | None:
    """``sha256:HEX`` as algorithm and digest. Raises BadRequest."""
    if text is None:
        return None
    algorithm, _, digest = text.lower().partition(":")
    if algorithm in hashing.DOWNLOAD:
        length = 2 * hashing.digest_size(algorithm)
        if re.fullmatch(f"[0-9a-f]{{{length}}}", digest):
            return algorithm, digest
    algorithms = ", ".join(hashing.DOWNLOAD)
    raise errors.BadRequest(problem=f"digest is ALGORITHM:HEX, with one of {algorithms}")


def _networks(option: str, texts: list[str]) -> tuple[Network, ...]:
    try:
        return tuple(map(ipaddress.ip_network, texts))
    except ValueError as error:
        raise BadConfig(f"[{GROUP}] {option}", str(error)) from error
