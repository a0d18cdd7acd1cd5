"""Events as Glance sends them: their types, when they are sent, and the members of their payloads.

Source: ``glance/notifier.py`` and ``doc/source/admin/notifications.rst`` of Glance.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from imsgate import model
from imsgate.jobs import tasks
from imsgate.jobs.progress import FAILED, IMPORTING
from imsgate.model import (
    DELETED,
    GIVEN_ID,
    READABLE,
    Identity,
    Image,
    Job,
    JobState,
    Member,
    Status,
)
from imsgate.notifications.target import TRACE
from imsgate.registry.outbox import Event
from imsgate.telemetry import trace_context

#: An event type and its payload: a text for an error, otherwise members.
_Sent: TypeAlias = tuple[str, Mapping[str, Any] | str]

_INFO, _ERROR = "INFO", "ERROR"

_RECEIVING = frozenset({Status.SAVING, Status.IMPORTING})

_TASK_EVENTS = {JobState.SUCCESS: "task.success", JobState.FAIL: "task.failure"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The recorder of a registry: see ``imsgate.registry.outbox.Recorder``.

    ``disabled`` are event types and groups of them.
    """

    targets: tuple[str, ...]
    publisher_id: str
    disabled: frozenset[str] = frozenset()

    def image(self, before: Image | None, after: Image) -> Iterable[Event]:
        return self._enabled(_image_events(before, after))

    def member(self, action: str, member: Member, image: Image) -> Iterable[Event]:
        deletion = _deletion() if action == "delete" else {}
        payload = {**_member_payload(member, image), **deletion}
        return self._enabled([(f"image.member.{action}", payload)])

    def job(self, before: JobState | None, after: Job) -> Iterable[Event]:
        return self._enabled((name, _task_payload(after)) for name in _task_events(before, after))

    def sent(self, who: Identity, image: Image, sent: int, expected: int) -> Iterable[Event]:
        """The event of a download that ended after ``sent`` bytes of ``expected``."""
        payload = {
            "bytes_sent": sent,
            "image_id": image.shown_id,
            "owner_id": image.owner,
            "receiver_tenant_id": who.project_id,
            "receiver_user_id": who.user_id,
        }
        priority = _INFO if sent == expected else _ERROR
        return self._enabled([("image.send", payload)], priority)

    def _enabled(self, events: Iterable[_Sent], priority: str = _INFO) -> Iterator[Event]:
        for name, payload in events:
            if self._is_enabled(name):
                urgency = _ERROR if isinstance(payload, str) else priority
                yield self._event(name, payload, urgency)

    def _is_enabled(self, name: str) -> bool:
        parts = name.split(".")
        return self.disabled.isdisjoint(
            ".".join(parts[:count]) for count in range(1, len(parts) + 1)
        )

    def _event(self, name: str, payload: Mapping[str, Any] | str, priority: str) -> Event:
        trace = trace_context.headers()
        return Event(
            body={
                "publisher_id": self.publisher_id,
                "event_type": name,
                "priority": priority,
                "payload": payload,
                # As oslo.messaging writes it: UTC without a time zone.
                "timestamp": str(model.now().replace(tzinfo=None)),
                **({TRACE: trace} if trace else {}),
            }
        )


def _image_events(before: Image | None, after: Image) -> Iterator[_Sent]:
    """What Glance sends in the course of the request that makes this change, in its order."""
    payload = _image_payload(after)
    was_receiving = before is not None and _is_receiving(before)
    if before is None:
        yield "image.create", payload
    elif before.status in DELETED:
        return
    elif after.status not in DELETED and _count_copies(after) > _count_copies(before):
        yield "image.upload", {**payload, **_import_payload(after)}
        if before.status not in READABLE:
            yield "image.activate", payload
    elif was_receiving and not _is_receiving(after):
        yield "image.upload", f"Failed to upload image data for image {after.shown_id}"
    if before is not None and after.status in DELETED:
        # For clients it is deleted at once. Glance's status is "pending_delete" only if an
        # operator has enabled its delayed deletion.
        yield "image.delete", {**payload, "status": Status.DELETED, **_deletion()}
    elif before is not None and payload != _image_payload(before):
        yield "image.update", payload
    if _is_receiving(after) and not was_receiving:
        yield "image.prepare", {**payload, **_import_payload(after), **_backend(after)}


def _is_receiving(image: Image) -> bool:
    """Whether data comes into the image's stores; staged data does not count, as in Glance."""
    is_copied = image.status in READABLE and bool(image.properties.get(IMPORTING))
    return image.status in _RECEIVING or is_copied


def _count_copies(image: Image) -> int:
    return len(image.locations) if image.status in READABLE else 0


def _image_payload(image: Image) -> dict[str, Any]:
    """Without locations, because they may contain credentials."""
    properties = {name: text for name, text in image.properties.items() if name != GIVEN_ID}
    return {
        "id": image.shown_id,
        "name": image.name,
        "status": image.status,
        "created_at": model.isotime(image.created_at),
        "updated_at": model.isotime(image.updated_at),
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "checksum": image.checksum,
        "owner": image.owner,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "is_public": image.visibility == "public",
        "visibility": image.visibility,
        "properties": properties,
        "tags": sorted(image.tags),
        "deleted": False,
        "deleted_at": None,
    }


def _import_payload(image: Image) -> dict[str, list[str]]:
    """The stores that an import still has to fill, and those that it could not fill."""
    stores = {name: image.properties.get(name, "") for name in (IMPORTING, FAILED)}
    return {name: text.split(",") if text else [] for name, text in stores.items()}


def _backend(image: Image) -> dict[str, str]:
    return {} if image.upload_store is None else {"backend": image.upload_store}


def _deletion() -> dict[str, Any]:
    return {"deleted": True, "deleted_at": model.isotime(model.now())}


def _member_payload(member: Member, image: Image) -> dict[str, Any]:
    return {
        "image_id": image.shown_id,
        "member_id": member.member_id,
        "status": member.status,
        "created_at": model.isotime(member.created_at),
        "updated_at": model.isotime(member.updated_at),
        "deleted": False,
        "deleted_at": None,
    }


def _task_events(before: JobState | None, after: Job) -> Iterator[str]:
    if before is None:
        yield "task.create"
    elif before == JobState.INIT and after.state == JobState.RUNNING:
        yield "task.processing"
        yield "task.run"
    elif before != after.state and after.state in _TASK_EVENTS:
        yield _TASK_EVENTS[after.state]


def _task_payload(job: Job) -> dict[str, Any]:
    """Without the input, which may contain secrets. ``result`` and ``message`` are always None."""
    return {
        "id": job.id,
        "type": tasks.TYPES.get(job.kind, job.kind),
        "status": tasks.STATUSES[job.state],
        "result": None,
        "owner": job.project,
        "message": None,
        "expires_at": None,
        "created_at": model.isotime(job.created_at),
        "updated_at": model.isotime(job.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
