"""What authenticates requests at upstream: the client's credentials, or some of this service."""

import dataclasses
import hashlib
import pathlib
import stat
import time
import urllib.parse
from collections.abc import Callable
from typing import Protocol

from imsgate import errors
from imsgate.auth import aksk
from imsgate.errors import BadConfig
from imsgate.forward.fields import Fields
from imsgate.forward.settings import GROUP, ForwardSettings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signable:
    """What credentials see of a request. ``document`` is its body, or None for an image, which is
    not read before it is sent. ``project`` is that of the user; None if it is unknown."""

    method: str
    target: str
    host: str
    document: bytes | None
    project: str | None


class Authenticator(Protocol):
    """What authenticates requests at upstream."""

    @property
    def replace(self) -> bool:
        """Whether those of the client are not passed on."""

    def replacing(self, request: Signable) -> Fields:
        """The headers in place of the client's for this request. Raises Unavailable, Forbidden."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An access key, its secret, and the project that its requests name, if any."""

    access: str
    secret: str = dataclasses.field(repr=False)
    project: str | None = None


class UpstreamCredentials:
    """Those of ``[forward]``, if there are any."""

    def __init__(
        self,
        settings: ForwardSettings,
        clock: Callable[[], float] = time.time,
        project: str | None = None,
    ) -> None:
        """``project`` is the project that signed requests name. Raises BadConfig."""
        self._token_file = settings.token_file
        self._clock = clock
        if bool(settings.access_key) != bool(settings.secret_key):
            missing = "secret_key" if settings.access_key else "access_key"
            raise BadConfig(f"[{GROUP}] {missing}", "access_key and secret_key need each other")
        if settings.access_key and settings.token_file:
            raise BadConfig(f"[{GROUP}] token_file", "it cannot be combined with access_key")
        self._key: SigningKey | None = None
        if settings.access_key and settings.secret_key:
            self._key = SigningKey(
                access=settings.access_key, secret=settings.secret_key, project=project
            )
        if settings.token_file:
            try:
                _token(settings.token_file)
            except errors.Unavailable as error:
                raise BadConfig(f"[{GROUP}] token_file", str(error.__cause__)) from error
            if pathlib.Path(settings.token_file).stat().st_mode & stat.S_IRWXO:
                problem = "only its owner and its group may access this file (chmod o=)"
                raise BadConfig(f"[{GROUP}] token_file", problem)

    @property
    def replace(self) -> bool:
        return bool(self._token_file or self._key)

    def replacing(self, request: Signable) -> Fields:
        """See Authenticator. Raises Unavailable."""
        if self._token_file:
            return [("X-Auth-Token", _token(self._token_file))]
        if self._key:
            return signed(request, self._key, self._clock())
        return []


def signed(request: Signable, key: SigningKey, now: float) -> Fields:
    """The headers of a signature by SDK-HMAC-SHA256, as the vendor's SDKs send them. ``now`` is in
    seconds since the epoch."""
    document = request.document
    payload = aksk.UNSIGNED if document is None else hashlib.sha256(document).hexdigest()
    date = aksk.format_date(now)
    fields = [("Host", request.host), ("X-Sdk-Content-Sha256", payload), ("X-Sdk-Date", date)]
    if key.project:
        fields.insert(1, ("X-Project-Id", key.project))
    path, _, query = request.target.partition("?")
    message = aksk.Message(
        method=request.method,
        path=urllib.parse.unquote_to_bytes(path),
        query=query,
        headers=tuple((name.lower(), text) for name, text in fields),
        payload=payload,
        declared=True,
        empty=document == b"",
    )
    names = tuple(name for name, _ in message.headers)
    header = aksk.AuthorizationHeader(key.access, None, names, "")
    canonical = next(iter(aksk.canonical_requests(message, scoped=False)))
    signature = aksk.signature(header, key.secret, date, canonical)
    authorization = (
        f"{aksk.ALGORITHM} Access={key.access}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return [*fields[1:], ("Authorization", authorization)]


def _token(file: str) -> str:
    try:
        return pathlib.Path(file).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise errors.Unavailable(what="The token of the image service") from error
