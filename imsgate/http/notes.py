"""What the parts of the pipeline note about a request, for the access log and the metrics."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from oslo_context import context

from imsgate import errors
from imsgate.model import Identity


class Finished(NamedTuple):
    """How a response ended: its status code ("-" if none was sent), the bytes of its body that were
    sent, and the seconds since the request came."""

    status: str
    sent: int
    seconds: float


@dataclasses.dataclass(slots=True)
class RequestNotes:
    """``route`` is the template of the path (``/v2/images/{image_id}``), ``image_id`` is as the
    client sent it, ``error`` is the last refusal that was rendered, and ``trace_id`` is that of
    W3C Trace Context. ``faults`` calls ``on_finish`` when the response is complete."""

    identity: Identity | None = None
    route: str | None = None
    image_id: str | None = None
    error: errors.Error | None = None
    trace_id: str | None = None
    on_finish: Callable[[Finished], None] | None = None

    def set_user(self, identity: Identity) -> None:
        """Note the user. From here on, each line that this thread logs names user and project."""
        self.identity = identity
        current = context.get_current()
        if current is not None:
            current.user_id = identity.user_id
            current.project_id = identity.project_id
