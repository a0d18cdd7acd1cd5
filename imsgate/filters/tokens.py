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
from typing import Any

from oslo_config import cfg

from imsgate import errors, tokenfile
from imsgate.filters import base
from imsgate.wsgi import Request, WsgiApp


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
        token = tokenfile.find(self._current(), presented) if presented else None
        if token is None:
            request.environ["HTTP_X_IDENTITY_STATUS"] = "Invalid"
            if not self.settings.delay_auth_decision:
                raise errors.Unauthenticated(headers={"WWW-Authenticate": 'Token realm="imsgate"'})
            return
        request.environ.update(
            HTTP_X_IDENTITY_STATUS="Confirmed",
            HTTP_X_USER_ID=token.user,
            HTTP_X_PROJECT_ID=token.project,
            HTTP_X_ROLES=",".join(token.roles),
        )

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


filter_factory = base.filter_factory(Tokens)
