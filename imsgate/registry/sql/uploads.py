"""Resumable uploads as rows, and the steps by which requests change them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from imsgate import model
from imsgate.errors import AlreadyExists, NotFound
from imsgate.model import Upload, UploadState
from imsgate.registry.sql.tables import UPLOADS

# Built once, since building takes longer than running.
_ONE = sa.select(UPLOADS).where(UPLOADS.c.id == sa.bindparam("upload_id"))
_ONE_LOCKED = _ONE.with_for_update()


def insert(connection: sa.Connection, upload: Upload) -> None:
    fields = {field.name: getattr(upload, field.name) for field in dataclasses.fields(upload)}
    try:
        connection.execute(sa.insert(UPLOADS).values(fields))
    except exc.IntegrityError:
        raise AlreadyExists(what=f"Upload {upload.id}") from None


def get(connection: sa.Connection, upload_id: str) -> Upload:
    return _one(connection, upload_id, _ONE)


def of(connection: sa.Connection, image_id: str) -> Upload | None:
    row = connection.execute(newest(image_id)).mappings().first()
    return None if row is None else Upload(**row)


def newest(image_id: str) -> sa.Select[Any]:
    """The newest upload of an image."""
    age = (UPLOADS.c.created_at.desc(), UPLOADS.c.id.desc())
    return sa.select(UPLOADS).where(UPLOADS.c.image_id == image_id).order_by(*age).limit(1)


def change(
    connection: sa.Connection, upload_id: str, epoch: int, fields: Mapping[str, Any]
) -> Upload:
    """Raises what ``Upload.check_change`` does, and NotFound."""
    # Locked, so that the row that is compared is the one that is changed.
    upload = _one(connection, upload_id, _ONE_LOCKED)
    upload.check_change(epoch, fields)
    to = {"updated_at": model.now(), **fields}
    connection.execute(sa.update(UPLOADS).where(UPLOADS.c.id == upload_id).values(to))
    return dataclasses.replace(upload, **to)


def forget(connection: sa.Connection, before: float) -> int:
    return connection.execute(sa.delete(UPLOADS).where(is_forgotten(before))).rowcount


def is_forgotten(before: float) -> sa.ColumnElement[bool]:
    """Selects the uploads that expired before a time, except those in FINISHING."""
    return sa.and_(UPLOADS.c.expires < before, UPLOADS.c.state != UploadState.FINISHING)


def _one(connection: sa.Connection, upload_id: str, select: sa.Select[Any]) -> Upload:
    row = connection.execute(select, {"upload_id": upload_id}).mappings().first()
    if row is None:
        raise NotFound(what=f"Upload {upload_id}")
    return Upload(**row)
