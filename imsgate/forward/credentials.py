"""What authenticates requests at upstream: the client's credentials, or some of this service."""

import hashlib
import pathlib
import time
import urllib.parse
from collections.abc import Callable

from imsgate import errors
from imsgate.auth import aksk
from imsgate.errors import BadConfig
from imsgate.forward.fields import Fields
from imsgate.forward.settings import GROUP, ForwardSettings


class UpstreamCredentials:
    """Those of ``[forward]``, if there are any."""

    def __init__(self, settings: ForwardSettings, clock: Callable[[], float] = time.time) -> None:
        """Raises BadConfig."""
        self._settings = settings
        self._clock = clock
        if bool(settings.access_key) != bool(settings.secret_key):
            missing = "secret_key" if settings.access_key else "access_key"
            raise BadConfig(f"[{GROUP}] {missing}", "access_key and secret_key need each other")
        if settings.access_key and settings.token_file:
            raise BadConfig(f"[{GROUP}] token_file", "it cannot be combined with access_key")
        try:
            self.replacing("GET", "/", "", b"")
        except errors.Unavailable as error:
            raise BadConfig(f"[{GROUP}] token_file", str(error.__cause__)) from error

    @property
    def replace(self) -> bool:
        """Whether those of the client are not passed on."""
        return bool(self._settings.token_file or self._settings.access_key)

    def replacing(self, method: str, target: str, host: str, document: bytes | None) -> Fields:
        """The headers in place of the client's for this request; ``document`` is None for an
        image, which is not read before. Raises Unavailable."""
        if self._settings.token_file:
            return [("X-Auth-Token", _token(self._settings.token_file))]
        if self._settings.access_key:
            return self._signed(method, target, host, document)
        return []

    def _signed(self, method: str, target: str, host: str, document: bytes | None) -> Fields:
        """A signature by SDK-HMAC-SHA256, as the vendor's SDKs send it."""
        payload = aksk.UNSIGNED if document is None else hashlib.sha256(document).hexdigest()
        date = aksk.format_date(self._clock())
        fields = [("Host", host), ("X-Sdk-Content-Sha256", payload), ("X-Sdk-Date", date)]
        path, _, query = target.partition("?")
        message = aksk.Message(
            method=method,
            path=urllib.parse.unquote_to_bytes(path),
            query=query,
            headers=tuple((name.lower(), text) for name, text in fields),
            payload=payload,
            declared=True,
            empty=document == b"",
        )
        names = tuple(name for name, _ in message.headers)
        header = aksk.AuthorizationHeader(self._settings.access_key or "", None, names, "")
        canonical = next(iter(aksk.canonical_requests(message, scoped=False)))
        signature = aksk.signature(header, self._settings.secret_key or "", date, canonical)
        authorization = (
            f"{aksk.ALGORITHM} Access={header.access}, SignedHeaders={';'.join(names)}, "
            f"Signature={signature}"
        )
        return [*fields[1:], ("Authorization", authorization)]


def _token(file: str) -> str:
    try:
        return pathlib.Path(file).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise errors.Unavailable(what="The token of the image service") from error
