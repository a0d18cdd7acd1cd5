"""Requests to an image service: with credentials, and repeated where that can help."""

import html
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import requests
import urllib3.exceptions

from imsgate.client.credentials import Credentials
from imsgate.client.failures import Cut, Failure, NotAllowed, Refused
from imsgate.client.retries import TEMPORARY, Retries, retry_after

#: Seconds to connect and to send 64 KiB, and seconds to wait for a response: the server verifies
#: an image for 20 seconds before it responds that this takes longer, and Glance for any time.
_TIMEOUTS = (30.0, 300.0)
_TAGS = re.compile(r"<(title|style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_MESSAGE_LENGTH = 2000
#: Before the words of urllib3's errors.
_PLACE = re.compile(r"^(<[^>]*>|HTTPS?Connection(Pool)?\(.*?\)): ")

#: Reasons of imsgate (X-Imsgate-Reason) that refuse the content of an image.
_REFUSALS = frozenset({"image_refused", "format_mismatch", "signature_refused", "digest_mismatch"})


class Connection:
    """Sends requests to one image service."""

    def __init__(self, credentials: Credentials, retries: Retries) -> None:
        self.endpoint = credentials.endpoint
        self.retries = retries
        self._credentials = credentials
        self._session = requests.Session()
        # The environment's proxies count, but no password of ~/.netrc.
        self._session.auth = credentials
        self._session.verify = credentials.verify
        self._session.cert = credentials.cert
        self._was_renewed = False

    def close(self) -> None:
        """Close what is connected. The next request opens a new connection."""
        self._session.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        """One request. ``path`` begins after the endpoint, or is a URL of another service, which
        gets no credentials. ``body`` is bytes, or an iterable of them.

        Raises Cut if no response arrives, and NotAllowed.
        """
        is_foreign = "://" in path
        try:
            return self._session.request(
                method,
                path if is_foreign else self.endpoint + path,
                headers={"Accept": "application/json", **(headers or {})},
                data=body,
                auth=_anonymous if is_foreign else None,
                stream=stream,
                timeout=_TIMEOUTS,
                allow_redirects=False,
            )
        except requests.exceptions.InvalidURL as error:
            raise Failure(f"{self.endpoint} is not a URL: {error}") from error
        except (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as error:
            raise Failure(f"{self.endpoint} is not a URL: {error}") from error
        except requests.exceptions.SSLError as error:
            raise Failure(f"{self.endpoint} cannot be trusted: {error}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Cut(_words(error)) from error

    def renew(self, response: requests.Response) -> None:
        """After 401: get a new token. Raises NotAllowed if the last one was new already."""
        if self._was_renewed or not self._credentials.renew():
            raise NotAllowed(message_of(response))
        self._was_renewed = True

    def accepted(self) -> None:
        """Note that the credentials are valid."""
        self._was_renewed = False

    def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        expected: Iterable[int] = (200, 201, 202, 204),
    ) -> requests.Response:
        """A request that may be sent again: until there is a response that decides something.

        Raises TransferInterrupted if there is none for too long, and Failure for any response whose
        status is not ``expected``.
        """
        while True:
            try:
                response = self.send(method, path, headers=headers, body=body)
            except Cut as cut:
                self.retries.wait(str(cut))
                continue
            if self.may_be_repeated(response):
                continue
            if response.status_code in expected:
                return response
            raise failure_of(response)

    def may_be_repeated(self, response: requests.Response) -> bool:
        """Whether to send a request again after this response; if so, waits before it returns.

        Raises NotAllowed, TransferInterrupted.
        """
        if response.status_code == 401:
            self.renew(response)
            return True
        self.accepted()
        if response.status_code in TEMPORARY or _is_in_use(response):
            self.retries.wait(message_of(response), retry_after(response.headers, time.time()))
            return True
        return False


def _anonymous(request: Any) -> Any:
    return request


def _is_in_use(response: requests.Response) -> bool:
    """The first request with the same Idempotency-Key is still running."""
    return response.headers.get("X-Imsgate-Reason") == "idempotency_key_in_use"


def failure_of(response: requests.Response) -> Failure:
    """What a response that is not successful means for the command."""
    message = message_of(response)
    if response.headers.get("X-Imsgate-Reason") in _REFUSALS:
        return Refused(message)
    if response.status_code in (401, 403):
        return NotAllowed(message)
    return Failure(message)


def message_of(response: requests.Response) -> str:
    """The message in an error response: of imsgate's JSON, or the text of Glance's page."""
    try:
        members = response.json()
        message = str(members.get("message") or members.get("detail") or "")
        if not message:
            message = str(next(iter(members.values())).get("message", ""))
    except (ValueError, AttributeError, StopIteration):
        text = response.text if "text" in response.headers.get("Content-Type", "") else ""
        message = " ".join(html.unescape(_TAGS.sub(" ", text)).split())
    status = f"{response.status_code} {response.reason}".strip()
    return message[:_MESSAGE_LENGTH] or f"the server answers {status}"


def _words(error: BaseException) -> str:
    """The innermost reason of a failed request, which its wrappers only repeat."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (part for part in error.args if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"the connection failed: {_PLACE.sub('', str(error)) or type(error).__name__}"
