"""The user behind a request."""

from typing import Any

from imsgate import errors
from imsgate.http.request import Request
from imsgate.jobs.context import WARRANT
from imsgate.model import Identity


def identity(request: Request) -> Identity:
    """The user who sent the request.

    Raises Unauthenticated if no filter has established an identity.
    """
    if request.identity is None:
        raise errors.Unauthenticated
    return request.identity


def sealed_credential(request: Request, rule: str) -> dict[str, Any]:
    """The job argument by which the user can be authorized again, by ``rule``, at the job's end.

    Empty if the authentication filter does not support that. The roles of a service that sent
    the request on behalf of the user are those it has now: they are not established again.
    """
    sealed = request.sealed_credential()
    if sealed is None:
        return {}
    roles = sorted(request.identity.service_roles) if request.identity else []
    return {WARRANT: {"sealed": sealed, "rule": rule, "service_roles": roles}}
