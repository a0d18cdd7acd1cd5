"""Requests signed with an access key, as Huawei Cloud's SDKs, Terraform and OTC's tools sign them.

::

    [filter:aksk]
    use = egg:imsgate#aksk
    delay_auth_decision = true

Replaces keystonemiddleware's ``authtoken`` and sets the same variables. Behind ``authtoken`` or
``tokens`` it passes on the requests that these have authenticated. Unsigned requests are refused,
or left to ``identity`` with ``delay_auth_decision``. A wrong signature is always refused here, in
the form and with the codes of the vendor's API gateway.

A body whose hash is in a signed header is checked while the application reads it; the read of a
different body fails. A body whose hash is in no header is different: the signature can only be
verified after its last byte, so the filter reads it ahead, up to ``max_signed_body``.
"""

import hashlib
import hmac
import io
import time
from collections.abc import Callable

from oslo_config import cfg

from imsgate import errors, metrics
from imsgate.auth import aksk, jsonl, key_file
from imsgate.auth.aksk import AuthorizationHeader, Message
from imsgate.auth.identity import confirmed_variables, mark_unauthenticated, remove_variables
from imsgate.auth.key_file import Key
from imsgate.errors import BadConfig
from imsgate.filters import base
from imsgate.http.request import REAUTHENTICATE, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.settings import Settings

_CHUNK_BYTES = 1 << 16

OPTS = (
    cfg.StrOpt(
        "key_file",
        default="$state_path/keys",
        help="The file of accepted access keys; `imsgate key` writes it. A changed file is read "
        "again during the next request.",
    ),
    cfg.StrOpt(
        "seal_file",
        default="$state_path/keys.seal",
        help="The file of the key that encrypts the secrets in key_file; `imsgate key add` creates "
        "it. Only its owner may have access to it.",
    ),
    cfg.IntOpt(
        "clock_window",
        mutable=True,
        default=900,
        min=1,
        help="The largest accepted difference between X-Sdk-Date and the clock of this host, in "
        "seconds.",
    ),
    cfg.IntOpt(
        "max_signed_body",
        mutable=True,
        default=12 << 20,
        min=0,
        help="The largest body whose hash is signed, in bytes. Clients send larger ones with "
        "UNSIGNED-PAYLOAD or with a token.",
    ),
    cfg.BoolOpt(
        "delay_auth_decision",
        default=False,
        help="Pass unsigned requests on, marked as not authenticated, and let a later filter "
        "decide.",
    ),
)


class AkskSettings(Settings, group="aksk", opts=OPTS):
    key_file: str
    seal_file: str
    clock_window: int
    max_signed_body: int
    delay_auth_decision: bool


