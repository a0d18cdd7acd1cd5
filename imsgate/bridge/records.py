"""The local record of an image whose data comes in: it exists from the first request with data
until IMS has the image, or the image is deleted.

Its data is staged. It is ``queued`` before its data and after a failure, ``uploading`` while the
data comes in and when it is complete, and ``importing`` while IMS registers it.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from imsgate import errors, model
from imsgate.bridge.remote import Remote
from imsgate.model import DELETED, Identity, Image, Status, Visibility
from imsgate.records.access import Access
from imsgate.registry.base import Registry
from imsgate.registry.changes import version_of

#: A property of local records: which call brings the data. That of FILE is registered as soon as it
#: is complete; that of STAGE when the client asks for the import.
CALL = "os_glance_bridge_call"
FILE, STAGE = "file", "stage"

#: The policy rules of requests that bring data.
_DATA_RULES = frozenset({"modify_image", "upload_image"})
#: The format that IMS shows if none was declared. It is detected then.
_UNDECLARED = "zvhd2"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BridgedAccess(Access):
    """Who may bring data for which image. IMS decides who sees it, the policy who may upload."""

    remote: Remote

    def image(self, who: Identity, image_id: str, rule: str = "get_image") -> Image:
        """The local record, deleted or not; one that is not recorded if there is none.

        Raises NoImageUpstream, Forbidden, WrongStatus if IMS has other data for the image, and what
        ``Remote.image`` raises.
        """
        shown = self.remote.image(who.project_id, image_id)
        image = recalled(self.registry, image_id)
        if image is None:
            image = _new(who, image_id, shown)
        if rule in _DATA_RULES:
            self._check_owner(who, shown)
            if image.status not in (Status.IMPORTING, *DELETED):
                _require_queued(image_id, shown)
        self.check_image(who, rule, dataclasses.replace(image, owner=who.project_id))
        return image

    def prepare(self, who: Identity, image_id: str, call: str) -> None:
        """Record the image before its data comes in. ``call`` is FILE or STAGE.

        Raises what ``image`` raises.
        """
        shown = self.remote.image(who.project_id, image_id)
        self._check_owner(who, shown)
        image, fields = recalled(self.registry, image_id), _described(who, shown)
        properties = {CALL: call}
        if image is None:
            _require_queued(image_id, shown)
            new = dataclasses.replace(_new(who, image_id, shown), properties=properties)
            with contextlib.suppress(errors.AlreadyExists):  # another request was faster
                self.registry.add(new)
        elif image.status == Status.QUEUED:
            self.registry.change(image.id, version_of(image), None, **fields, properties=properties)

    def _check_owner(self, who: Identity, shown: Mapping[str, Any]) -> None:
        """Raises Forbidden for an image that the project only sees: IMS would refuse its data in
        the end."""
        project, owner = self.remote.project(who.project_id), shown.get("owner")
        if project is not None and owner is not None and owner != project:
            raise errors.Forbidden(action="upload data to an image of another project")


def recalled(registry: Registry, image_id: str) -> Image | None:
    """The local record of an image, deleted or not, if there is one."""
    try:
        return registry.recall(image_id.lower())
    except errors.NotFound:
        return None


def _require_queued(image_id: str, shown: Mapping[str, Any]) -> None:
    if shown["status"] != Status.QUEUED:
        raise errors.WrongStatus(image_id=image_id, status=shown["status"], needed=Status.QUEUED)


def _described(who: Identity, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the local record that come from the one of IMS."""
    disk_format = shown.get("disk_format")
    return {
        "owner": who.project_id,
        "name": shown.get("name"),
        "disk_format": None if disk_format == _UNDECLARED else disk_format,
        "container_format": shown.get("container_format") or "bare",
    }


def _new(who: Identity, image_id: str, shown: Mapping[str, Any]) -> Image:
    now = model.now()
    return Image(
        id=image_id.lower(),
        visibility=Visibility.PRIVATE,
        created_at=now,
        updated_at=now,
        **_described(who, shown),
    )
