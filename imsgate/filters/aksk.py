"""Requests signed with an access key, as Huawei Cloud's SDKs, Terraform and OTC's tools sign them.

::

    [filter:aksk]
    use = egg:imsgate#aksk
    delay_auth_decision = true

Stands where keystonemiddleware's ``authtoken`` would, or behind it or ``tokens``, whose
requests it lets pass, and sets the same variables. By itself it refuses what is not signed;
with ``delay_auth_decision`` it leaves that to ``identity``. A signature that is wrong is
always refused here, in the form and with the codes of the vendor's API gateway.

What a body hash promises is checked while the application reads, and a body that differs
makes that read fail. A body whose hash is in no header is another matter: nobody can tell a
forged request before its last byte, so it is read ahead, ``max_signed_body`` at most.
"""

import hashlib
import hmac
import io
import time
from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.auth import aksk, jsonl, key_file
from imsgate.auth.aksk import AuthorizationHeader, Message
from imsgate.auth.identity import confirmed_variables, mark_unauthenticated, remove_variables
from imsgate.auth.key_file import Key
from imsgate.errors import BadConfig
from imsgate.filters import base
from imsgate.http.request import REAUTHENTICATE, Request
from imsgate.http.wsgi import Environ, WsgiApp

_STEP = 1 << 16


class Aksk(base.TappingFilter):
    NAME = "aksk"
    OPTS = (
        cfg.StrOpt(
            "key_file",
            default="$state_path/keys",
            help="File of the access keys that are accepted; `imsgate key` writes it. "
            "It is read again whenever it changes.",
        ),
        cfg.StrOpt(
            "seal_file",
            default="$state_path/keys.seal",
            help="File of the key that the secrets in key_file are encrypted with; "
            "`imsgate key add` makes it, and only its owner may read it.",
        ),
        cfg.IntOpt(
            "clock_window",
            default=900,
            min=1,
            help="How far X-Sdk-Date may be from this host's clock, in seconds.",
        ),
        cfg.IntOpt(
            "max_signed_body",
            default=12 << 20,
            min=0,
            help="The longest body whose hash is signed, in bytes; longer ones are sent with "
            "UNSIGNED-PAYLOAD or a token.",
        ),
        cfg.BoolOpt(
            "delay_auth_decision",
            default=False,
            help="Let requests without a signature pass, marked as not authenticated, "
            "for a later filter to decide.",
        ),
    )

    def __init__(
        self, app: WsgiApp, settings: Any, clock: Callable[[], float] | None = None
    ) -> None:
        """``clock`` returns seconds since the epoch."""
        super().__init__(app, settings)
        self._clock = clock or time.time
        self._limit = settings.max_signed_body
        files = (settings.key_file, settings.seal_file)
        self._keys = jsonl.WatchedFile(files, lambda: key_file.load(*files))

    def check(self, request: Request) -> None:
        if REAUTHENTICATE in request.environ:  # nothing a client could have set
            return
        authorization = request.presented("Authorization")
        if not aksk.is_signed(authorization):
            self._leave(request)
            return
        claim, now = aksk.parse(authorization), self._clock()
        key = self._key(claim.access, now)
        date = request.presented("X-Sdk-Date").strip()
        if abs(now - aksk.moment(claim, date)) > self.settings.clock_window:
            raise errors.SignatureExpired(signed=date, now=aksk.text_of(now))
        declared = request.presented("X-Sdk-Content-Sha256").strip()
        if declared != aksk.UNSIGNED and (request.body_length or 0) > self._limit:
            raise errors.SignedBodyTooLarge
        payload = declared or self._digest(request)
        aksk.verify(claim, key.secret, date, _message(request, claim, payload, bool(declared)))
        _check_token(key, request.presented("X-Security-Token").strip())
        if declared:
            self._watch(request, declared)
        self._admit(request, key, now)

    def _leave(self, request: Request) -> None:
        if not self.settings.delay_auth_decision:
            raise errors.RequestNotSigned
        mark_unauthenticated(request.environ)

    def _key(self, access: str, when: float) -> Key:
        """Raises KeyUnknown for one that is not in the file, or had expired at ``when``."""
        key = self._keys.current(self._nobody).get(access)
        if key is None or (key.expires is not None and key.expires <= when):
            raise errors.KeyUnknown(access=access)
        return key

    def _nobody(self, problem: BadConfig) -> dict[str, Key]:
        # As with tokens: keeping the old keys would keep alive what was to be taken away.
        self.log.error("No access key is accepted until this is mended: %s", problem)
        return {}

    def _digest(self, request: Request) -> str:
        """The SHA-256 of a body that no header tells of; it is read, and put back."""
        if request.body_is_empty:
            return aksk.EMPTY
        reader, ahead, digest = request.reader(), io.BytesIO(), hashlib.sha256()
        while chunk := reader.read(_STEP):
            ahead.write(chunk)
            digest.update(chunk)
            if ahead.tell() > self._limit:
                raise errors.SignedBodyTooLarge
        ahead.seek(0)
        request.environ["wsgi.input"] = ahead
        return digest.hexdigest()

    def _watch(self, request: Request, payload: str) -> None:
        """Hold the body to its hash, which the signature covers."""
        if payload == aksk.UNSIGNED:
            return
        if not aksk.is_hash(payload):
            raise errors.SignatureMalformed(problem="X-Sdk-Content-Sha256 is no SHA-256")
        promise = BodyHash(payload, self._limit)
        if request.body_is_empty:
            promise.finish()
        else:
            request.tap(promise)

    def _admit(self, request: Request, key: Key, when: float) -> None:
        named = request.presented("X-Project-Id").strip()
        project = named or key.projects[0]
        found = _variables(key, project)

        def reauthenticate() -> Environ:
            return _variables(self._key(key.access, when), project)

        remove_variables(request.environ)
        request.environ.update(found)
        request.environ[REAUTHENTICATE] = reauthenticate


class BodyHash:
    """A tap that knows what the whole body must hash to, and how long it may be."""

    def __init__(self, signed: str, limit: int) -> None:
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
        found = self._digest.hexdigest()
        if found != self._signed:
            raise errors.SignedBodyDiffers(found=found, signed=self._signed)


def _message(request: Request, claim: AuthorizationHeader, payload: str, declared: bool) -> Message:
    environ = request.environ
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return Message(
        method=request.method,
        path=path.encode("latin-1"),
        query=environ.get("QUERY_STRING", ""),
        headers=tuple((name, request.presented(name)) for name in claim.headers),
        payload=payload,
        declared=declared,
        empty=request.body_is_empty,
    )


def _check_token(key: Key, presented: str) -> None:
    """A temporary key goes with its security token, any other with none."""
    found = jsonl.digest(presented)
    if not hmac.compare_digest(found, key.token_sha256 or jsonl.digest("")):
        raise errors.SecurityTokenRefused(access=key.access)


def _variables(key: Key, project: str) -> Environ:
    """Raises KeyForbidden for a project that the key is not for."""
    if project not in key.projects:
        raise errors.KeyForbidden(access=key.access, project=project)
    return confirmed_variables(key.user, project, key.roles)


filter_factory = base.filter_factory(Aksk)