class Aksk(base.TappingFilter[AkskSettings]):
    NAME = "aksk"
    OPTS = OPTS
    SETTINGS = AkskSettings

    def __init__(
        self, app: WsgiApp, settings: AkskSettings, clock: Callable[[], float] | None = None
    ) -> None:
        """``clock`` returns seconds since the epoch."""
        super().__init__(app, settings)
        self._clock = clock or time.time
        files = (settings.key_file, settings.seal_file)
        self._keys = jsonl.WatchedFile(files, lambda: key_file.load(*files))

    def check(self, request: Request) -> None:
        if REAUTHENTICATE in request.environ:  # only an authentication filter can set it
            return
        with metrics.PHASE_SECONDS.time("authentication"):
            self._check(request)

    def _check(self, request: Request) -> None:
        text = request.presented("Authorization")
        if not aksk.is_signed(text):
            self._check_unsigned(request)
            return
        authorization, now = aksk.parse(text), self._clock()
        key = self._key(authorization.access, now)
        date = request.presented("X-Sdk-Date").strip()
        if abs(now - aksk.timestamp(authorization, date)) > self.settings.clock_window:
            raise errors.SignatureExpired(signed=date, now=aksk.format_date(now))
        declared = request.presented("X-Sdk-Content-Sha256").strip()
        if declared != aksk.UNSIGNED and (request.body_length or 0) > self.settings.max_signed_body:
            raise errors.SignedBodyTooLarge
        payload = declared or self._read_ahead(request)
        message = _message(request, authorization, payload, bool(declared))
        aksk.verify(authorization, key.secret, date, message)
        _check_security_token(key, request.presented("X-Security-Token").strip())
        if declared:
            self._tap(request, declared)
        self._authenticate(request, key, now)

    def _check_unsigned(self, request: Request) -> None:
        if not self.settings.delay_auth_decision:
            raise errors.RequestNotSigned
        mark_unauthenticated(request.environ)

    def _key(self, access: str, when: float) -> Key:
        """Raises KeyUnknown for a key that is not in the file or had expired at ``when``."""
        key = self._keys.current(self._no_keys).get(access)
        if key is None or (key.expires is not None and key.expires <= when):
            raise errors.KeyUnknown(access=access)
        return key

    def _no_keys(self, problem: BadConfig) -> dict[str, Key]:
        # Using the previous keys could keep a key valid that the operator has just removed.
        self.log.error("No access key is accepted until this is fixed: %s", problem)
        return {}

    def _read_ahead(self, request: Request) -> str:
        """Buffers a body whose hash is in no header, and returns its SHA-256."""
        if request.body_is_empty:
            return aksk.EMPTY_SHA256
        reader, buffer, digest = request.reader(), io.BytesIO(), hashlib.sha256()
        while chunk := reader.read(_CHUNK_BYTES):
            buffer.write(chunk)
            digest.update(chunk)
            if buffer.tell() > self.settings.max_signed_body:
                raise errors.SignedBodyTooLarge
        buffer.seek(0)
        request.environ["wsgi.input"] = buffer
        return digest.hexdigest()

    def _tap(self, request: Request, payload: str) -> None:
        """Compare the body with its hash, which the signature covers."""
        if payload == aksk.UNSIGNED:
            return
        if not aksk.is_sha256(payload):
            raise errors.SignatureMalformed(problem="X-Sdk-Content-Sha256 is not a SHA-256")
        body_hash = BodyHash(payload, self.settings.max_signed_body)
        if request.body_is_empty:
            body_hash.finish()
        else:
            request.tap(body_hash)

    def _authenticate(self, request: Request, key: Key, when: float) -> None:
        project = request.presented("X-Project-Id").strip() or key.projects[0]
        variables = _variables(key, project)

        def reauthenticate() -> Environ:
            return _variables(self._key(key.access, when), project)

        remove_variables(request.environ)
        request.environ.update(variables)
        request.environ[REAUTHENTICATE] = reauthenticate


class BodyHash:
    """A tap that compares the SHA-256 of the whole body with the signed one."""

    def __init__(self, signed: str, limit: int) -> None:
        """``signed`` is hexadecimal; ``limit`` is the largest body in bytes."""
        self._signed = signed.lower()
        self._limit = limit
        self._digest = hashlib.sha256()
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        self._count += len(chunk)
        if self._count > self._limit:
            raise errors.SignedBodyTooLarge
        self._digest.update(chunk)

    def finish(self) -> None:
        received = self._digest.hexdigest()
        if received != self._signed:
            raise errors.SignedBodyDiffers(found=received, signed=self._signed)


def _message(
    request: Request, authorization: AuthorizationHeader, payload: str, declared: bool
) -> Message:
    environ = request.environ
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return Message(
        method=request.method,
        path=path.encode("latin-1"),
        query=environ.get("QUERY_STRING", ""),
        headers=tuple((name, request.presented(name)) for name in authorization.headers),
        payload=payload,
        declared=declared,
        empty=request.body_is_empty,
    )


def _check_security_token(key: Key, presented: str) -> None:
    """A temporary key requires its security token; any other key requires none."""
    digest = jsonl.digest(presented)
    if not hmac.compare_digest(digest, key.token_sha256 or jsonl.digest("")):
        raise errors.SecurityTokenRefused(access=key.access)


def _variables(key: Key, project: str) -> Environ:
    """Raises KeyForbidden for a project that is not one of the key's."""
    if project not in key.projects:
        raise errors.KeyForbidden(access=key.access, project=project)
    return confirmed_variables(key.user, project, key.roles)


filter_factory = base.filter_factory(Aksk)
