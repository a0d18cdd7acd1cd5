"""Identities in WSGI environs, under the variable names that keystonemiddleware uses.

An authentication filter writes the variables. ``identity`` turns them into an
:class:`~imsgate.model.Identity`.
"""

import re
from collections.abc import Sequence

from imsgate.http.wsgi import Environ
from imsgate.model import Identity

# Every variable keystonemiddleware sets, with and without its service prefix. WSGI spells
# X-Roles and X_Roles alike, so this covers the variants with underscores too. X-Auth-Token and
# X-Service-Token are missing here because clients send them.
_IDENTITY_VARIABLE = re.compile(
    r"HTTP_(X|OPENSTACK)_(SERVICE_)?"
    r"(IDENTITY_STATUS|SYSTEM_SCOPE|ROLES?|CATALOG|IS_ADMIN_PROJECT|TOKEN_INFO|TRUST_ID|"
    r"(USER|PROJECT|TENANT|DOMAIN)(_DOMAIN)?(_(ID|NAME))?)|"
    r"HTTP_X_SERVICE_CATALOG|REMOTE_USER|HTTP_REMOTE_USER"
)

_STATUS = "HTTP_X_IDENTITY_STATUS"

#: Each role implies the next one, as in a Keystone set up by ``keystone-manage bootstrap``.
_IMPLIED_ROLES = (("admin", "manager"), ("manager", "member"), ("member", "reader"))


def remove_variables(environ: Environ) -> Environ:
    """Remove all identity variables from ``environ`` and return them."""
    return {key: environ.pop(key) for key in list(environ) if _IDENTITY_VARIABLE.fullmatch(key)}


def confirmed_variables(user: str, project: str, roles: Sequence[str]) -> Environ:
    """The variables of an authenticated user in a project. Implied roles are added."""
    all_roles = list(roles)
    for role, implied in _IMPLIED_ROLES:
        if role in all_roles and implied not in all_roles:
            all_roles.append(implied)
    return {
        _STATUS: "Confirmed",
        "HTTP_X_USER_ID": user,
        "HTTP_X_PROJECT_ID": project,
        "HTTP_X_ROLES": ",".join(all_roles),
    }


def mark_unauthenticated(environ: Environ) -> None:
    """Leave the decision about a request without valid credentials to a later filter."""
    environ[_STATUS] = "Invalid"


def is_confirmed(environ: Environ) -> bool:
    """Whether an authentication filter has authenticated this request."""
    return bool(environ.get(_STATUS) == "Confirmed")


def identity_of(environ: Environ) -> Identity:
    """The identity that the variables describe. The caller checks :func:`is_confirmed`."""
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
