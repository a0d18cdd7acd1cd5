"""Which headers are passed on, and with what values (RFC 9110 section 7.6)."""

import re
import urllib.parse
from collections.abc import Iterable, Iterator

from imsgate import errors
from imsgate.auth.identity import remove_variables
from imsgate.http.request import Request

Fields = list[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authentication-info proxy-authorization "
    "proxy-connection te trailer transfer-encoding upgrade".split()
)
#: Headers of a request that this service sets itself. Without Accept-Encoding, upstream sends
#: what it stores, and JSON whose links can be read.
_OWN = frozenset(
    "accept-encoding content-length expect forwarded host traceparent tracestate via "
    "x-forwarded-for x-forwarded-host "
    "x-forwarded-port x-forwarded-prefix x-forwarded-proto x-openstack-request-id "
    "x-real-ip".split()
)
_CREDENTIALS = frozenset(
    "authorization cookie x-auth-token x-project-id x-sdk-content-sha256 x-sdk-date "
    "x-security-token x-service-token".split()
)
#: Headers of ``of_request`` about the sender that are not credentials.
_SENDERS = frozenset(
    "accept-encoding forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto "
    "x-openstack-request-id".split()
)
#: Of protocols for uploads in parts, which are not passed on.
_PARTIAL_UPLOADS = ("upload-", "tus-")
#: Headers of a response that each server sets itself.
_SERVERS = frozenset(("date", "server"))

VIA = "1.1 imsgate"

_QUOTABLE = re.compile(r"[!#-\[\]-~]+")


def target(request: Request, base_path: str) -> str:
    """The request target for upstream: the very path that the filters have judged, encoded anew.

    Raises BadRequest for a path that another service might read as a different one.
    """
    path: str = request.environ.get("PATH_INFO", "") or "/"
    if "\\" in path or {".", ".."}.intersection(path.split("/")):
        raise errors.BadRequest(problem="the path must not contain backslashes or dot segments")
    encoded = urllib.parse.quote(path.encode("latin-1"), safe="/~:@!$&'()*+,;=")
    query = request.environ.get("QUERY_STRING", "")
    if query:
        encoded += "?" + urllib.parse.quote(
            query.encode("latin-1"), safe="%/?:@!$&'()*+,;=~-._[]{}|^`<>\""
        )
    return base_path + encoded


def of_request(request: Request, public_url: str, *, with_credentials: bool) -> Fields:
    """The headers for upstream, without Host and those of the body, and with or without those that
    authenticate the client. ``public_url`` is the URL by which clients reach this service."""
    dropped = _HOP_BY_HOP | _OWN | _named(request.environ.get("HTTP_CONNECTION", ""))
    if not with_credentials:
        dropped |= _CREDENTIALS
    fields = [
        (name, text)
        for name, text in _sent(request)
        if name.lower() not in dropped and not name.lower().startswith(_PARTIAL_UPLOADS)
    ]
    if request.request_id:
        fields.append(("X-Openstack-Request-Id", request.request_id))
    earlier = request.environ.get("HTTP_VIA")
    fields.append(("Via", f"{earlier}, {VIA}" if earlier else VIA))
    return [*fields, ("Accept-Encoding", "identity"), *_forwarded(request, public_url)]


def of_sender(request: Request, public_url: str, *, with_credentials: bool) -> Fields:
    """Those of ``of_request`` that say who sends the request, for further ones in its place."""
    sent = of_request(request, public_url, with_credentials=with_credentials)
    return [field for field in sent if field[0].lower() in _CREDENTIALS | _SENDERS]


def _sent(request: Request) -> Iterator[tuple[str, str]]:
    environ = {**request.environ}
    # They are this service's own, or forged. Upstream authenticates for itself.
    remove_variables(environ)
    for key, text in environ.items():
        name = key.removeprefix("HTTP_")
        if (name != key or key == "CONTENT_TYPE") and text:
            yield name.replace("_", "-").title(), text


def _forwarded(request: Request, public_url: str) -> Iterator[tuple[str, str]]:
    """Who asked for what, as RFC 7239 and older services expect it.

    What the client says about that is not passed on. Behind a proxy, the filter ``proxy`` has put
    the proxy's word into the environ.
    """
    client = request.environ.get("REMOTE_ADDR", "")
    public = urllib.parse.urlsplit(public_url)
    node = f"[{client}]" if ":" in client else client
    pairs = [("for", node or "unknown"), ("host", public.netloc), ("proto", public.scheme)]
    known = [(name, text) for name, text in pairs if _QUOTABLE.fullmatch(text)]
    yield "Forwarded", ";".join(f'{name}="{text}"' for name, text in known)
    older = {"for": client, "host": public.netloc, "proto": public.scheme}
    for name, _ in known:
        if older[name]:
            yield f"X-Forwarded-{name.title()}", older[name]


def of_response(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The headers for the client, without those of the connection to upstream.

    Raises UpstreamFailed for a response with two lengths (RFC 9112 section 6.3).
    """
    fields = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in headers]
    names = [name.lower() for name, _ in fields]
    if "content-length" in names and "transfer-encoding" in names:
        raise errors.UpstreamFailed(problem="sent an ambiguous response")
    dropped = _HOP_BY_HOP | _SERVERS
    for name, text in fields:
        if name.lower() == "connection":
            dropped |= _named(text)
    return [*((name, text) for name, text in fields if name.lower() not in dropped), ("Via", VIA)]


def _named(connection: str) -> frozenset[str]:
    """The headers that a Connection header names. A client must not remove credentials that way,
    or what the filters have judged."""
    names = {name.strip().lower() for name in connection.split(",")}
    return frozenset(names - _CREDENTIALS - {"content-length", "content-type"})
