"""Image records: created, listed, changed and deleted, for every dialect alike."""

import dataclasses
import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imsgate import errors, model
from imsgate.model import UNFINISHED, Identity, Image, Location, Status
from imsgate.quotas.quota import Quotas
from imsgate.records import limits
from imsgate.records import operations as record_operations
from imsgate.records.access import Access
from imsgate.records.attributes import SETTABLE, check_tag
from imsgate.records.operations import Operation, stored_value
from imsgate.records.pages import Fitting, Page
from imsgate.records.protections import UNPROTECTED, Protections
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import Condition, Op, Query, Registry
from imsgate.registry.changes import read_decide_write, version_of
from imsgate.registry.idempotency import Outcome
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.upload import NO_UPLOAD

LOG = logging.getLogger(__name__)

#: Images read at a time when all images of a project are needed. One has up to 128 KiB of
#: properties.
_BATCH_IMAGES = 100

#: The fields of a record that a request changes; none if nothing is to be written. Raises to
#: refuse the request.
Decide = Callable[[Image], dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The image records. Each method decides whether the user may do what it does.

    Methods raise NotFound for an image that the user may not see, Forbidden for what it may not
    do with one, and Unavailable.
    """

    registry: Registry
    access: Access
    cleanup: Cleanup
    resumable: ResumableUploads
    quotas: Quotas
    settings: ApiSettings
    protections: Protections = UNPROTECTED

    # Reading

    def get(self, who: Identity, image_id: str, rule: str = "get_image") -> Image:
        """The image, if the policy rule ``rule`` allows ``who`` to use it."""
        return self.access.image(who, image_id, rule)

    def page(
        self,
        who: Identity,
        query: Callable[..., Query],
        marker: str | None,
        size: Callable[[Image], int] = lambda image: 0,
    ) -> Page:
        """The images that a query selects, starting behind the image ``marker``.

        ``size`` returns the bytes that an image takes on the page, which ends before it exceeds
        ``page_bytes_max``; it is called once for each image. ``query`` is called with
        ``admin`` (whether ``who`` is an administrator) and ``maximum`` (images on a page) once it
        is certain that ``who`` may list images. Raises BadQuery if there is no such marker, and
        what ``query`` raises.
        """
        self.access.check_list(who)
        selection = query(admin=self.access.is_admin(who), maximum=self.settings.api_limit_max)
        if marker is not None:
            selection = dataclasses.replace(selection, marker=self._marker(who, marker))
        if not all(
            map(functools.partial(self.protections.permits, who, "read"), selection.properties)
        ):
            return Page([], None)  # a filter tells nothing of a property that is not shown
        fitting = Fitting(size, self.settings.page_bytes_max)
        images = self.registry.list(selection, lambda images: fitting.count(images) < len(images))
        count = fitting.count(images)
        has_more = bool(images) and (count < len(images) or count == selection.limit)
        images = images[:count]
        return Page(self.access.visible(who, images), images[-1].shown_id if has_more else None)

    def _marker(self, who: Identity, image_id: str) -> Image:
        try:
            return self.access.marker(who, image_id)
        except errors.NotFound as error:
            raise errors.BadQuery(parameter="marker", problem="no such image") from error

    def own(self, who: Identity) -> Iterator[Image]:
        """Every image of the requesting project. Raises Forbidden before the first one."""
        self.access.check(who, "get_images", {"project_id": who.project_id}, "list")
        conditions = [Condition("owner", Op.EQ, who.project_id)]
        query = Query(viewer=who.project_id, conditions=conditions, limit=_BATCH_IMAGES)
        while images := self.registry.list(query):
            yield from images
            query = dataclasses.replace(query, marker=images[-1])

    def usage(self, project: str) -> dict[str, dict[str, int]]:
        """The limits and the usage of a project, by the names of Glance's quotas."""
        return self.quotas.report(project, self.registry.usage(project))

    def holds_data_at(self, location: Location) -> bool:
        """Whether any image has its data at this location."""
        return self.registry.holds(location)

    # Creating

    def add(
        self,
        who: Identity,
        fields: Mapping[str, Any],
        outcome: Callable[[Image], Outcome | None] = lambda image: None,
    ) -> Image:
        """Create a record from attributes and custom properties of valid form.

        ``outcome`` returns what ends the request's claim, if it has one. Raises QuotaExceeded,
        OverLimit, AlreadyExists for an id that was used before, and KeyInUse.
        """
        image = self.new(who, fields)
        self.registry.add(image, self.quotas.of(image.owner), outcome(image))
        return image

    def new(self, who: Identity, fields: Mapping[str, Any]) -> Image:
        """The record that ``add`` would create, without creating it. Raises QuotaExceeded."""
        image = _new_image(fields, who.project_id)
        self.access.check_new(who, image)
        self.protections.check_new(who, image.properties)
        self._check_counts(image.properties, image.tags)
        _check_tags(image.tags)
        limits.check_property_bytes(image.properties)
        return image

    # Changing

    def change(self, who: Identity, image_id: str, rule: str, decide: Decide) -> Image:
        """Read the record, call ``decide`` and write its fields; again if others interfered.

        The time of the last change is compared, so that of two simultaneous requests neither
        undoes the other. Raises Conflict if others keep changing the record.
        """

        def write(image: Image, fields: Mapping[str, Any]) -> Image:
            if not fields:
                return image
            # A new owner's usage grows by the image.
            owner = self.quotas.of(fields["owner"]) if "owner" in fields else None
            return self.registry.change(image.id, version_of(image), owner, **fields)

        return read_decide_write(lambda: self.get(who, image_id, rule), decide, write)

    def apply(
        self,
        who: Identity,
        image_id: str,
        operations: list[Operation],
        check: Callable[[Image], object] = lambda image: None,
    ) -> Image:
        """Change attributes and properties by operations of valid form.

        ``check`` raises to refuse the image. Raises what ``operations.apply`` raises,
        QuotaExceeded and Conflict.
        """

        permits = self.protections.of(who)

        def decide(image: Image) -> dict[str, Any]:
            check(image)
            fields = record_operations.apply(image, operations, permits)
            self._check_change(who, image, fields)
            return fields

        return self.change(who, image_id, "modify_image", decide)

    def _check_change(self, who: Identity, image: Image, fields: Mapping[str, Any]) -> None:
        """Raises Forbidden and QuotaExceeded."""
        if "visibility" in fields:
            self.access.check_visibility(who, image, fields["visibility"])
        gives_away = "owner" in fields and fields["owner"] != image.owner
        if gives_away and not self.access.is_admin(who):
            raise errors.Forbidden(action="change the owner of an image")
        self._check_counts(
            fields.get("properties", image.properties), fields.get("tags", image.tags)
        )
        limits.check_property_bytes(fields.get("properties", {}))
        _check_tags(fields.get("tags", image.tags) - image.tags)

    def _check_counts(self, properties: Mapping[str, str], tags: frozenset[str]) -> None:
        limits.check_properties(properties, self.settings)
        limits.check_tags(tags, self.settings)

    def add_tag(self, who: Identity, image_id: str, tag: str) -> None:
        """Add a tag of valid form; nothing changes if the image has it. Raises QuotaExceeded."""

        def decide(image: Image) -> dict[str, Any]:
            tags = image.tags | {tag}
            self._check_counts(image.properties, tags)
            _check_tags(tags - image.tags)
            return {} if tag in image.tags else {"tags": tags}

        self.change(who, image_id, "modify_image", decide)

    def remove_tag(self, who: Identity, image_id: str, tag: str) -> None:
        """Remove a tag. Raises NotFound if the image does not have it."""

        def decide(image: Image) -> dict[str, Any]:
            if tag not in image.tags:
                raise errors.NotFound(what=f"Tag {tag} of image {image.shown_id}")
            return {"tags": image.tags - {tag}}

        self.change(who, image_id, "modify_image", decide)

    def change_tags(
        self,
        who: Identity,
        image_id: str,
        tags_of: Callable[[frozenset[str]], frozenset[str]],
    ) -> None:
        """Replace the image's tags by what ``tags_of`` makes of them.

        Raises TagQuotaExceeded if there are too many, and more than before.
        """

        def decide(image: Image) -> dict[str, Any]:
            tags = tags_of(image.tags)
            if len(tags) > len(image.tags):
                limits.check_tags(tags, self.settings)
            _check_tags(tags - image.tags)
            return {} if tags == image.tags else {"tags": tags}

        self.change(who, image_id, "modify_image", decide)

    def deactivate(self, who: Identity, image_id: str) -> None:
        """Stop downloads. Raises Forbidden for an image without data."""
        decide = functools.partial(_toggle, "deactivate", Status.ACTIVE, Status.DEACTIVATED)
        self.change(who, image_id, "deactivate", decide)

    def reactivate(self, who: Identity, image_id: str) -> None:
        """Allow downloads again. Raises Forbidden for an image without data."""
        decide = functools.partial(_toggle, "reactivate", Status.DEACTIVATED, Status.ACTIVE)
        self.change(who, image_id, "reactivate", decide)

    # Deleting

    def delete(self, who: Identity, image_id: str) -> Image:
        """Delete the image and its data; return its record. Raises Protected."""

        def decide(image: Image) -> dict[str, Any]:
            if image.protected:
                raise errors.Protected(image_id=image.shown_id)
            # A copy that is being removed at present is still one of the locations.
            return {"status": Status.PENDING_DELETE, **(NO_UPLOAD if image.copies else {})}

        image = self.change(who, image_id, "delete_image", decide)
        self._erase(image)
        return image

    def discard(self, image_id: str) -> None:
        """Delete an image whose id no client has received.

        Raises NotFound if its job has deleted it already, and Conflict if the job has just
        changed its status.
        """
        was = {"status": self.registry.get(image_id).status}
        fields = {"status": Status.PENDING_DELETE, **NO_UPLOAD}
        self._erase(self.registry.change(image_id, was, **fields))

    def remove(self, image_id: str) -> None:
        """Delete an image and its data, because another service has deleted its record.

        Raises NotFound, and Conflict if its status has just changed.
        """
        was = {"status": self.registry.get(image_id.lower()).status}
        self._erase(self.registry.change(image_id.lower(), was, status=Status.PENDING_DELETE))

    def _erase(self, image: Image) -> None:
        self.registry.cancel_jobs(image.id)
        if image.upload_key is not None:
            self.resumable.cancel_of(image, "the image was deleted")
        try:
            self.cleanup.erase(image)
        except (errors.StoreUnavailable, errors.Conflict) as error:
            # No client sees the image any more; the next sweep tries the store again.
            LOG.warning("The data of image %s could not be deleted yet: %s", image.id, error)

    def delete_copy(self, who: Identity, image_id: str, store_id: str) -> None:
        """Delete the copy of an image's data in one store; a copy that cannot be deleted stays.

        Raises UnknownStore, StoreUnavailable, WrongStatus for an image that is not active,
        Conflict while a job uses the image, and Forbidden for its only copy and its only copy that
        is not damaged.
        """
        image = self.get(who, image_id, "delete_image_location")
        self.cleanup.stores.choose(store_id)
        image.require(Status.ACTIVE)
        # A job may be making another copy of this one.
        if any(job.state in UNFINISHED for job in self.registry.jobs_of(image.id)):
            raise errors.Conflict(
                problem=f"A job is working on image {image.shown_id}; try again later"
            )
        copies = [copy for copy in image.copies if copy.store == store_id]
        if not copies:
            raise errors.NotFound(what=f"Image {image.shown_id} in store {store_id}")
        copy = max(copies, key=lambda copy: copy.damage is not None)
        others = [other for other in image.copies if other != copy]
        if len(copies) == len(image.copies):
            raise errors.Forbidden(action="delete the only copy; delete the image instead")
        if copy.damage is None and all(other.damage for other in others):
            raise errors.Forbidden(action="delete the only copy that is not damaged")
        self.cleanup.remove_copy(image, copy)


def _new_image(fields: Mapping[str, Any], project: str | None) -> Image:
    attributes = {
        name: stored_value(name, value) for name, value in fields.items() if name in SETTABLE
    }
    properties = {
        name: value for name, value in fields.items() if name not in SETTABLE and name != "id"
    }
    now = model.now()
    given = fields.get("id", str(uuid.uuid4()))
    if given != given.lower():
        properties[model.GIVEN_ID] = given
    return Image(
        id=given.lower(),
        created_at=now,
        updated_at=now,
        properties=properties,
        **{"owner": project, **attributes},
    )


def _check_tags(tags: frozenset[str]) -> None:
    """Raises BadJson for tags that no path can name."""
    for tag in sorted(tags):
        check_tag(tag)


def _toggle(action: str, was: Status, to: Status, image: Image) -> dict[str, Any]:
    if image.status not in (was, to):
        raise errors.Forbidden(action=f"{action} an image in status {image.status}")
    return {} if image.status == to else {"status": to}
