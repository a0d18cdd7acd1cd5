"""What a download's URI may look like: text in, a target out, or a refusal. Pure."""

import dataclasses
import ipaddress
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg, types

from imsgate.errors import UriRefused

GROUP = "import_filtering_opts"


def _list(name: str, default: list[Any], kind: Any, help_text: str) -> cfg.ListOpt:
    return cfg.ListOpt(name, default=default, item_type=kind, bounds=True, help=help_text)


_WORD, _PORT = types.String(quotes=True), types.Integer(min=1, max=65535)

#: Names and meaning as in Glance: an allow-list that is not empty is the whole rule.
OPTS = (
    _list("allowed_schemes", ["http", "https"], _WORD, "Schemes of a URI, in brackets."),
    _list("disallowed_schemes", [], _WORD, "Refused schemes, where allowed_schemes is empty."),
    _list("allowed_hosts", [], _WORD, "Hosts, by name or address. Empty for all."),
    _list("disallowed_hosts", [], _WORD, "Refused hosts, where allowed_hosts is empty."),
    _list("allowed_ports", [80, 443], _PORT, "Ports, the scheme's own included."),
    _list("disallowed_ports", [], _PORT, "Refused ports, where allowed_ports is empty."),
)

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space and backslash
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclasses.dataclass(frozen=True, slots=True)
class DownloadTarget:
    """Where a request goes. ``host`` is a name, or an address in its usual form."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host, if it is an address."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse(text: str, settings: Any) -> DownloadTarget:
    """The target of a URI that the options allow. Raises UriRefused."""
    if not _PRINTABLE.fullmatch(text):
        raise UriRefused(problem="it holds a character that no URI has")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UriRefused(problem="host or port cannot be read") from error
    scheme = parts.scheme
    if scheme not in _PORTS or not _passes("scheme", scheme, settings):
        raise UriRefused(problem=f"the scheme {scheme!r} is not allowed")
    if "@" in parts.netloc:
        raise UriRefused(problem="it holds a user name")
    host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    if not _passes("host", host, settings):
        raise UriRefused(problem=f"the host {host!r} is not allowed")
    port = _PORTS[scheme] if port is None else port
    if port == 0 or not _passes("port", port, settings):
        raise UriRefused(problem=f"the port {port} is not allowed")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return DownloadTarget(scheme, host, port, path)


def _passes(what: str, value: object, settings: Any) -> bool:
    allowed: Sequence[object] = getattr(settings, f"allowed_{what}s")
    return value in allowed if allowed else value not in getattr(settings, f"disallowed_{what}s")


def _host(host: str, *, bracketed: bool) -> str:
    """The host in the one form it is compared in. Raises UriRefused.

    ``127.1``, ``0x7f.1`` and ``2130706433`` are addresses to a resolver and names to a list
    of hosts, so there is no other form of an address than the usual one.
    """
    if bracketed:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UriRefused(problem="the IPv6 address cannot be read") from error
        if address.scope_id is not None:
            raise UriRefused(problem="the IPv6 address has a zone")
        return str(address)
    host = host.removesuffix(".")
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise UriRefused(problem="the host is neither a name nor an address")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise UriRefused(problem="the IPv4 address is not written as usual") from error
    return host
