"""``X-Auth-Token`` against Keystone: keystonemiddleware's ``auth_token`` as a filter of imsgate.

::

    [filter:authtoken]
    use = egg:imsgate#authtoken

After ``faults`` and before ``identity``. Its options are those of ``[keystone_authtoken]`` in
imsgate.conf, as in every OpenStack service, including those for service tokens. Needs the extra
``imsgate[keystone]``. It differs from ``auth_token`` itself in this:

- It reads the configuration files of this process instead of a global one.
- A request that Keystone does not authenticate is left to ``identity``, which knows the public
  paths. While Keystone does not respond, the response is 503 and never 401.
- The user can be authenticated again when an upload has ended (``REAUTHENTICATE``), without any
  cache. A token that has expired meanwhile is accepted for Keystone's
  ``[token] allow_expired_window``; a revoked token or role is not.
- A job that the request started can do the same in any process (``SEALED_CREDENTIAL``). The
  job's record contains the token until the job ends, encrypted with this service's own password.
"""

from collections.abc import Callable
from typing import Any

import webob.exc
from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token

from imsgate import config, metrics
from imsgate.auth.keystone import Reauthentication, Seal, make_protocol, unavailable
from imsgate.http import responses
from imsgate.http.request import REAUTHENTICATE, SEALED_CREDENTIAL
from imsgate.http.wsgi import WsgiApp


class Authtoken(auth_token.AuthProtocol):  # type: ignore[misc]  # it has no types
    """All requests share one instance."""

    def __init__(self, app: WsgiApp, conf: dict[str, Any]) -> None:
        native = conf["oslo_config_config"]
        super().__init__(app, {**conf, "delay_auth_decision": "false"})
        self._reauthentication = Reauthentication(conf)
        self._seal = Seal(native)

    def process_request(self, request: Any) -> WsgiApp | None:
        try:
            with metrics.PHASE_SECONDS.time("authentication"):
                super().process_request(request)
        except webob.exc.HTTPUnauthorized:
            request.user_token_valid = False
        except (webob.exc.HTTPServiceUnavailable, keystone.ClientException) as error:
            return responses.refusal(unavailable(error))
        else:
            environ = request.environ
            environ[REAUTHENTICATE] = lambda: self._reauthentication.variables(environ)
            environ[SEALED_CREDENTIAL] = lambda: self._seal.close(environ.get("HTTP_X_AUTH_TOKEN"))
        return None


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[WsgiApp], WsgiApp]:
    """The ``paste.filter_factory``; its keys are options of ``[keystone_authtoken]``.

    Raises BadConfig for options with which every request would fail.
    """
    native = config.load(global_conf).native

    def build(app: WsgiApp) -> WsgiApp:
        made: WsgiApp = make_protocol(lambda conf: Authtoken(app, conf), native, local_conf)
        return made

    return build
