"""The steps that add and change image records, each within the caller's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import Image, Limits, Status
from imsgate.quotas import limits
from imsgate.registry.base import sets_updated_at
from imsgate.registry.outbox import Recorder, is_shown
from imsgate.registry.sql import messages, rows, totals
from imsgate.registry.sql.lists import Clause
from imsgate.registry.sql.tables import IMAGES


def add(
    connection: sa.Connection,
    image: Image,
    within: Limits | None,
    recorder: Recorder | None = None,
) -> None:
    try:
        rows.insert(connection, image)
    except exc.IntegrityError:
        raise AlreadyExists(what=f"Image {image.id}") from None
    _check_limits(connection, within, None, image)
    if recorder is not None:
        messages.add(connection, recorder, recorder.image(None, image))


def change(
    connection: sa.Connection,
    image_id: str,
    was: Mapping[str, Any],
    within: Limits | None,
    to: Mapping[str, Any],
    recorder: Recorder | None = None,
) -> Image:
    """What ``Registry.change`` promises."""
    columns = rows.columns(to)
    if sets_updated_at(to):
        columns["updated_at"] = model.now()
    recorder = recorder if is_shown(to) else None
    before = _locked(connection, image_id) if within or recorder else None
    # Also true for two NULLs, for which "=" never is.
    unchanged = [IMAGES.c[field].is_not_distinct_from(value) for field, value in was.items()]
    step = sa.update(IMAGES).where(has_id(image_id), *unchanged, *_may_become(to))
    if connection.execute(step.values(columns or {"id": image_id})).rowcount == 0:
        raise _refusal(connection, image_id, unchanged, to)
    (image,) = rows.read(connection, sa.select(IMAGES).where(has_id(image_id)))
    image = rows.replace(connection, image, to)
    _check_limits(connection, within, before, image)
    if recorder is not None:
        messages.add(connection, recorder, recorder.image(before, image))
    return image


def has_id(image_id: str) -> Clause:
    return IMAGES.c.id == image_id


def _may_become(to: Mapping[str, Any]) -> list[Clause]:
    """Selects images in a status from which the new one may follow.

    It belongs into the UPDATE, so that the status stored at that moment is compared.
    """
    if "status" not in to:
        return []
    before = [status for status in Status if model.may_become(status, to["status"])]
    return [IMAGES.c.status.in_(before)]


def _refusal(
    connection: sa.Connection, image_id: str, unchanged: Sequence[Clause], to: Mapping[str, Any]
) -> Conflict | NotFound:
    """Why an UPDATE found no row. Raises ValueError for an illegal change of status."""
    recorded = sa.select(IMAGES.c.status).where(has_id(image_id))
    # Locked, since the row may have changed after the UPDATE: what is stored now is judged.
    status = connection.scalar(recorded.where(*unchanged).with_for_update())
    if status is not None:
        model.check_transition(image_id, status, to.get("status", status))
    elif connection.scalar(recorded) is None:
        return NotFound(what=f"Image {image_id}")
    return Conflict(problem=f"Image {image_id} was changed by another request")


def _locked(connection: sa.Connection, image_id: str) -> Image | None:
    """The record, which nobody else can change before this transaction ends."""
    images = rows.read(connection, sa.select(IMAGES).where(has_id(image_id)).with_for_update())
    return images[0] if images else None


def _check_limits(
    connection: sa.Connection, within: Limits | None, before: Image | None, after: Image
) -> None:
    if within and (deltas := limits.grown(within, before, after)):
        limits.check(within, deltas, totals.usage(connection, within.project, deltas))
