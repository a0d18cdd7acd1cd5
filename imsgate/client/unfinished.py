"""What became of the unfinished uploads of this user, and how to discard one."""

import contextlib
import dataclasses
from typing import Any

from imsgate.client.connection import Connection
from imsgate.client.failures import Failure, TransferInterrupted
from imsgate.client.image import ImageRecords, path_of
from imsgate.client.state import Journal, UnfinishedUpload


@dataclasses.dataclass(frozen=True, kw_only=True)
class UploadView:
    """One upload. ``received`` is in bytes, and ``expires_at`` a time in ISO 8601; both are None
    if they are not known."""

    image_id: str
    path: str
    endpoint: str
    size: int
    state: str
    received: int | None = None
    expires_at: str | None = None


def look(entry: UnfinishedUpload, connection: Connection) -> UploadView:
    """Ask the server about an upload, without disturbing it."""
    known: dict[str, Any] = {
        "image_id": entry.image_id,
        "path": entry.path,
        "endpoint": entry.endpoint,
        "size": entry.size,
    }
    if entry.endpoint != connection.endpoint:
        return UploadView(**known, state="of another service")
    path = path_of(entry.image_id, "/upload")
    try:
        response = connection.call("GET", path, expected=range(200, 500))
    except TransferInterrupted:
        return UploadView(**known, state="not reachable")
    if response.status_code != 200:
        return UploadView(**known, state="not begun")
    view = response.json()
    return UploadView(
        **known,
        state=str(view.get("state")),
        received=view.get("received"),
        expires_at=view.get("expires_at"),
    )


def cancel(image_id: str, journal: Journal, connection: Connection) -> None:
    """End an upload: nothing is left of its data, nor of an image that was created for it.

    Raises Failure.
    """
    entry = journal.get(image_id)
    if entry is None:
        raise Failure(f"no unfinished upload of image {image_id} is known; see: imsgate uploads")
    if entry.endpoint != connection.endpoint:
        raise Failure(f"that upload is to {entry.endpoint}; name its cloud with --cloud")
    connection.call("DELETE", path_of(image_id, "/upload"), expected=(200, 204, 404, 405, 410))
    if entry.created:
        images = ImageRecords(connection)
        record = images.show(image_id)
        if record is not None and record["status"] == "queued":
            images.delete(image_id)
    with contextlib.suppress(FileNotFoundError):
        journal.remove(image_id)
