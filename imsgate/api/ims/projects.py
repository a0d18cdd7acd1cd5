"""The project in a path, such as ``/v1/{project_id}/jobs/{job_id}``."""

from imsgate import errors
from imsgate.api.requester import identity
from imsgate.http.request import Request
from imsgate.model import Identity

#: What the vendor's SDK sends as project id if its user has not set one.
_UNSET = "{project_id}"


def named(who: Identity, project_id: str) -> str:
    """The project that a path names; the user's own one if the SDK knows none."""
    return (who.project_id if project_id == _UNSET else None) or project_id


def check(request: Request, project_id: str) -> None:
    """Raises NotFound unless a path names the project of the user."""
    who = identity(request)
    if named(who, project_id) != who.project_id:
        raise errors.NotFound(what=f"Project {project_id}")
