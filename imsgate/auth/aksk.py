"""Signatures with an access key, verified as Huawei Cloud's API gateway does (AK/SK).

Pure functions. The algorithm is ``SDK-HMAC-SHA256`` in its two forms: ``Access=`` with the secret
itself as the key, which the vendor's SDKs and Terraform use, and ``Credential=`` with a key derived
from a day, region and service, which gophertelekomcloud uses. Clients differ in details;
:func:`canonical_requests` returns every text that one of them may have signed.
"""

import dataclasses
import datetime
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Callable, Iterable

from imsgate import errors

ALGORITHM = "SDK-HMAC-SHA256"
#: The value of X-Sdk-Content-Sha256 for a body that is not signed.
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256().hexdigest()

_DATE_HEADER = "x-sdk-date"
_SCOPE_END = "sdk_request"
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^`|~-]+"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +(?P<form>Access|Credential)=(?P<key>[^\s,]+) *, *"
    rf"SignedHeaders=(?P<headers>{_HEADER_NAME}(?:;{_HEADER_NAME})*) *, *"
    r"Signature=(?P<signature>[0-9a-fA-F]{64})",
    re.ASCII,
)
_DATE_FORMAT = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_SPACES = re.compile(r"\s+")


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorizationHeader:
    """The fields of an Authorization header.

    ``access`` is the access key, ``scope`` the day, region and service of a derived key. The names
    in ``headers`` are in lower case, and so is the hexadecimal ``signature``.
    """

    access: str
    scope: tuple[str, str, str] | None
    headers: tuple[str, ...]
    signature: str


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """The parts of a request that a signature covers.

    ``path`` is decoded, ``query`` is not. ``payload`` represents the body: its SHA-256, or the
    value of ``X-Sdk-Content-Sha256``. ``declared`` says whether the request has that header,
    ``empty`` whether its body is empty.
    """

    method: str
    path: bytes
    query: str
    headers: tuple[tuple[str, str], ...]
    payload: str
    declared: bool
    empty: bool


def is_signed(authorization: str) -> bool:
    """Whether the request has a signature, valid or not."""
    return authorization.partition(" ")[0] == ALGORITHM


def parse(authorization: str) -> AuthorizationHeader:
    """Raises SignatureMalformed."""
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise errors.SignatureMalformed(problem="the Authorization header cannot be read")
    access, scope = match["key"], None
    if match["form"] == "Credential":
        parts = access.split("/")
        if len(parts) != 5 or parts[4] != _SCOPE_END:
            raise errors.SignatureMalformed(problem="the scope of Credential cannot be read")
        access, scope = parts[0], (parts[1], parts[2], parts[3])
    names = tuple(match["headers"].lower().split(";"))
    if len(set(names)) < len(names) or _DATE_HEADER not in names:
        raise errors.SignatureMalformed(
            problem="SignedHeaders must contain x-sdk-date, and no name twice"
        )
    return AuthorizationHeader(access, scope, names, match["signature"].lower())


def timestamp(authorization: AuthorizationHeader, date: str) -> float:
    """The value of ``X-Sdk-Date`` in seconds since the epoch.

    Raises SignatureMalformed for an invalid date, and for one that is not the day of the scope.
    """
    try:
        if not _DATE_FORMAT.fullmatch(date):
            raise ValueError
        when = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise errors.SignatureMalformed(
            problem="X-Sdk-Date must look like 20240601T120000Z"
        ) from None
    if authorization.scope and authorization.scope[0] != date[:8]:
        raise errors.SignatureMalformed(problem="the scope of Credential is for another day")
    return when.timestamp()


def format_date(when: float) -> str:
    """Seconds since the epoch in the format of ``X-Sdk-Date``."""
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")


def is_sha256(payload: str) -> bool:
    """Whether the value of ``X-Sdk-Content-Sha256`` is a hash."""
    return bool(_HEX.fullmatch(payload))


def canonical_requests(message: Message, *, scoped: bool) -> Iterable[bytes]:
    """The texts that may have been signed, the documented form first."""
    clean: Callable[[str], str] = _collapsed if scoped else str.strip
    pairs = _pairs(message.query, plus=scoped)
    if scoped:  # gophertelekomcloud sorts the encoded names, the vendor's SDKs the decoded ones
        pairs.sort(key=lambda pair: _quote(pair[0]).lower())
    query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)
    headers = [(name, clean(value)) for name, value in message.headers]
    yield _canonical(message, query, headers, message.payload)
    if message.empty and message.payload != EMPTY_SHA256:
        # The Python SDK signs the hash of an empty body even if the header has another value.
        yield _canonical(message, query, headers, EMPTY_SHA256)
    if scoped and message.empty and message.method.upper() == "POST" and not message.declared:
        form = urllib.parse.urlencode(sorted(pairs, key=lambda pair: pair[0]))
        yield _canonical(message, "", headers, hashlib.sha256(form.encode()).hexdigest())


def _canonical(message: Message, query: str, headers: list[tuple[str, str]], payload: str) -> bytes:
    path = "/".join(_quote(segment) for segment in message.path.split(b"/"))
    lines = [
        message.method.upper(),
        path if path.endswith("/") else f"{path}/",
        query,
        *(f"{name}:{value}" for name, value in headers),
        "",
        ";".join(name for name, _ in headers),
        payload,
    ]
    return "\n".join(lines).encode("latin-1")


def _pairs(query: str, *, plus: bool) -> list[tuple[bytes, bytes]]:
    """Names and values, decoded and sorted. With ``plus``, a plus sign is a space."""
    raw = query.encode("latin-1")
    if plus:
        raw = raw.replace(b"+", b" ")
    split = (part.partition(b"=") for part in raw.split(b"&") if part)
    unquote = urllib.parse.unquote_to_bytes
    return sorted((unquote(name), unquote(value)) for name, _, value in split)


def _quote(text: bytes) -> str:
    return urllib.parse.quote(text, safe="~")


def _collapsed(value: str) -> str:
    return _SPACES.sub(" ", value.strip())


def signature(authorization: AuthorizationHeader, secret: str, date: str, canonical: bytes) -> str:
    """The signature of a canonical request, as lower-case hexadecimal digits."""
    key, lines = secret.encode(), [ALGORITHM, date]
    if authorization.scope:
        key = b"SDK" + key
        for part in (*authorization.scope, _SCOPE_END):
            key = hmac.digest(key, part.encode("latin-1"), "sha256")
        lines.append("/".join((*authorization.scope, _SCOPE_END)))
    lines.append(hashlib.sha256(canonical).hexdigest())
    return hmac.digest(key, "\n".join(lines).encode("latin-1"), "sha256").hex()


def verify(authorization: AuthorizationHeader, secret: str, date: str, message: Message) -> None:
    """Compares the signature in constant time.

    Raises SignatureMismatch, which contains the text that should have been signed.
    """
    texts = list(canonical_requests(message, scoped=authorization.scope is not None))
    matches = [
        hmac.compare_digest(signature(authorization, secret, date, text), authorization.signature)
        for text in texts
    ]
    if not any(matches):
        raise errors.SignatureMismatch(canonical=_redacted(texts[0]))


def _redacted(canonical: bytes) -> str:
    """A canonical request as the vendor's gateway shows it, without secrets."""
    lines = canonical.decode("utf-8", "replace").split("\n")
    secret = ("authorization:", "cookie:", "x-auth-token:", "x-security-token:")
    return "|".join(
        f"{line.partition(':')[0]}:***" if line.startswith(secret) else line for line in lines
    )
