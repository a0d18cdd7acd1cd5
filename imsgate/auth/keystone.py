"""Ask Keystone again about a user: at the end of an upload, and in a job.

keystonemiddleware can only do this through its private parts. This is the one module that uses
them; ``tests/auth/test_library_internals.py`` checks them. Importing it needs the extra
``imsgate[keystone]``.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import ipaddress
import logging
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import webob
from cryptography.fernet import Fernet, InvalidToken
from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token
from keystonemiddleware import exceptions as middleware
from keystonemiddleware.auth_token import _exceptions as rejected
from oslo_config import cfg

from imsgate import errors, metrics
from imsgate.auth.identity import identity_of
from imsgate.errors import BadConfig
from imsgate.http import wsgi
from imsgate.http.request import SEALED_CREDENTIAL
from imsgate.http.wsgi import Environ
from imsgate.model import Identity
from imsgate.telemetry import trace_context
from imsgate.telemetry.dependencies import Dependency

LOG = logging.getLogger(__name__)

KEYSTONE = Dependency("Keystone", LOG)

GROUP = "keystone_authtoken"

#: Secret options of the auth types ``password`` and ``v3applicationcredential``.
_SECRET_OPTIONS = ("password", "application_credential_secret")

#: Module and package that connect to memcached: without and with SASL or TLS.
_MEMCACHE_CLIENTS = (("memcache", "python-memcached"), ("bmemcached", "python-binary-memcached"))

_MEMCACHED_PORT = 11211
#: How long the start waits for memcached.
_MEMCACHED_SECONDS = 1.0

#: The environ keys that matter to keystonemiddleware.
_AUTHENTICATED_KEYS = frozenset(
    "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL "
    "HTTP_HOST HTTP_X_AUTH_TOKEN HTTP_X_STORAGE_TOKEN REMOTE_USER AUTH_TYPE "
    "wsgi.url_scheme wsgi.version".split()
)

Protocol = TypeVar("Protocol", bound=auth_token.AuthProtocol)


def make_protocol(
    kind: Callable[[dict[str, Any]], Protocol],
    native: cfg.ConfigOpts,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> Protocol:
    """An ``AuthProtocol`` with the options of ``[keystone_authtoken]`` and ``overrides``.

    Raises BadConfig for options with which every request would fail.
    """
    try:
        protocol = kind({**overrides, "oslo_config_config": native})
    except (keystone.ClientException, middleware.ConfigurationError) as error:
        raise BadConfig(f"[{GROUP}]", str(error)) from error
    if not (overrides.get("auth_type") or _auth_section(native).auth_type):
        raise BadConfig(f"[{GROUP}] auth_type", "it is required to connect to Keystone")
    _check_memcached(protocol._conf)
    _observe(protocol._identity_server)
    protocol._session.additional_headers = trace_context.CurrentHeaders()
    for name in (auth_token.__name__, "keystoneauth.identity.generic.base"):
        logging.getLogger(name).addFilter(_is_no_outage)
    return protocol


def _observe(server: Any) -> None:
    """Count what the library asks Keystone, and report to KEYSTONE that it works.

    Tokens that the library finds in its caches show neither.
    """
    verify = server.verify_token

    def observed(*args: Any, **options: Any) -> Any:
        began = time.monotonic()
        outcome = "unavailable"
        try:
            data = verify(*args, **options)
            outcome = "success"
        except rejected.InvalidToken:
            outcome = errors.Unauthenticated.reason
            raise
        finally:
            seconds = time.monotonic() - began
            metrics.KEYSTONE_SECONDS.observe("token", outcome, seconds=seconds)
            if outcome != "unavailable":
                KEYSTONE.works()
        return data

    server.verify_token = observed


def _is_no_outage(record: logging.LogRecord) -> bool:
    """The libraries log two lines for each request; KEYSTONE logs outages."""
    return not str(record.msg).startswith(
        ("Unable to validate token: ", "Failed to discover available identity versions ")
    )


def unavailable(error: Exception) -> errors.Unavailable:
    """The error of a request that Keystone did not answer, which is logged as an outage."""
    # keystonemiddleware's own error says no more than that.
    silent = not isinstance(error, keystone.ClientException)
    KEYSTONE.failed((silent and error.__context__) or error)
    return errors.Unavailable(what="Keystone")


def _auth_section(native: cfg.ConfigOpts) -> Any:
    """The options of this service's own account, which ``auth_section`` may put elsewhere."""
    return native[native[GROUP].auth_section or GROUP]


