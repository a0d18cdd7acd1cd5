"""The variables by which an authentication filter says who asks, named by keystonemiddleware."""

import re
from collections.abc import Sequence

from imsgate.http.wsgi import Environ

# Every name keystonemiddleware sets, with and without its service prefix. WSGI
# spells X-Roles and X_Roles alike, so the underscore variants fall here too.
# X-Auth-Token and X-Service-Token are what a client may send.
_IDENTITY = re.compile(
    r"HTTP_(X|OPENSTACK)_(SERVICE_)?"
    r"(IDENTITY_STATUS|SYSTEM_SCOPE|ROLES?|CATALOG|IS_ADMIN_PROJECT|TOKEN_INFO|TRUST_ID|"
    r"(USER|PROJECT|TENANT|DOMAIN)(_DOMAIN)?(_(ID|NAME))?)|"
    r"HTTP_X_SERVICE_CATALOG|REMOTE_USER|HTTP_REMOTE_USER"
)

#: The roles that these imply, in a Keystone that was bootstrapped.
_IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))


def remove(environ: Environ) -> Environ:
    """Take out every one of them; return what was taken out."""
    return {key: environ.pop(key) for key in list(environ) if _IDENTITY.fullmatch(key)}


def confirmed(user: str, project: str, roles: Sequence[str]) -> Environ:
    """Those of a user in a project, roles that are implied included."""
    found = list(roles)
    for role, implied in _IMPLIED:
        if role in found and implied not in found:
            found.append(implied)
    return {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": user,
        "HTTP_X_PROJECT_ID": project,
        "HTTP_X_ROLES": ",".join(found),
    }
