"""The project in a path, such as ``/v1/{project_id}/jobs/{job_id}``."""

from imsgate.model import Identity

#: What the SDK has there when it was given no project.
_NOT_GIVEN = "{project_id}"


def named(who: Identity, project_id: str) -> str:
    """The project that a path names: the asker's own where none was given."""
    return (who.project_id if project_id == _NOT_GIVEN else None) or project_id