def _check_memcached(conf: Any) -> None:
    """Raises BadConfig if the memcached client is missing. keystonemiddleware imports it
    during the first request and would then fail every request."""
    extended = conf.get("memcache_sasl_enabled") or conf.get("memcache_tls_enabled")
    module, package = _MEMCACHE_CLIENTS[bool(extended)]
    servers = conf.get("memcached_servers")
    if servers and importlib.util.find_spec(module) is None:
        raise BadConfig(f"[{GROUP}] memcached_servers", f"{package} is not installed")
    for server in servers or ():
        _warn_without_memcached(server)
    is_protected = str(conf.get("memcache_security_strategy")).lower() != "none"
    if not is_protected and not all(map(_is_on_this_host, servers or ())):
        LOG.warning(
            "[%s] memcached_servers: whoever can write to this cache decides who a user is; set "
            "memcache_security_strategy = ENCRYPT and memcache_secret_key on all hosts",
            GROUP,
        )


def _is_on_this_host(server: str) -> bool:
    """Whether only this host can be expected to reach a memcached server."""
    if server.startswith("unix:"):
        return True
    with contextlib.suppress(ValueError):  # no valid address, or a name
        host = _address(server).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


def _warn_without_memcached(server: str) -> None:
    """Logs a WARNING if nothing answers at ``server``."""
    if problem := problem_of_memcached(server):
        LOG.warning("[%s] memcached_servers: %s", GROUP, problem)


def problem_of_memcached(server: str) -> str | None:
    """Why nothing answers at ``server`` (host:port, ``inet6:[host]:port`` or ``unix:path``), or
    None. The library treats that as an empty cache and says nothing."""
    try:
        _connect(server).close()
    except (OSError, ValueError) as error:
        return (
            f"{server} does not answer ({error}); without it, tokens are not cached and every "
            "request asks Keystone"
        )
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceAccount:
    """This service's own account in Keystone, and the memcached servers that it uses."""

    roles: frozenset[str]
    memcached_servers: tuple[str, ...]


def service_account(native: cfg.ConfigOpts, overrides: Mapping[str, str]) -> ServiceAccount:
    """Get a token for this service's own account, and validate it.

    Raises BadConfig as :func:`make_protocol`, Unauthenticated if Keystone refuses the account, and
    Unavailable, with its cause, if Keystone does not answer.
    """
    protocol = make_protocol(Reauthentication, native, overrides)
    try:
        token = protocol._auth.get_token(protocol._session)
        found = protocol._identity_server.verify_token(token)
    except (keystone.Unauthorized, rejected.InvalidToken) as error:
        raise errors.Unauthenticated from error
    except (keystone.ClientException, rejected.ServiceError) as error:
        raise errors.Unavailable(what="Keystone") from error
    servers = overrides.get("memcached_servers") or native[GROUP].memcached_servers or ()
    return ServiceAccount(
        roles=frozenset(role["name"] for role in found["token"].get("roles", ())),
        memcached_servers=tuple(servers.split(",") if isinstance(servers, str) else servers),
    )


def _connect(server: str) -> socket.socket:
    if server.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_MEMCACHED_SECONDS)
            connection.connect(server.removeprefix("unix:"))
        except OSError:
            connection.close()
            raise
        return connection
    address = _address(server)
    return socket.create_connection(
        (address.hostname or "", address.port or _MEMCACHED_PORT), _MEMCACHED_SECONDS
    )


def _address(server: str) -> urllib.parse.SplitResult:
    return urllib.parse.urlsplit("//" + server.removeprefix("inet6:").removeprefix("inet:"))


