"""What IMS shows of an image, with what only this service knows of the data that comes in."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from imsgate.bridge.records import CALL, FILE
from imsgate.jobs.progress import FAILED, MESSAGE
from imsgate.model import Image, Status
from imsgate.profiles import STATUSES

#: Statuses in IMS of an image whose data may be here.
_WITHOUT_DATA = frozenset({Status.QUEUED, Status.SAVING, Status.KILLED})
_FAILURE = (FAILED, MESSAGE)

#: The local record of an image by its id, if there is one.
Find = Callable[[str], Image | None]


def overlaid(content: bytes, find: Find, *, vendor: bool) -> bytes | None:
    """An image, or a list of images, as the client is to see it; None if nothing is different.

    ``vendor`` says whether the client speaks IMS, which has fewer statuses than Glance.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    listed = document.get("images")
    images = listed if isinstance(listed, list) else [document]
    changes = [(image, _changes(image, find, vendor=vendor)) for image in images]
    if not any(change for _, change in changes):
        return None
    for image, change in changes:
        image.update(change)
    return json.dumps(document).encode()


def _changes(shown: Any, find: Find, *, vendor: bool) -> Mapping[str, str]:
    if not isinstance(shown, dict) or shown.get("status") not in _WITHOUT_DATA:
        return {}
    image = find(str(shown.get("id")))
    if image is None:
        return {}
    failure = {name: image.properties[name] for name in _FAILURE if image.properties.get(name)}
    status = _status(image)
    if status is None or shown["status"] == Status.KILLED:
        return failure
    return {**failure, "status": STATUSES.get(status, status) if vendor else status}


def _status(image: Image) -> str | None:
    """The status that the local record gives to an image without data in IMS."""
    if image.status == Status.KILLED:  # what an upload has left is being removed
        return str(Status.SAVING)
    if image.status not in (Status.UPLOADING, Status.IMPORTING):
        return None
    # As in IMS after an upload, until it is active.
    return str(Status.SAVING if image.properties.get(CALL) == FILE else image.status)
