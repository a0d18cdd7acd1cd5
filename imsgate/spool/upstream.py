"""The images of upstream, in the place of those of a gateway with records of its own."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from imsgate import errors, hashing, model
from imsgate.api.deployment import Deployment
from imsgate.forward.application import Forward
from imsgate.forward.client import Reply
from imsgate.forward.fields import Fields
from imsgate.model import Identity, Image, Status
from imsgate.records.access import Access
from imsgate.records.records import Records
from imsgate.registry.idempotency import Outcome
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores

#: The owner of all records here, so that a quota limits what all uploads occupy together.
OWNER = "spool"

#: The fields of a record that say which format the data must have.
DECLARING = ("disk_format", "container_format")
#: A record as upstream shows it.
Record = Mapping[str, Any]

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def recorded_digests(record: Record) -> dict[str, str]:
    """The digests of the record, by algorithm, that can be computed here."""
    return hashing.recorded(*map(record.get, hashing.DIGEST_FIELDS))


class UpstreamImages:
    """What upstream says and does for the sender of one request, or of the one that started a
    job."""

    def __init__(self, forward: Forward, sender: Fields) -> None:
        self._forward = forward
        self._sender = sender
        self._records: dict[str, Record] = {}

    def anew(self) -> "UpstreamImages":
        """The same, without what was read before."""
        return UpstreamImages(self._forward, self._sender)

    def record(self, image_id: str) -> Record:
        """The record as it was when this was called first.

        Raises NotFound, UpstreamRefused and UpstreamFailed.
        """
        if image_id not in self._records:
            self._records[image_id] = self._read(image_id)
        return self._records[image_id]

    def _read(self, image_id: str) -> Record:
        missing = errors.NotFound(what=f"Image {image_id}")
        if not _ID.fullmatch(image_id):
            raise missing
        reply = self._call("GET", f"/v2/images/{image_id}")
        if reply.status == 404:
            raise missing
        check_success(reply)
        return reply.document()

    def create(self, fields: Mapping[str, Any]) -> str:
        """Create a record, and return its id. Raises UpstreamRefused and UpstreamFailed."""
        reply = self._call("POST", "/v2/images", fields)
        check_success(reply)
        image_id = str(reply.document().get("id"))
        if not _ID.fullmatch(image_id):
            raise errors.UpstreamFailed(problem="sent an invalid record")
        return image_id

    def delete(self, image_id: str) -> None:
        """Raises UpstreamRefused and UpstreamFailed."""
        check_success(self._call("DELETE", f"/v2/images/{image_id}"))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        return self._forward.client.call(method, path, sender=self._sender, body=body)


def check_success(reply: Reply) -> None:
    """Raises UpstreamFailed for a status that may be over later, Unauthenticated for 401, and
    UpstreamRefused for all others from 300 on."""
    status = reply.status
    if status < 300:
        return
    if status == 401:
        raise errors.Unauthenticated
    if status >= 500 or status in (408, 429):
        raise errors.UpstreamFailed(problem=f"answered {status}")
    raise errors.UpstreamRefused(status=status, problem=_words(reply.body))


def _words(content: bytes) -> str:
    """What a response says, without tags, and not too long."""
    text = content.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        text = str(json.loads(text).get("message", text))
    text = re.sub(r"<(title|head)\b.*?</\1>|<[^>]*>", " ", text[:4096], flags=re.S | re.I)
    return " ".join(text.split())[:500] or "no reason is given"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAccess(Access):
    """Upstream decides who may see an image, and at the end whether data may be uploaded."""

    images: UpstreamImages

    def image(self, who: Identity, image_id: str, rule: str = "get_image") -> Image:
        """The record here, which is created for an upload. Raises what ``record`` raises."""
        shown, image_id = self.images.record(image_id), image_id.lower()
        try:
            image = self.registry.get(image_id)
        except errors.NotFound:
            if rule == "get_image":
                raise errors.NotFound(what=f"An upload of image {image_id}") from None
            image = self._added(image_id)
        formats = {name: shown.get(name) for name in DECLARING}
        is_same = all(getattr(image, name) == value for name, value in formats.items())
        if rule == "get_image" or image.status is not Status.QUEUED or is_same:
            return image
        return self.registry.change(image_id, {"status": Status.QUEUED}, **formats)

    def _added(self, image_id: str) -> Image:
        now = model.now()
        with contextlib.suppress(errors.AlreadyExists):  # another request was faster
            self.registry.add(Image(id=image_id, owner=OWNER, created_at=now, updated_at=now))
        return self.registry.get(image_id)

    def owns(self, who: Identity, image: Image) -> bool:
        owner = self.images.record(image.id).get("owner")
        return owner is not None and owner == who.project_id


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRecords(Records):
    """Creates images at upstream, and removes them."""

    images: UpstreamImages

    def add(
        self,
        who: Identity,
        fields: Mapping[str, Any],
        outcome: Callable[[Image], Outcome | None] = lambda image: None,
    ) -> Image:
        now = model.now()
        return Image(id=self.images.create(fields), created_at=now, updated_at=now)

    def discard(self, image_id: str) -> None:
        self.images.delete(image_id)


class _Upstream:
    """Upstream in the place of the image's store: it cannot keep a part of an upload.

    ``name`` is the store there that the client names; empty for upstream's default one.
    """

    read_only = False

    def __init__(self, name: str) -> None:
        self.name = name


class UpstreamStores(Stores):
    """The stores of upstream, which are not known here."""

    def __init__(self) -> None:
        super().__init__([], "")

    def target(self, store_id: str | None) -> Store:
        return cast(Store, _Upstream(store_id or ""))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamDeployment(Deployment):
    """Upstream decides about everything but its image's status."""

    images: UpstreamImages

    def check_formats(self, image: Image) -> None:
        """Raises WrongStatus unless upstream waits for the image's data."""
        status = self.images.record(image.id).get("status")
        if status != Status.QUEUED:
            raise errors.WrongStatus(image_id=image.id, status=status, needed=Status.QUEUED)
