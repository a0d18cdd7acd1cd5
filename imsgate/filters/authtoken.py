"""``X-Auth-Token`` against Keystone: keystonemiddleware's ``auth_token``, at home in imsgate.

::

    [filter:authtoken]
    use = egg:imsgate#authtoken

Behind ``faults`` and before ``identity``. Its options are those of
``[keystone_authtoken]`` in imsgate.conf, as in every OpenStack service, service tokens
included. Needs the extra ``imsgate[keystone]``. Three things differ from the filter it is:

- It reads the configuration files of this process instead of a global one.
- A request that Keystone does not vouch for is left to ``identity``, which knows the paths
  that are open to all, and a Keystone that does not answer is 503 and never 401.
- It can be asked again when an upload has ended (``wsgi.VOUCHER``). Then nothing is taken
  from a cache. That the token has expired since is no reason to refuse, for as long as
  Keystone's ``[token] allow_expired_window``; that it or a role was revoked is one.
- So can it by a job that a request began (``wsgi.WARRANT``), in any process. For that the
  token lies in the job's record until the job ends, sealed with this service's own password.
"""

import base64
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import webob
import webob.exc
from cryptography.fernet import Fernet, InvalidToken
from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token
from keystonemiddleware import exceptions as middleware
from oslo_config import cfg

from imsgate import config, errors
from imsgate.errors import BadConfig
from imsgate.http import responses, wsgi
from imsgate.http.request import REAUTHENTICATE, SEALED_CREDENTIAL
from imsgate.http.wsgi import Environ, WsgiApp

GROUP = "keystone_authtoken"

#: Options of the password and the application credential plugins.
_SECRETS = ("password", "application_credential_secret")

#: What reaches memcached, module and package; with SASL or TLS the second.
_MEMCACHE = (("memcache", "python-memcached"), ("bmemcached", "python-binary-memcached"))

#: What of a request says who asks, and for what.
_HEAD = frozenset(
    "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING SERVER_NAME SERVER_PORT SERVER_PROTOCOL "
    "HTTP_HOST HTTP_X_AUTH_TOKEN HTTP_X_STORAGE_TOKEN REMOTE_USER AUTH_TYPE "
    "wsgi.url_scheme wsgi.version".split()
)


class Authtoken(auth_token.AuthProtocol):
    """One instance is shared by all requests."""

    def __init__(self, app: WsgiApp, conf: dict[str, Any]) -> None:
        super().__init__(app, {**conf, "delay_auth_decision": "false"})
        self._again = _Again(_vouched, conf)
        self._seal = _Seal(self._again)

    def process_request(self, request: Any) -> WsgiApp | None:
        try:
            super().process_request(request)
        except webob.exc.HTTPUnauthorized:
            request.user_token_valid = False
        except (webob.exc.HTTPServiceUnavailable, keystone.ClientException) as error:
            self.log.error("Keystone cannot be asked: %s", error)
            return responses.refusal(errors.Unavailable(what="Keystone"))
        else:
            environ = request.environ
            environ[REAUTHENTICATE] = lambda: self._again.vouch(environ)
            environ[SEALED_CREDENTIAL] = lambda: self._seal.close(environ.get("HTTP_X_AUTH_TOKEN"))
        return None


