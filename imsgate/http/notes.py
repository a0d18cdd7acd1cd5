"""What the parts of the pipeline note about a request, for the access log."""

import dataclasses

from oslo_context import context

from imsgate import errors
from imsgate.model import Identity


@dataclasses.dataclass(slots=True)
class RequestNotes:
    """``error`` is the last refusal that was rendered; ``image_id`` is as the client sent it."""

    identity: Identity | None = None
    image_id: str | None = None
    error: errors.Error | None = None

    def set_user(self, identity: Identity) -> None:
        """Note the user. From here on, each line that this thread logs names user and project."""
        self.identity = identity
        current = context.get_current()
        if current is not None:
            current.user_id = identity.user_id
            current.project_id = identity.project_id
