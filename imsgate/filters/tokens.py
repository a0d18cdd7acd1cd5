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

import os
import time
from typing import Any

from oslo_config import cfg

from imsgate import errors, tokenfile, wsgi
from imsgate.filters import base
from imsgate.wsgi import Environ, Request, WsgiApp


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
        self._tokens = tokenfile.load(settings.token_file)
        self._version = self._stat()

    def check(self, request: Request) -> None:
        presented = request.environ.get("HTTP_X_AUTH_TOKEN")
        began = time.time()
        token = tokenfile.find(self._current(), presented, began) if presented else None
        if presented is None or token is None:
            request.environ["HTTP_X_IDENTITY_STATUS"] = "Invalid"
            if not self.settings.delay_auth_decision:
                raise errors.Unauthenticated(headers={"WWW-Authenticate": 'Token realm="imsgate"'})
            return
        request.environ.update(_variables(token))
        request.environ[wsgi.VOUCHER] = lambda: self._vouch(presented, began)

    def _vouch(self, presented: str, began: float) -> Environ:
        token = tokenfile.find(self._current(), presented, began)
        if token is None:
            raise errors.Unauthenticated
        return _variables(token)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self.settings.token_file)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _current(self) -> list[tokenfile.Token]:
        version = self._stat()
        if version != self._version:
            self._tokens = self._reload()
            self._version = version
        return self._tokens

    def _reload(self) -> list[tokenfile.Token]:
        # A file that is gone or broken lets nobody in: keeping the old tokens
        # would keep alive what the operator meant to take away.
        try:
            return tokenfile.load(self.settings.token_file)
        except errors.BadConfig as problem:
            self.log.error("No token is accepted until this is mended: %s", problem)
            return []


def _variables(token: tokenfile.Token) -> Environ:
    return {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": token.user,
        "HTTP_X_PROJECT_ID": token.project,
        "HTTP_X_ROLES": ",".join(_implied(token.roles)),
    }


def _implied(roles: tuple[str, ...]) -> list[str]:
    """These roles and those they imply, as in a Keystone that was bootstrapped."""
    found = list(roles)
    for role, implied in (("admin", "manager"), ("manager", "member"), ("member", "reader")):
        if role in found and implied not in found:
            found.append(implied)
    return found


filter_factory = base.filter_factory(Tokens)