#: Where a request of a Reauthentication has its cache.
_CACHE = "imsgate.no_token_cache"


class _NoCache:
    """The cache of a Reauthentication. Without one, the library makes its own, and warns that
    memcached_servers is not set."""

    def get(self, key: object) -> None:
        """Nothing is found."""

    def set(self, key: object, value: object, time: float) -> None:
        """Nothing is kept."""


class Reauthentication(auth_token.AuthProtocol):  # type: ignore[misc]  # it has no types
    """Validates a token again: without any cache, and even if it has expired meanwhile."""

    def __init__(self, conf: dict[str, Any]) -> None:
        uncached = {"token_cache_time": "-1", "memcached_servers": "", "cache": _CACHE}
        super().__init__(_authenticated, {**conf, **uncached, "delay_auth_decision": "false"})

    def fetch_token(self, token: str, **_: Any) -> Any:
        return super().fetch_token(token, allow_expired=True)

    def _validate_token(self, auth_ref: Any, **_: Any) -> None:
        super()._validate_token(auth_ref, allow_expired=True)

    def variables(self, environ: Environ) -> Environ:
        """The identity variables of this request's user as Keystone reports them now.

        Those of a service token are copied from ``environ``: it was validated before, and may
        have expired together with the user's token. Raises Unauthenticated or Unavailable.
        """
        request = {key: value for key, value in environ.items() if key in _AUTHENTICATED_KEYS}
        request[_CACHE] = _NoCache()
        try:
            status, _, _ = wsgi.call(self, request)
        except keystone.ClientException as error:
            raise unavailable(error) from error
        if status.startswith("503"):
            KEYSTONE.failed("it does not respond")
            raise errors.Unavailable(what="Keystone")
        if not status.startswith("204"):
            raise errors.Unauthenticated
        del request[_CACHE]
        service = {key: environ[key] for key in environ if key.startswith("HTTP_X_SERVICE_")}
        return {**request, **service}


def _authenticated(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


class Seal:
    """Encrypts tokens with a key derived from this service's own Keystone secret.

    The database then contains no token that a reader of the database could use.
    """

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """``native`` has the options of an ``AuthProtocol`` that was made with it."""
        self._native = native

    @functools.cached_property
    def _cipher(self) -> Fernet | None:
        section = _auth_section(self._native)
        secrets = (getattr(section, option, None) for option in _SECRET_OPTIONS)
        secret = next(filter(None, secrets), None)
        if secret is None:
            return None
        key = hashlib.scrypt(secret.encode(), salt=SEALED_CREDENTIAL.encode(), n=1 << 14, r=8, p=1)
        return Fernet(base64.urlsafe_b64encode(key[:32]))

    def close(self, token: str | None) -> str | None:
        """The encrypted token; None without a token or without a secret."""
        return self._cipher.encrypt(token.encode()).decode() if token and self._cipher else None

    def open(self, sealed: str) -> str:
        """The token. Raises Unauthenticated if it was sealed with another secret."""
        if self._cipher is None:
            return ""
        try:
            return self._cipher.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise errors.Unauthenticated from error


class SealedCredentials:
    """Identifies the user of a job by the credential that its request sealed.

    Uses the options of the configuration files; overrides of a Paste file do not apply.
    """

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig as :func:`make_protocol`."""
        self._reauthentication = make_protocol(Reauthentication, native)
        self._seal = Seal(native)

    def check_secret(self) -> None:
        """Raises BadConfig if no credential can be sealed."""
        if self._seal.close("-") is None:
            raise BadConfig(f"[{GROUP}] auth_type", "it must be one with a password or a secret")

    def token(self, sealed: str) -> str:
        """The token of the user. Raises Unauthenticated if it was sealed with another secret."""
        return self._seal.open(sealed)

    def identify(self, sealed: str) -> Identity:
        """The user as Keystone reports it now. Raises Unauthenticated or Unavailable."""
        headers = {"X-Auth-Token": self._seal.open(sealed)}
        environ = webob.Request.blank("/", headers=headers).environ
        return identity_of(self._reauthentication.variables(environ))
