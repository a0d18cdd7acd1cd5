"""Ids of images in the paths and bodies of IMS."""

import uuid

from imsgate.errors import BadAttribute


def checked(image_id: str) -> str:
    """The id. Raises BadAttribute with the vendor's code for an invalid one unless it is a UUID."""
    try:
        is_uuid = str(uuid.UUID(image_id)) == image_id.lower()
    except ValueError:
        is_uuid = False
    if not is_uuid:
        raise BadAttribute("IMG.0066", problem=f"{image_id[:100]!r} is not the id of an image")
    return image_id
