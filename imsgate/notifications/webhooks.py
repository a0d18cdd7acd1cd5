"""Webhooks, signed by the Standard Webhooks specification (https://www.standardwebhooks.com)."""

import base64
import binascii
import functools
import hashlib
import hmac
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable, Sequence
from importlib import metadata

import urllib3

from imsgate.errors import BadConfig
from imsgate.notifications.settings import WebhookSettings
from imsgate.notifications.target import TRACE, Declined, Target, Undelivered, message_of
from imsgate.registry.outbox import Event

_KEY_PREFIX = "whsec_"
#: The sizes of keys that the specification recommends.
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 24, 64

#: A connection is used again if so much of a response remains to be read.
_MAX_RESPONSE_BYTES = 4096

#: Statuses that refuse a request although another one may succeed, or this one later.
_UNAVAILABLE = frozenset({408, 425, 429})


def load(settings: WebhookSettings) -> list[Target]:
    """The configured receivers. Raises BadConfig."""
    if not settings.urls:
        return []
    keys = _keys(settings.secret)
    # The system's authorities are read on first use: they take 50 ms and 1 MiB per process.
    tls = functools.cache(lambda: ssl.create_default_context(cafile=settings.ca_file))
    if settings.ca_file:
        try:
            tls()
        except (OSError, ssl.SSLError) as error:
            problem = f"it cannot be read as certificates: {error}"
            raise BadConfig("[webhooks] ca_file", problem) from error
    hooks = {url: Webhook(_checked(url), keys, settings.timeout, tls) for url in settings.urls}
    return list(hooks.values())


class Webhook(Target):
    """One receiver."""

    def __init__(
        self,
        url: str,
        keys: Sequence[bytes],
        timeout: float,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``timeout`` is in seconds; ``clock`` returns seconds since the epoch."""
        self.name = f"webhook {hashlib.sha256(url.encode()).hexdigest()[:32]}"
        # Paths and queries of webhooks contain secrets.
        self.label = f"the webhook at {urllib.parse.urlsplit(url).netloc}"
        self._url = url
        self._keys = keys
        self._timeout = urllib3.Timeout(connect=timeout, read=timeout)
        self._tls = tls
        self._clock = clock
        self._agent = f"imsgate/{metadata.version('imsgate')}"

    def send(self, event: Event) -> None:
        body = json.dumps(message_of(event), ensure_ascii=False).encode()
        moment = str(int(self._clock()))
        headers = {
            **event.body.get(TRACE, {}),
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Webhook-Id": event.id,
            "Webhook-Timestamp": moment,
            "Webhook-Signature": " ".join(sign(key, event.id, moment, body) for key in self._keys),
        }
        try:
            response = self._connections.request(
                "POST",
                self._url,
                body=body,
                headers=headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # Its text may contain the URL.
            raise Undelivered(type(error).__name__) from error
        _finish(response)
        if response.status // 100 == 2:
            return
        refused = response.status // 100 == 4 and response.status not in _UNAVAILABLE
        raise (Declined if refused else Undelivered)(f"status {response.status}")

    @functools.cached_property
    def _connections(self) -> urllib3.PoolManager:
        """On first use, after servers have forked."""
        https = self._url.startswith("https:")
        return urllib3.PoolManager(ssl_context=self._tls() if https else None)


def sign(key: bytes, message_id: str, moment: str, body: bytes) -> str:
    """One signature of the header Webhook-Signature."""
    signed = b".".join((message_id.encode(), moment.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _finish(response: urllib3.BaseHTTPResponse) -> None:
    """Let the connection be used again, or close it: a response may have no end."""
    remaining = getattr(response, "length_remaining", None)
    try:
        if remaining is not None and remaining <= _MAX_RESPONSE_BYTES:
            response.drain_conn()
    except (urllib3.exceptions.HTTPError, OSError):
        pass  # the status has arrived
    finally:
        if not response.closed:
            response.close()


def _checked(url: str) -> str:
    """Raises BadConfig, which does not show the URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username is not None or not url.isascii() or not url.isprintable():
        problem = "each must be an http or https URL with a host and without a user name"
        raise BadConfig("[webhooks] urls", problem)
    return url


def _keys(secrets: Sequence[str]) -> list[bytes]:
    """Raises BadConfig, which does not show a key."""
    keys = []
    for secret in secrets:
        try:
            key = base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not secret.startswith(_KEY_PREFIX) or not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
            example = _KEY_PREFIX + base64.b64encode(os.urandom(32)).decode()
            problem = f"each must be whsec_ and 24 to 64 bytes in Base64, such as {example}"
            raise BadConfig("[webhooks] secret", problem)
        keys.append(key)
    if not keys:
        raise BadConfig("[webhooks] secret", "a key is required, with which webhooks are signed")
    return keys
