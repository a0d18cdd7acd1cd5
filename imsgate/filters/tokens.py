"""``X-Auth-Token`` against a token file, for development and small sites without Keystone.

::

    [filter:tokens]
    use = egg:imsgate#tokens
    delay_auth_decision = true

Replaces keystonemiddleware's ``authtoken`` and sets the same variables. A request without a valid
token is refused, or left to ``identity`` with ``delay_auth_decision`` (the same option as that of
``authtoken``), which knows the public paths.
"""

import time

from oslo_config import cfg

from imsgate import errors, metrics
from imsgate.auth import jsonl, token_file
from imsgate.auth.identity import confirmed_variables, mark_unauthenticated
from imsgate.errors import BadConfig
from imsgate.filters import base
from imsgate.http.request import REAUTHENTICATE, Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.settings import Settings

OPTS = (
    cfg.StrOpt(
        "token_file",
        default="$state_path/tokens",
        help="The file of accepted tokens; `imsgate token add` writes it. A changed file is read "
        "again during the next request.",
    ),
    cfg.BoolOpt(
        "delay_auth_decision",
        default=False,
        help="Pass requests without a valid token on, marked as not authenticated, and let a later "
        "filter decide.",
    ),
)


class TokensSettings(Settings, group="tokens", opts=OPTS):
    token_file: str
    delay_auth_decision: bool


class Tokens(base.Filter[TokensSettings]):
    NAME = "tokens"
    OPTS = OPTS
    SETTINGS = TokensSettings

    def __init__(self, app: WsgiApp, settings: TokensSettings) -> None:
        super().__init__(app, settings)
        path = settings.token_file
        self._tokens = jsonl.WatchedFile([path], lambda: token_file.load(path))

    def check(self, request: Request) -> None:
        with metrics.PHASE_SECONDS.time("authentication"):
            self._authenticate(request)

    def _authenticate(self, request: Request) -> None:
        presented = request.environ.get("HTTP_X_AUTH_TOKEN")
        began = time.time()
        token = token_file.find(self._current(), presented, began) if presented else None
        if presented is None or token is None:
            mark_unauthenticated(request.environ)
            if not self.settings.delay_auth_decision:
                raise errors.Unauthenticated(headers={"WWW-Authenticate": 'Token realm="imsgate"'})
            return
        request.environ.update(_variables(token))
        request.environ[REAUTHENTICATE] = lambda: self._reauthenticate(presented, began)

    def _reauthenticate(self, presented: str, began: float) -> Environ:
        """Raises Unauthenticated if the token was removed, but not if it expired after ``began``
        (seconds since the epoch)."""
        token = token_file.find(self._current(), presented, began)
        if token is None:
            raise errors.Unauthenticated
        return _variables(token)

    def _current(self) -> list[token_file.Token]:
        return self._tokens.current(self._no_tokens)

    def _no_tokens(self, problem: BadConfig) -> list[token_file.Token]:
        # Using the previous tokens could keep a token valid that the operator has just removed.
        self.log.error("No token is accepted until this is fixed: %s", problem)
        return []


def _variables(token: token_file.Token) -> Environ:
    return confirmed_variables(token.user, token.project, token.roles)


filter_factory = base.filter_factory(Tokens)
