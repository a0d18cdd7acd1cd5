"""The image service that requests are passed on to: its address, its names, its TLS."""

import dataclasses
import re
import socket
import ssl
import urllib.parse

from imsgate.errors import BadConfig, UpstreamFailed
from imsgate.forward.settings import GROUP, ForwardSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """``authority`` is the value of Host; ``path`` comes before that of each request, without a
    slash at its end. ``tls`` is None for http."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str
    tls: ssl.SSLContext | None

    def connect(self, timeout: float) -> socket.socket:
        """A new connection; its TCP and its TLS handshake may take ``timeout`` seconds each.

        Raises UpstreamFailed: nothing has been sent.
        """
        try:
            plain = socket.create_connection((self.host, self.port), timeout)
        except OSError as error:
            raise UpstreamFailed(problem="cannot be reached") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None:
                return plain
            # A response without a length ends with the connection. Only with this does an end
            # that anybody in between can forge count as an error (RFC 9112 section 9.8).
            return self.tls.wrap_socket(
                plain, server_hostname=self.host, suppress_ragged_eofs=False
            )
        except OSError as error:
            plain.close()
            raise UpstreamFailed(problem="cannot be reached by TLS") from error


def load(settings: ForwardSettings) -> Upstream:
    """Raises BadConfig, naming the option."""
    if not settings.upstream:
        raise BadConfig(f"[{GROUP}] upstream", "the URL of the image service is required")
    parts = _parsed("upstream", settings.upstream)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Upstream(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port,
        authority=parts.netloc.lower(),
        path=parts.path.rstrip("/"),
        tls=_tls(settings, parts.scheme),
    )


def _parsed(option: str, url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise BadConfig(f"[{GROUP}] {option}", str(error)) from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise BadConfig(f"[{GROUP}] {option}", "it must be an http or https URL with a host")
    if parts.username is not None or parts.query or parts.fragment:
        problem = "the URL must not contain credentials, a query or a fragment"
        raise BadConfig(f"[{GROUP}] {option}", problem)
    if not re.fullmatch(r"[!-~]+", url):
        raise BadConfig(f"[{GROUP}] {option}", "the URL must consist of printable ASCII")
    return parts


def _tls(settings: ForwardSettings, scheme: str) -> ssl.SSLContext | None:
    if scheme != "https":
        for option in ("ca_file", "cert_file", "key_file"):
            if getattr(settings, option):
                raise BadConfig(f"[{GROUP}] {option}", "it needs an upstream with https")
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise BadConfig(f"[{GROUP}] ca_file", str(error)) from error
    context.set_alpn_protocols(["http/1.1"])
    if settings.key_file and not settings.cert_file:
        raise BadConfig(f"[{GROUP}] key_file", "it needs cert_file")
    if settings.cert_file:
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except (OSError, ValueError) as error:
            raise BadConfig(f"[{GROUP}] cert_file", str(error)) from error
    return context


def names(settings: ForwardSettings) -> list[str]:
    """Regular expressions of the URLs of upstream, without a slash at their ends. Either scheme
    counts, because a proxy in front of upstream may add TLS. Raises BadConfig."""
    urls = [("upstream", settings.upstream or "")]
    urls += [("upstream_names", name) for name in settings.upstream_names]
    patterns = []
    for option, url in urls:
        parts = _parsed(option, url)
        host = re.escape(parts.netloc.rpartition(":")[0] if parts.port else parts.netloc)
        default = parts.port in (None, _DEFAULT_PORTS[parts.scheme])
        number = parts.port or _DEFAULT_PORTS[parts.scheme]
        port = f"(?::{number})?" if default else f":{number}"
        patterns.append(rf"https?://{host}{port}{re.escape(parts.path.rstrip('/'))}")
    return patterns
