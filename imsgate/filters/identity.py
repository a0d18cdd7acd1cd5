"""Turns the variables of an authentication filter into one frozen Identity.

::

    [filter:identity]
    use = egg:imsgate#identity

After ``tokens``, ``aksk`` or keystonemiddleware's ``authtoken``, whose ``HTTP_X_*`` variables it
reads. A request that none of them has authenticated is refused with 401, except on
``public_paths``.
"""

from oslo_config import cfg

from imsgate import errors
from imsgate.auth.identity import identity_of, is_confirmed
from imsgate.filters import base
from imsgate.http.request import IDENTIFY, IDENTITY, REAUTHENTICATE, Request
from imsgate.settings import Settings

OPTS = (
    cfg.ListOpt(
        "public_paths",
        default=["/", "/versions", "/openapi.json"],
        help="Paths that need no authentication. Each must match the whole path.",
    ),
    cfg.StrOpt(
        "www_authenticate",
        default='Token realm="imsgate"',
        help="The WWW-Authenticate header of a 401 response. If empty, this filter adds none; "
        "authtoken adds Keystone's.",
    ),
)


class IdentitySettings(Settings, group="identity", opts=OPTS):
    public_paths: list[str]
    www_authenticate: str


class IdentityFilter(base.Filter[IdentitySettings]):
    NAME = "identity"
    OPTS = OPTS
    SETTINGS = IdentitySettings

    def check(self, request: Request) -> None:
        environ = request.environ
        if is_confirmed(environ):
            environ[IDENTITY] = identity = identity_of(environ)
            request.notes.set_user(identity)
            if reauthenticate := environ.get(REAUTHENTICATE):
                environ[IDENTIFY] = lambda: identity_of(reauthenticate())
        elif (request.route or "/") not in self.settings.public_paths:
            challenge = self.settings.www_authenticate
            headers = {"WWW-Authenticate": challenge} if challenge else None
            raise errors.Unauthenticated(headers=headers)


filter_factory = base.filter_factory(IdentityFilter)
