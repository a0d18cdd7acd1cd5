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
from imsgate.filters import base
from imsgate.http.request import IDENTIFY, IDENTITY, REAUTHENTICATE, Request
from imsgate.http.wsgi import Environ
from imsgate.model import Identity


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
        if environ.get("HTTP_X_IDENTITY_STATUS") == "Confirmed":
            environ[IDENTITY] = established(environ)
            if voucher := environ.get(REAUTHENTICATE):
                environ[IDENTIFY] = lambda: established(voucher())
        elif (request.route or "/") not in self.settings.public_paths:
            how = self.settings.www_authenticate
            raise errors.Unauthenticated(headers={"WWW-Authenticate": how} if how else None)


def established(environ: Environ) -> Identity:
    """The identity that an authentication filter's variables describe."""
    return Identity(
        user_id=environ.get("HTTP_X_USER_ID"),
        project_id=environ.get("HTTP_X_PROJECT_ID"),
        roles=_roles(environ.get("HTTP_X_ROLES")),
        domain_id=environ.get("HTTP_X_DOMAIN_ID"),
        user_domain_id=environ.get("HTTP_X_USER_DOMAIN_ID"),
        project_domain_id=environ.get("HTTP_X_PROJECT_DOMAIN_ID"),
        system_scope=environ.get("HTTP_OPENSTACK_SYSTEM_SCOPE"),
        is_admin_project=environ.get("HTTP_X_IS_ADMIN_PROJECT", "true").lower() == "true",
        service_roles=_roles(environ.get("HTTP_X_SERVICE_ROLES")),
    )


def _roles(text: str | None) -> frozenset[str]:
    # Keystone compares role names without regard to case.
    return frozenset(role.strip().lower() for role in (text or "").split(",") if role.strip())


filter_factory = base.filter_factory(IdentityFilter)
