"""The user of a request."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user of a request, as an authentication filter established it.

    ``imsgate.auth.policy`` decides what the user may do. ``service_roles`` are the roles of a
    service that sends the request for the user. ``domain_id`` and ``system_scope`` are set for
    a Keystone token that is scoped to a domain or to the system.
    """

    user_id: str | None = None
    project_id: str | None = None
    roles: frozenset[str] = frozenset()
    domain_id: str | None = None
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    system_scope: str | None = None
    is_admin_project: bool = True
    service_roles: frozenset[str] = frozenset()
