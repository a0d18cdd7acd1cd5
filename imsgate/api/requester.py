"""The user behind a request."""

from imsgate import errors
from imsgate.http.request import Request
from imsgate.jobs.arguments import SealedCredential
from imsgate.model import Identity


def identity(request: Request) -> Identity:
    """The user who sent the request.

    Raises Unauthenticated if no filter has established an identity.
    """
    if request.identity is None:
        raise errors.Unauthenticated
    return request.identity


def sealed_credential(request: Request, rule: str) -> SealedCredential | None:
    """What a job stores to authorize the user again, by ``rule``, at its end.

    None if the authentication filter does not support that. The roles of a service that sent
    the request on behalf of the user are those it has now: they are not established again.
    """
    sealed = request.sealed_credential()
    if sealed is None:
        return None
    return SealedCredential(sealed=sealed, rule=rule, service_roles=identity(request).service_roles)
