"""The schema, and column types that behave the same on every database.

Migrations use these types, too: a type must not create other columns without a migration.
"""

import datetime
import enum
import hashlib
import json
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from imsgate.model import JobState, MemberStatus, Status, UploadState, Visibility

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
        # Unlike "utf8mb4_bin", these compare trailing spaces. mysql:// may be either server.
        return "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return None  # SQLite compares bytes already


def _mysql() -> Any:
    """SQLAlchemy's types of MySQL. Imported late: with other databases, nobody needs them."""
    from sqlalchemy.dialects import mysql  # noqa: PLC0415

    return mysql


class Exact(sa.types.TypeDecorator[str]):
    """Text compared and sorted by code point: case and trailing spaces count.

    Without a length the text is unlimited and cannot be indexed.
    """

    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        length, collation = self.impl_instance.length, _exact_collation(dialect)  # type: ignore[attr-defined]
        if length:
            return sa.String(length, collation)
        if dialect.name in ("mysql", "mariadb"):
            return _mysql().MEDIUMTEXT(collation=collation)  # TEXT ends at 64 KiB
        return sa.Text(collation=collation)


class Word(Exact):
    """One word of an enumeration. A query may compare it with other words, too."""

    cache_ok = True

    def __init__(self, length: int, words: type[enum.StrEnum] = enum.StrEnum) -> None:
        """Without ``words``, columns can be created but not read, as in migrations."""
        super().__init__(length)
        self.words = words
        self._by_text = {str(word): word for word in words}

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)  # some drivers write an enum's name

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else self._by_text.get(value) or self.words(value)