class _Again(auth_token.AuthProtocol):
    """Keystone's word of now, on a token that may have expired while it was used."""

    def __init__(self, app: WsgiApp, conf: dict[str, Any]) -> None:
        fresh = {"token_cache_time": "-1", "memcached_servers": "", "cache": None}
        super().__init__(app, {**conf, **fresh, "delay_auth_decision": "false"})

    def fetch_token(self, token: str, **_: Any) -> Any:
        return super().fetch_token(token, allow_expired=True)

    def _validate_token(self, auth_ref: Any, **_: Any) -> None:
        super()._validate_token(auth_ref, allow_expired=True)

    def vouch(self, environ: Environ) -> Environ:
        """The variables that describe the user now, and the service of the beginning.

        The service's own token may have expired with the user's; it has vouched already.
        """
        head = {key: value for key, value in environ.items() if key in _HEAD}
        try:
            status, _, _ = wsgi.call(self, head)
        except keystone.ClientException as error:
            raise errors.Unavailable(what="Keystone") from error
        if status.startswith("503"):
            raise errors.Unavailable(what="Keystone")
        if not status.startswith("204"):
            raise errors.Unauthenticated
        service = {key: environ[key] for key in environ if key.startswith("HTTP_X_SERVICE_")}
        return {**head, **service}


class _Seal:
    """Closes tokens with this service's secret, so that whoever reads the database has none."""

    def __init__(self, protocol: auth_token.AuthProtocol) -> None:
        self._protocol = protocol

    @functools.cached_property
    def _box(self) -> Fernet | None:
        group = self._protocol._conf.oslo_conf_obj[GROUP]
        section = self._protocol._conf.oslo_conf_obj[group.auth_section or GROUP]
        secret = next(filter(None, (getattr(section, name, None) for name in _SECRETS)), None)
        if secret is None:
            return None
        key = hashlib.scrypt(secret.encode(), salt=SEALED_CREDENTIAL.encode(), n=1 << 14, r=8, p=1)
        return Fernet(base64.urlsafe_b64encode(key[:32]))

    def close(self, token: str | None) -> str | None:
        """None where there is no token, or no secret to seal it with."""
        return self._box.encrypt(token.encode()).decode() if token and self._box else None

    def open(self, sealed: str) -> str:
        """Raises Unauthenticated for what another secret has sealed."""
        try:
            return (self._box and self._box.decrypt(sealed.encode()).decode()) or ""
        except InvalidToken as error:
            raise errors.Unauthenticated from error


class SealedCredentials:
    """Asks Keystone again for jobs. Its settings are those of the configuration file."""

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig."""
        self._again = _protocol(_Again, _vouched, {"oslo_config_config": native}, native)
        self._seal = _Seal(self._again)

    def vouch(self, sealed: str) -> Environ:
        """The variables that describe the user now. Raises Unauthenticated or Unavailable."""
        headers = {"X-Auth-Token": self._seal.open(sealed)}
        return self._again.vouch(webob.Request.blank("/", headers=headers).environ)


def _protocol(kind: Any, app: WsgiApp, conf: dict[str, Any], native: cfg.ConfigOpts) -> Any:
    """Raises BadConfig for a configuration that cannot work."""
    try:
        made = kind(app, conf)
    except (keystone.ClientException, middleware.ConfigurationError) as error:
        raise BadConfig(f"[{GROUP}]", str(error)) from error
    group = native[GROUP]
    if not (conf.get("auth_type") or native[group.auth_section or GROUP].auth_type):
        raise BadConfig(f"[{GROUP}] auth_type", "without it Keystone cannot be asked")
    _check_cache(made._conf)
    return made


def _check_cache(conf: Any) -> None:
    """Raises BadConfig where keystonemiddleware would fail at every request, for want of a
    library that it imports with the first."""
    extended = conf.get("memcache_sasl_enabled") or conf.get("memcache_tls_enabled")
    module, package = _MEMCACHE[bool(extended)]
    if conf.get("memcached_servers") and importlib.util.find_spec(module) is None:
        raise BadConfig(f"[{GROUP}] memcached_servers", f"{package} is not installed")


def _vouched(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``; its keys are options of ``[keystone_authtoken]``.

    Raises BadConfig for a configuration that cannot work.
    """
    native = config.load(global_conf).native
    conf: dict[str, Any] = {**local_conf, "oslo_config_config": native}

    def build(app: WsgiApp) -> WsgiApp:
        made: WsgiApp = _protocol(Authtoken, app, conf, native)
        return made

    return build
