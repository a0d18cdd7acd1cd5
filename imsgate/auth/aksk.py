"""Requests signed with an access key, as Huawei Cloud's API gateway checks them (AK/SK).

Pure functions. The algorithm is ``SDK-HMAC-SHA256`` in its two forms: ``Access=`` with the
secret itself as the key, which the vendor's SDKs and Terraform use, and ``Credential=`` with
a key derived for a day, region and service, which gophertelekomcloud uses. Clients differ in
small things; :func:`canonical_requests` gives every text that one of them would have signed.
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
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = hashlib.sha256().hexdigest()

_DATE = "x-sdk-date"
_SCOPE_END = "sdk_request"
_NAME = r"[A-Za-z0-9!#$%&'*+.^`|~-]+"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +(?P<how>Access|Credential)=(?P<who>[^\s,]+) *, *"
    rf"SignedHeaders=(?P<headers>{_NAME}(?:;{_NAME})*) *, *"
    r"Signature=(?P<signature>[0-9a-fA-F]{64})",
    re.ASCII,
)
_MOMENT = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_SPACES = re.compile(r"\s+")


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorizationHeader:
    """What an Authorization header says: who signed what, and the signature.

    ``scope`` is the day, region and service of a derived key. ``headers`` are in lower case.
    """

    access: str
    scope: tuple[str, str, str] | None
    headers: tuple[str, ...]
    signature: str


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """The parts of a request that a signature covers.

    ``path`` is decoded, ``query`` as it stood in the request line. ``payload`` is what stands
    for the body: its SHA-256 or whatever ``X-Sdk-Content-Sha256`` says; ``declared`` is
    whether that header was there, ``empty`` whether the body is.
    """

    method: str
    path: bytes
    query: str
    headers: tuple[tuple[str, str], ...]
    payload: str
    declared: bool
    empty: bool


def is_signed(authorization: str) -> bool:
    """Whether a request means to be signed, well or badly."""
    return authorization.partition(" ")[0] == ALGORITHM


def parse(authorization: str) -> AuthorizationHeader:
    """Raises SignatureMalformed."""
    match = _AUTHORIZATION.fullmatch(authorization.strip())
    if match is None:
        raise errors.SignatureMalformed(problem="the Authorization header cannot be read")
    access, scope = match["who"], None
    if match["how"] == "Credential":
        parts = access.split("/")
        if len(parts) != 5 or parts[4] != _SCOPE_END:
            raise errors.SignatureMalformed(problem="the scope of Credential cannot be read")
        access, scope = parts[0], (parts[1], parts[2], parts[3])
    names = tuple(match["headers"].lower().split(";"))
    if len(set(names)) < len(names) or _DATE not in names:
        raise errors.SignatureMalformed(
            problem="SignedHeaders must hold x-sdk-date, and no name twice"
        )
    return AuthorizationHeader(access, scope, names, match["signature"].lower())


def moment(claim: AuthorizationHeader, date: str) -> float:
    """When it was signed, by ``X-Sdk-Date``, in seconds since the epoch.

    Raises SignatureMalformed when that is no date, or not the day of the scope.
    """
    try:
        if not _MOMENT.fullmatch(date):
            raise ValueError
        when = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise errors.SignatureMalformed(
            problem="X-Sdk-Date must look like 20240601T120000Z"
        ) from None
    if claim.scope and claim.scope[0] != date[:8]:
        raise errors.SignatureMalformed(problem="the scope of Credential is of another day")
    return when.timestamp()


def text_of(when: float) -> str:
    """A moment as ``X-Sdk-Date`` has it."""
    return datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")


def is_hash(payload: str) -> bool:
    """Whether ``X-Sdk-Content-Sha256`` holds a real hash."""
    return bool(_HEX.fullmatch(payload))


def canonical_requests(message: Message, *, scoped: bool) -> Iterable[bytes]:
    """What may have been signed, the documented form first."""
    clean: Callable[[str], str] = _collapsed if scoped else str.strip
    pairs = _pairs(message.query, plus=scoped)
    if scoped:  # gophertelekomcloud sorts what is encoded, the vendor's SDKs what is not
        pairs.sort(key=lambda pair: _quote(pair[0]).lower())
    query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)
    headers = [(name, clean(value)) for name, value in message.headers]
    yield _canonical(message, query, headers, message.payload)
    if message.empty and message.payload != EMPTY:
        # The Python SDK hashes an empty body even where the header says something else.
        yield _canonical(message, query, headers, EMPTY)
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
    """``plus``: a plus sign stands for a space."""
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


def signature(claim: AuthorizationHeader, secret: str, date: str, canonical: bytes) -> str:
    """The signature that this claim ought to carry, as lower-case hexadecimal digits."""
    key, lines = secret.encode(), [ALGORITHM, date]
    if claim.scope:
        key = b"SDK" + key
        for part in (*claim.scope, _SCOPE_END):
            key = hmac.digest(key, part.encode("latin-1"), "sha256")
        lines.append("/".join((*claim.scope, _SCOPE_END)))
    lines.append(hashlib.sha256(canonical).hexdigest())
    return hmac.digest(key, "\n".join(lines).encode("latin-1"), "sha256").hex()


def verify(claim: AuthorizationHeader, secret: str, date: str, message: Message) -> None:
    """Compares in constant time. Raises SignatureMismatch, which shows what ought to be signed."""
    texts = list(canonical_requests(message, scoped=claim.scope is not None))
    matches = [
        hmac.compare_digest(signature(claim, secret, date, text), claim.signature) for text in texts
    ]
    if not any(matches):
        raise errors.SignatureMismatch(canonical=_shown(texts[0]))


def _shown(canonical: bytes) -> str:
    """As the vendor's gateway shows it, without what is secret."""
    lines = canonical.decode("utf-8", "replace").split("\n")
    secret = ("authorization:", "cookie:", "x-auth-token:", "x-security-token:")
    return "|".join(
        f"{line.partition(':')[0]}:***" if line.startswith(secret) else line for line in lines
    )
