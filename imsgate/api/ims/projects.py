"""The project in a path, such as ``/v1/{project_id}/jobs/{job_id}``."""

from imsgate.model import Identity

#: What the vendor's SDK sends as project id if its user has not set one.
_UNSET = "{project_id}"


def named(who: Identity, project_id: str) -> str:
    """The project that a path names; the user's own one if the SDK knows none."""
    return (who.project_id if project_id == _UNSET else None) or project_id
