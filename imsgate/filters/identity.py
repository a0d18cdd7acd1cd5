"""From what an authentication filter established to one frozen Identity.

::

    [filter:identity]
    use = egg:imsgate#identity

Behind ``tokens``, ``aksk`` or keystonemiddleware's ``authtoken``, whose
``HTTP_X_*`` variables it reads. A request that nobody vouched for is refused
with 401, except on ``public_paths``.
"""

from oslo_config import cfg

from imsgate import errors
from imsgate.auth.identity import identity_of, is_confirmed
from imsgate.filters import base
from imsgate.http.request import IDENTIFY, IDENTITY, REAUTHENTICATE, Request


class IdentityFilter(base.Filter):
    NAME = "identity"
    OPTS = (
        cfg.ListOpt(
            "public_paths",
            default=["/", "/versions"],
            help="Paths answered without authentication, compared whole.",
        ),
        cfg.StrOpt(
            "www_authenticate",
            default='Token realm="imsgate"',
            help="The WWW-Authenticate header of a 401. Empty: none from this filter; "
            "authtoken adds Keystone's.",
        ),
    )

    def check(self, request: Request) -> None:
        environ = request.environ
        if is_confirmed(environ):
            environ[IDENTITY] = identity_of(environ)
            if reauthenticate := environ.get(REAUTHENTICATE):
                environ[IDENTIFY] = lambda: identity_of(reauthenticate())
        elif (request.route or "/") not in self.settings.public_paths:
            how = self.settings.www_authenticate
            raise errors.Unauthenticated(headers={"WWW-Authenticate": how} if how else None)


filter_factory = base.filter_factory(IdentityFilter)
