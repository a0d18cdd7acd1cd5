"""The URIs that downloads may use: text in, a target or a refusal out. Without side effects."""

import dataclasses
import ipaddress
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg, types

from imsgate.errors import UriRefused
from imsgate.settings import Settings

GROUP = "import_filtering_opts"


def _list(name: str, default: list[Any], kind: Any, help_text: str) -> cfg.ListOpt:
    return cfg.ListOpt(
        name, default=default, item_type=kind, bounds=True, mutable=True, help=help_text
    )


_WORD, _PORT = types.String(quotes=True), types.Integer(min=1, max=65535)

#: Names and meaning as in Glance: the list of refused values has no effect beside a list of
#: allowed values.
OPTS = (
    _list(
        "allowed_schemes", ["http", "https"], _WORD, "Allowed schemes, in brackets. Empty for all."
    ),
    _list("disallowed_schemes", [], _WORD, "Refused schemes, if allowed_schemes is empty."),
    _list("allowed_hosts", [], _WORD, "Allowed hosts, by name or address. Empty for all."),
    _list("disallowed_hosts", [], _WORD, "Refused hosts, if allowed_hosts is empty."),
    _list(
        "allowed_ports",
        [80, 443],
        _PORT,
        "Allowed ports, the default ports of the schemes included. Empty for all.",
    ),
    _list("disallowed_ports", [], _PORT, "Refused ports, if allowed_ports is empty."),
)


class UriSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[import_filtering_opts]``."""

    allowed_schemes: list[str]
    disallowed_schemes: list[str]
    allowed_hosts: list[str]
    disallowed_hosts: list[str]
    allowed_ports: list[int]
    disallowed_ports: list[int]


_ANY_URI = UriSettings(
    allowed_schemes=["http", "https"],
    disallowed_schemes=[],
    allowed_hosts=[],
    disallowed_hosts=[],
    allowed_ports=[],
    disallowed_ports=[],
)

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space and backslash
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclasses.dataclass(frozen=True, slots=True)
class DownloadTarget:
    """Where a request goes. ``host`` is a name, or an address in canonical form."""

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
        """The host as an address, or None if it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclasses.dataclass(frozen=True, slots=True)
class TrustedService:
    """A service that the operator has chosen. Its addresses are not judged, and requests to this
    very origin have the header ``fields``, which no other server receives."""

    origin: tuple[str, str | None, int | None]
    fields: Mapping[str, str]

    @classmethod
    def at(cls, url: str, fields: Mapping[str, str]) -> "TrustedService":
        """The service whose URLs begin like this one. Raises UriRefused for an invalid URL."""
        target = parse(url, _ANY_URI)
        return cls((target.scheme, target.host, target.port), fields)

    def is_at(self, target: DownloadTarget) -> bool:
        return (target.scheme, target.host, target.port) == self.origin


def parse(text: str, settings: UriSettings) -> DownloadTarget:
    """The target of a URI that the options allow. Raises UriRefused."""
    if not _PRINTABLE.fullmatch(text):
        raise UriRefused(problem="it contains a character that is not valid in a URI")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UriRefused(problem="its host or port is invalid") from error
    scheme = parts.scheme
    if scheme not in _PORTS or not _passes("scheme", scheme, settings):
        raise UriRefused(problem=f"the scheme {scheme!r} is not allowed")
    if "@" in parts.netloc:
        raise UriRefused(problem="it contains a user name")
    host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    if not _passes("host", host, settings):
        raise UriRefused(problem=f"the host {host!r} is not allowed")
    port = _PORTS[scheme] if port is None else port
    if port == 0 or not _passes("port", port, settings):
        raise UriRefused(problem=f"the port {port} is not allowed")
    path = _without_dots(parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return DownloadTarget(scheme, host, port, path)


def _without_dots(path: str) -> str:
    """An absolute path without the segments ``.`` and ``..`` (RFC 3986 section 5.2.4), which
    clients resolve and servers refuse."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _passes(part: str, value: object, settings: UriSettings) -> bool:
    allowed: Sequence[object] = getattr(settings, f"allowed_{part}s")
    return value in allowed if allowed else value not in getattr(settings, f"disallowed_{part}s")


def _host(host: str, *, bracketed: bool) -> str:
    """The host in canonical form, in which it is compared. Raises UriRefused.

    A resolver takes ``127.1``, ``0x7f.1`` and ``2130706433`` for addresses, a list of hosts takes
    them for names; so an address is only accepted in its canonical form.
    """
    if bracketed:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UriRefused(problem="the IPv6 address is invalid") from error
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
            raise UriRefused(problem="the IPv4 address is not in dotted decimal form") from error
    return host
