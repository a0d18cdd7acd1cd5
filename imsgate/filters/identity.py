"""From what an authentication filter established to one frozen Identity.

::

    [filter:identity]
    use = egg:imsgate#identity

Behind ``tokens``, ``aksk`` or keystonemiddleware's ``authtoken``, whose
``HTTP_X_*`` variables it reads. A request that nobody vouched for is refused
with 401, except on ``public_paths``.
"""

from oslo_config import cfg

from imsgate import errors, wsgi
from imsgate.filters import base
from imsgate.model import Identity
from imsgate.wsgi import Request


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
            help="The WWW-Authenticate header of a 401, for example "
            "'Keystone uri=\"https://keystone.example/v3\"'.",
        ),
    )

    def check(self, request: Request) -> None:
        environ = request.environ
        if environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed":
            roles = environ.get("HTTP_X_ROLES", "").split(",")
            environ[wsgi.IDENTITY] = Identity(
                user_id=environ.get("HTTP_X_USER_ID"),
                project_id=environ.get("HTTP_X_PROJECT_ID"),
                # Keystone compares role names without regard to case.
                roles=frozenset(role.strip().lower() for role in roles if role.strip()),
            )
        elif (request.route or "/") not in self.settings.public_paths:
            raise errors.Unauthenticated(
                headers={"WWW-Authenticate": self.settings.www_authenticate}
            )


filter_factory = base.filter_factory(IdentityFilter)