class Moment(sa.types.TypeDecorator[datetime.datetime]):
    """A time with a time zone, stored in UTC without it, to the microsecond."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        if dialect.name in ("mysql", "mariadb"):
            return _mysql().DATETIME(fsp=6)
        return sa.DateTime()

    def process_bind_param(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone")
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class Document(sa.types.TypeDecorator[Any]):
    """A JSON object, stored as text, since the JSON types of databases differ."""

    impl = Exact
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        return json.dumps(dict(value), ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return MappingProxyType(json.loads(value or "{}"))


class Bytes(sa.types.TypeDecorator[bytes]):
    """Up to 16 MiB of binary data."""

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        if dialect.name in ("mysql", "mariadb"):
            return _mysql().MEDIUMBLOB()  # BLOB ends at 64 KiB
        return sa.LargeBinary()


#: A number that the database increments. SQLite does so for one integer type only.
Position = sa.BigInteger().with_variant(sa.Integer, "sqlite")


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
    sa.Column("checksum", Exact(32)),
    sa.Column("os_hash_algo", Exact(64)),
    sa.Column("os_hash_value", Exact(128)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("upload_store", Exact(255)),
    sa.Column("upload_key", Exact(255)),
    # Not Float, which has 32 bits on MariaDB: too few for the seconds of a lease.
    sa.Column("upload_expires", sa.Double, index=True),
    sa.Column("upload_reserved", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("uploaded_by", Exact(64)),
    sa.Column("uploaded_at", sa.Double),
    sa.Column("upload_received", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("upload_started", sa.Double),
    # Whether the status is not in model.DELETED. Deleted records stay and become the majority,
    # so every index for lists begins with this column or has it next.
    sa.Column("alive", sa.Boolean, nullable=False, server_default="1"),
    # One for each sort key of a whole list, and one for each set of images that a user sees.
    sa.Index(None, "alive", "id"),
    sa.Index(None, "alive", "created_at", "id"),
    sa.Index(None, "alive", "updated_at", "created_at", "id"),
    sa.Index(None, "alive", "name", "created_at", "id"),
    sa.Index(None, "owner", "alive", "created_at", "id"),
    sa.Index(None, "visibility", "alive", "created_at", "id"),
    # The same for attributes that few images may have; see registry.candidates.
    *(
        sa.Index(None, "alive", name, "created_at", "id")
        for name in ("status", "size", "disk_format", "container_format")
    ),
    *(
        sa.Index(None, "alive", name, "id")
        for name in (
            *("virtual_size", "min_disk", "min_ram", "protected", "os_hidden"),
            *("checksum", "os_hash_value"),
        )
    ),
)


def _image_id() -> sa.Column[str]:
    return sa.Column("image_id", Exact(36), sa.ForeignKey(IMAGES.c.id), primary_key=True)


PROPERTIES = sa.Table(
    "image_properties",
    METADATA,
    _image_id(),
    sa.Column("name", Exact(255), primary_key=True),
    sa.Column("value", Exact, nullable=False),
    # property_pair of name and value: databases cannot index values of any length.
    sa.Column("pair", Exact(64)),
    sa.Index(None, "pair", "image_id"),
)


def property_pair(name: str, value: str) -> str:
    """The text by which properties with this name and value are found: 64 hexadecimal digits.

    Names and values contain no NUL.
    """
    return hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()


TAGS = sa.Table(
    "image_tags",
    METADATA,
    _image_id(),
    sa.Column("tag", Exact(255), primary_key=True),
    sa.Index(None, "tag", "image_id"),
)

LOCATIONS = sa.Table(
    "image_locations",
    METADATA,
    _image_id(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("store", Exact(255), nullable=False),
    sa.Column("url", Exact, nullable=False),
    # Location.place, which keeps two images from having the same location: databases cannot
    # index URLs of any length. NULL where two images shared one before this column existed.
    sa.Column("place", Exact(64), unique=True, index=True),
    # When the copy was written or last checked, in seconds since the epoch; 0 if that is unknown.
    sa.Column("checked_at", sa.Double, nullable=False, server_default="0"),
    # What the last check found, a word of model.Damage.
    sa.Column("damage", Exact(30), index=True),
    sa.Index(None, "checked_at", "image_id", "position"),
)

#: Projects with limits: a row to lock for each, and nothing else. Their usage is summed over
#: their images, so that it always agrees with them.
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

#: Requests with an Idempotency-Key: see ``registry.idempotency.Entry``. Those without a status
#: have no answer yet.
KEYS = sa.Table(
    "idempotency_keys",
    METADATA,
    sa.Column("id", Exact(64), primary_key=True),
    sa.Column("fingerprint", Exact(64), nullable=False),
    sa.Column("holder", Exact(32), nullable=False),
    sa.Column("lease", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
    sa.Column("status", sa.Integer),
    sa.Column("headers", Document, nullable=False),
    sa.Column("body", Bytes),
)

UPLOADS = sa.Table(
    "uploads",
    METADATA,
    sa.Column("id", Exact(36), primary_key=True),
    sa.Column("image_id", Exact(36), sa.ForeignKey(IMAGES.c.id), nullable=False),
    sa.Column("user", Exact(255)),
    sa.Column("project", Exact(255)),
    sa.Column("staged", sa.Boolean, nullable=False),
    sa.Column("store", Exact(255), nullable=False),
    sa.Column("key", Exact(255), nullable=False),
    sa.Column("target", Exact(255)),
    sa.Column("planned_size", sa.BigInteger),
    sa.Column("length", sa.BigInteger),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("writing", sa.Boolean, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("state", Word(10, UploadState), nullable=False),
    sa.Column("digest", Exact),
    sa.Column("metadata", Exact),
    # No foreign key: ended jobs are forgotten.
    sa.Column("job_id", Exact(36)),
    sa.Column("reason", Exact),
    sa.Column("expires", sa.Double, nullable=False, index=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index(None, "image_id", "created_at", "id"),
)

#: Events that wait until they are sent: see ``registry.outbox``.
OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("position", Position, primary_key=True),
    sa.Column("target", Exact(64), nullable=False),
    sa.Column("id", Exact(36), nullable=False),
    sa.Column("body", Document, nullable=False),
    sa.Column("recorded", sa.Double, nullable=False, index=True),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Index(None, "target", "position"),
)

#: Whose turn it is to send to a target. There is a row once something was to be sent.
TURNS = sa.Table(
    "outbox_turns",
    METADATA,
    sa.Column("target", Exact(64), primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
)

#: The modes that the whole service is in: see ``registry.maintenance``.
MAINTENANCE = sa.Table(
    "maintenance",
    METADATA,
    sa.Column("mode", Exact(64), primary_key=True),
    sa.Column("since", Moment, nullable=False),
)
