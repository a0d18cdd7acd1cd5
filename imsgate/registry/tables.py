"""The schema, and column types that mean the same on every database.

Migrations use these types too: what they make must not change without one.
"""

import datetime
import enum
import json
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from imsgate.model import JobState, MemberStatus, Status, Visibility

METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _exact_collation(dialect: sa.Dialect) -> str | None:
    if dialect.name == "postgresql":
        return "C"
    if dialect.name in ("mysql", "mariadb"):
        # "utf8mb4_bin" ignores trailing spaces; these do not. mysql:// may lead to either server.
        return "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return None  # SQLite compares bytes already


class Exact(sa.types.TypeDecorator[str]):
    """Text compared and sorted by code point: case and trailing spaces count.

    Without a length it is unlimited text, which cannot be indexed.
    """

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        length, collation = self.impl_instance.length, _exact_collation(dialect)  # type: ignore[attr-defined]
        if length:
            return sa.String(length, collation)
        if dialect.name in ("mysql", "mariadb"):
            return mysql.MEDIUMTEXT(collation=collation)  # TEXT ends at 64 KiB
        return sa.Text(collation=collation)


class Word(Exact):
    """One word of an enumeration; words it does not have can be asked for but not read."""

    cache_ok = True

    def __init__(self, length: int, words: type[enum.StrEnum] = enum.StrEnum) -> None:
        """``words`` may be left out where nothing is read, as in migrations."""
        super().__init__(length)
        self.words = words
        self._by_text = {str(word): word for word in words}

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)  # some drivers write an enum's name

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else self._by_text.get(value) or self.words(value)


class Moment(sa.types.TypeDecorator[datetime.datetime]):
    """An aware time, kept as naive UTC to the microsecond."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        if dialect.name in ("mysql", "mariadb"):
            return mysql.DATETIME(fsp=6)
        return sa.DateTime()

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without its zone is no time")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class Document(sa.types.TypeDecorator[Any]):
    """What JSON can say, kept as text: databases disagree on their own JSON types."""

    impl = Exact
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        return json.dumps(dict(value), ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return MappingProxyType(json.loads(value or "{}"))


IMAGES = sa.Table(
    "images",
    METADATA,
    sa.Column("id", Exact(36), primary_key=True),
    sa.Column("owner", Exact(255)),
    sa.Column("name", Exact(255)),
    sa.Column("status", Word(30, Status), nullable=False, index=True),
    sa.Column("visibility", Word(30, Visibility), nullable=False),
    sa.Column("disk_format", Exact(20)),
    sa.Column("container_format", Exact(20)),
    sa.Column("min_disk", sa.BigInteger, nullable=False),
    sa.Column("min_ram", sa.BigInteger, nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("os_hidden", sa.Boolean, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", Exact(32), index=True),
    sa.Column("os_hash_algo", Exact(64)),
    sa.Column("os_hash_value", Exact(128), index=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("upload_store", Exact(255)),
    sa.Column("upload_key", Exact(255)),
    # Float would be 32 bits on MariaDB, where a lease loses its seconds.
    sa.Column("upload_expires", sa.Double, index=True),
    sa.Column("upload_reserved", sa.BigInteger, nullable=False, server_default="0"),
    # Whether the status is none of GONE. Deleted records stay, and come to be most of them:
    # no list should have to step over them.
    sa.Column("alive", sa.Boolean, nullable=False, server_default="1"),
    # One per sort key that a whole list is ordered by, and one per way to see an image.
    sa.Index(None, "alive", "created_at", "id"),
    sa.Index(None, "alive", "updated_at", "created_at", "id"),
    sa.Index(None, "alive", "name", "created_at", "id"),
    sa.Index(None, "owner", "alive", "created_at", "id"),
    sa.Index(None, "visibility", "alive", "created_at", "id"),
)


def _image_id() -> sa.Column[str]:
    return sa.Column("image_id", Exact(36), sa.ForeignKey(IMAGES.c.id), primary_key=True)


PROPERTIES = sa.Table(
    "image_properties",
    METADATA,
    _image_id(),
    sa.Column("name", Exact(255), primary_key=True, index=True),
    sa.Column("value", Exact, nullable=False),
)

TAGS = sa.Table(
    "image_tags",
    METADATA,
    _image_id(),
    sa.Column("tag", Exact(255), primary_key=True, index=True),
)

LOCATIONS = sa.Table(
    "image_locations",
    METADATA,
    _image_id(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("store", Exact(255), nullable=False),
    sa.Column("url", Exact, nullable=False),
    # What keeps two images from one place, as ``Location.place`` says it: no database makes an
    # index of URLs of any length. NULL where two images had one before there was this column.
    sa.Column("place", Exact(64), unique=True, index=True),
)


#: Projects that have limits: a row to lock for each, nothing else. What they use is the
#: sum over their images, so that it cannot come apart from them.
PROJECTS = sa.Table("projects", METADATA, sa.Column("id", Exact(255), primary_key=True))

MEMBERS = sa.Table(
    "image_members",
    METADATA,
    _image_id(),
    sa.Column("member_id", Exact(255), primary_key=True, index=True),
    sa.Column("status", Word(30, MemberStatus), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("id", Exact(36), primary_key=True),
    sa.Column("kind", Exact(64), nullable=False),
    sa.Column("project", Exact(255)),
    sa.Column("image_id", Exact(36), sa.ForeignKey(IMAGES.c.id)),
    sa.Column("arguments", Document, nullable=False),
    sa.Column("state", Word(10, JobState), nullable=False),
    sa.Column("progress", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger),
    sa.Column("cancelled", sa.Boolean, nullable=False),
    sa.Column("error_code", Exact(64)),
    sa.Column("reason", Exact),
    sa.Column("lease", sa.Double),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("begin_at", Moment),
    sa.Column("end_at", Moment, index=True),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "state", "created_at", "id"),
    sa.Index(None, "project", "created_at", "id"),
    sa.Index(None, "image_id", "created_at", "id"),
)
