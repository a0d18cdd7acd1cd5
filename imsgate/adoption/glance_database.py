"""The images in a Glance database. Nothing is ever written to it.

The tables are those of Glance 17 (Rocky) and later, which are older than ``os_hidden`` and the
``os_hash_*`` columns: see ``glance/db/sqlalchemy/models.py``.
"""

import contextlib
import dataclasses
import datetime
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from imsgate.errors import BadConfig
from imsgate.registry.sql.database import without_secrets

#: What a BadConfig of this module names.
KEY = "--connection"

#: Images per statement.
PAGE_IMAGES = 500

_BOOLEANS = frozenset({"deleted", "protected", "os_hidden"})
_TIMES = frozenset({"created_at", "updated_at", "deleted_at"})


def _table(name: str, columns: str) -> sa.TableClause:
    def kind(column: str) -> sa.types.TypeEngine[Any]:
        if column in _BOOLEANS:
            return sa.Boolean()
        return sa.DateTime() if column in _TIMES else sa.types.NullType()

    return sa.table(name, *(sa.column(column, kind(column)) for column in columns.split()))


IMAGES = _table(
    "images",
    "id name disk_format container_format size virtual_size status visibility checksum "
    "os_hash_algo os_hash_value min_disk min_ram owner protected os_hidden created_at updated_at "
    "deleted_at deleted",
)
PROPERTIES = _table("image_properties", "id image_id name value deleted")
TAGS = _table("image_tags", "id image_id value deleted")
LOCATIONS = _table("image_locations", "id image_id value meta_data status deleted")
MEMBERS = _table("image_members", "id image_id member status created_at updated_at deleted")

_CHILDREN = (PROPERTIES, TAGS, LOCATIONS, MEMBERS)

Row = sa.RowMapping


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceLocation:
    """Where Glance has a copy: its URL, which may contain credentials, and Glance's store id."""

    url: str
    store: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """An image as Glance's tables have it: ``row`` is that of ``images``."""

    row: Row
    properties: Mapping[str, str]
    tags: frozenset[str]
    locations: Sequence[GlanceLocation]
    members: Sequence[Row]

    @property
    def deleted(self) -> bool:
        return bool(self.row["deleted"])


class GlanceDatabase:
    """A Glance database, open for reading."""

    def __init__(self, connection: str) -> None:
        """``connection`` is a SQLAlchemy URL, as in ``[database] connection`` of Glance.

        Raises BadConfig if the database cannot be read or is not Glance's.
        """
        try:
            self._url = sa.make_url(connection)
        except (exc.ArgumentError, ValueError):
            raise BadConfig(KEY, "this is not a SQLAlchemy URL") from None
        self._engine = _engine(self._url)
        try:
            with self._reading() as reader:
                _check_tables(reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def pages(self) -> Iterator[list[GlanceImage]]:
        """All images in the order of their ids, deleted ones included.

        Each page is one snapshot. Raises BadConfig if the database fails.
        """
        last = ""
        while True:
            with self._reading() as reader:
                select = sa.select(IMAGES).where(IMAGES.c.id > last).order_by(IMAGES.c.id)
                rows = reader.execute(select.limit(PAGE_IMAGES)).mappings().all()
                if not rows:
                    return
                last = rows[-1]["id"]
                page = _images(reader, rows)
            yield page

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise BadConfig(KEY, without_secrets(self._url, cause)) from None


def _engine(url: sa.URL) -> sa.Engine:
    """Connections whose sessions can only read."""
    kind = url.get_backend_name()
    if kind == "sqlite" and not os.path.exists(url.database or ""):
        raise BadConfig(KEY, f"there is no file {url.database}")  # SQLite would create it
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            **({} if kind == "sqlite" else {"isolation_level": "REPEATABLE READ"}),
        )
    except (exc.ArgumentError, ImportError) as error:
        problem = f"no driver for {url.drivername!r}: {without_secrets(url, error)}"
        raise BadConfig(KEY, problem) from None
    if kind == "postgresql":
        return engine.execution_options(postgresql_readonly=True)
    statement = "PRAGMA query_only=ON" if kind == "sqlite" else "SET SESSION TRANSACTION READ ONLY"

    @event.listens_for(engine, "connect")
    def forbid_writing(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(statement)

    return engine


def _check_tables(reader: sa.Connection) -> None:
    """Raises BadConfig if the database lacks a column that this module reads."""
    inspector = sa.inspect(reader)
    for table in (IMAGES, *_CHILDREN):
        try:
            present = {column["name"] for column in inspector.get_columns(table.name)}
        except exc.NoSuchTableError:
            present = set()
        missing = sorted(set(table.c.keys()) - present)
        if missing:
            problem = f"this is not the database of Glance 17 or later: {table.name} has no column "
            raise BadConfig(KEY, problem + ", ".join(missing))


def _images(reader: sa.Connection, rows: Sequence[Row]) -> list[GlanceImage]:
    """The images of these rows. What Glance has deleted of them is left out."""
    ids = [row["id"] for row in rows if not row["deleted"]]
    children = {table.name: _children(reader, table, ids) for table in _CHILDREN}

    def of(table: sa.TableClause, row: Row) -> list[Row]:
        return children[table.name][row["id"]]

    return [
        GlanceImage(
            row=row,
            properties={each["name"]: each["value"] or "" for each in of(PROPERTIES, row)},
            tags=frozenset(each["value"] for each in of(TAGS, row)),
            locations=[_location(each) for each in of(LOCATIONS, row)],
            members=of(MEMBERS, row),
        )
        for row in rows
    ]


def _children(
    reader: sa.Connection, table: sa.TableClause, ids: Sequence[str]
) -> defaultdict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    if ids:
        columns = table.c
        select = sa.select(table).where(columns.image_id.in_(ids), columns.deleted.is_(sa.false()))
        if table is LOCATIONS:
            select = select.where(columns.status == "active")
        for row in reader.execute(select.order_by(columns.id)).mappings():
            found[row["image_id"]].append(row)
    return found


def _location(row: Row) -> GlanceLocation:
    metadata = json.loads(row["meta_data"] or "{}") or {}
    # "backend" was its name in Glance 17 to 19.
    return GlanceLocation(row["value"], metadata.get("store") or metadata.get("backend"))


def moment(value: datetime.datetime) -> datetime.datetime:
    """A time of Glance's, which are in UTC."""
    return value.replace(tzinfo=datetime.UTC)
