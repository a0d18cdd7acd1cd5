"""``X-Auth-Token`` against a token file, for development and small sites without Keystone.

::

    [filter:tokens]
    use = egg:imsgate#tokens
    delay_auth_decision = true

Stands where keystonemiddleware's ``authtoken`` would, and sets the same
variables. By itself it refuses whoever has no valid token; with
``delay_auth_decision`` (the same option as authtoken's) it leaves that to
``identity``, which knows the paths that are open to all.
"""

import time
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.auth import jsonl, token_file
from imsgate.auth.identity import confirmed_variables, mark_unauthenticated
from imsgate.errors import BadConfig
from imsgate.filters import base
from imsgate.http.request import REAUTHENTICATE, Request
from imsgate.http.wsgi import Environ, WsgiApp


class Tokens(base.Filter):
    NAME = "tokens"
    OPTS = (
        cfg.StrOpt(
            "token_file",
            default="$state_path/tokens",
            help="File of the tokens that are accepted; `imsgate token add` writes it. "
            "It is read again whenever it changes.",
        ),
        cfg.BoolOpt(
            "delay_auth_decision",
            default=False,
            help="Let requests without a valid token pass, marked as not authenticated, "
            "for a later filter to decide.",
        ),
    )

    def __init__(self, app: WsgiApp, settings: Any) -> None:
        super().__init__(app, settings)
        path = settings.token_file
        self._tokens = jsonl.WatchedFile([path], lambda: token_file.load(path))

    def check(self, request: Request) -> None:
        presented = request.environ.get("HTTP_X_AUTH_TOKEN")
        began = time.time()
        token = token_file.find(self._current(), presented, began) if presented else None
        if presented is None or token is None:
            mark_unauthenticated(request.environ)
            if not self.settings.delay_auth_decision:
                raise errors.Unauthenticated(headers={"WWW-Authenticate": 'Token realm="imsgate"'})
            return
        request.environ.update(_variables(token))
        request.environ[REAUTHENTICATE] = lambda: self._reauthenticated(presented, began)

    def _reauthenticated(self, presented: str, began: float) -> Environ:
        token = token_file.find(self._current(), presented, began)
        if token is None:
            raise errors.Unauthenticated
        return _variables(token)

    def _current(self) -> list[token_file.Token]:
        return self._tokens.current(self._nobody)

    def _nobody(self, problem: BadConfig) -> list[token_file.Token]:
        # A file that is gone or broken lets nobody in: keeping the old tokens
        # would keep alive what the operator meant to take away.
        self.log.error("No token is accepted until this is mended: %s", problem)
        return []


def _variables(token: token_file.Token) -> Environ:
    return confirmed_variables(token.user, token.project, token.roles)


filter_factory = base.filter_factory(Tokens)
