"""Any number of records, written by the database server itself: for tests and for benchmarks.

``FEW`` images are in each set that a user sees or that a sweep looks for, however many there are
in all. All others belong to other projects, or are deleted.
"""

import dataclasses
import datetime
import hashlib
import uuid
from collections.abc import Mapping, Set
from typing import Any

import sqlalchemy as sa

from imsgate.model import (
    DELETED,
    Damage,
    Image,
    JobState,
    MemberStatus,
    Status,
    UploadState,
    Visibility,
)
from imsgate.registry.sql.tables import (
    IMAGES,
    JOBS,
    LOCATIONS,
    MEMBERS,
    PROPERTIES,
    TAGS,
    UPLOADS,
)
from imsgate.testing.records import START, image

#: Images of each special kind.
FEW = 33
#: Special kinds of images. They differ by project, visibility, status or lease.
_SPECIAL = 25
_ME, _PUBLIC, _FRIEND, _ABANDONED, _GOING = range(5)
_GONE, _LEASED = range(5, 20), range(20, 25)
#: Of all other images, which differ by the last digit of their number.
_DIGITS = range(_SPECIAL, _SPECIAL + 10)

_OWNERS = {_ME: "me", _FRIEND: "friend", **dict.fromkeys(_GONE, "me")}
_VISIBILITIES = {
    _PUBLIC: Visibility.PUBLIC,
    **dict.fromkeys((_FRIEND, _DIGITS[4], _DIGITS[5]), Visibility.SHARED),
    **dict.fromkeys((*_LEASED, _DIGITS[6]), Visibility.COMMUNITY),
}
_STATUSES = {
    _ABANDONED: Status.SAVING,
    _GOING: Status.PENDING_DELETE,
    **dict.fromkeys((*_GONE, *_DIGITS[:4]), Status.DELETED),
}
_LEASES = {_ABANDONED: 1.0, **dict.fromkeys(_LEASED, 2e9)}

#: Parts of equal length in the order of creation.
_ERAS = 20
#: Images that follow one another in the order of creation.
_PLACE = 100

_Expression = sa.ColumnElement[Any]


@dataclasses.dataclass(frozen=True)
class Crowd:
    """``count``, a power of ten of at least 1000, of images; as many jobs and uploads, but at most
    10 000. Image number 0 is the oldest."""

    count: int
    projects: int = 97

    @property
    def others(self) -> int:
        """The number of jobs and of uploads."""
        return min(self.count, 10_000)

    @property
    def _period(self) -> int:
        return self.count // FEW

    def image(self, number: int) -> Image:
        """The image without its properties, tags and locations."""
        place = number % self._period
        kind = place if place < _SPECIAL else _SPECIAL + number % 10
        moment = START + datetime.timedelta(seconds=number)
        return image(
            id=image_id(number),
            name=f"name-{number * 7919 % self.count}",
            owner=_OWNERS.get(kind, f"project-{number % self.projects}"),
            visibility=_VISIBILITIES.get(kind, Visibility.PRIVATE),
            status=_STATUSES.get(kind, Status.ACTIVE),
            upload_expires=_LEASES.get(kind),
            size=number,
            disk_format="raw",
            container_format="bare",
            created_at=moment,
            updated_at=moment,
        )

    def properties(self, number: int) -> Mapping[str, str]:
        era = number * _ERAS // self.count
        return {"os_type": "linux", "place": str(number // _PLACE), "era": str(era)}

    def tags(self, number: int) -> Set[str]:
        return {"all", f"place-{number // _PLACE}", f"parity-{number % 2}"}

    def fill(self, connection: sa.Connection) -> None:
        """Insert the records into empty tables of PostgreSQL or MariaDB."""
        server = _SERVERS[connection.dialect.name]
        connection.exec_driver_sql(server.WITHOUT_CHECKS)
        for table, columns, condition in (
            *self._images(server),
            *self._children(server),
            *self._work(server),
        ):
            count = self.others if table in (JOBS, UPLOADS) else self.count
            names, values = zip(*columns.items(), strict=True)
            select = sa.select(*values).select_from(_numbers(count)).where(condition)
            connection.execute(sa.insert(table).from_select(names, select))
        connection.exec_driver_sql(server.WITH_CHECKS)

    def _images(self, server: "_Server") -> Any:
        kind, moment = self._kind(), server.after(_NUMBER)
        statuses = {kind: status not in DELETED for kind, status in _STATUSES.items()}
        yield (
            IMAGES,
            {
                "id": server.image_id(_NUMBER),
                "name": _text("name-", _NUMBER * 7919 % self.count),
                "owner": _case(kind, _OWNERS, _text("project-", _NUMBER % self.projects)),
                "visibility": _case(kind, _VISIBILITIES, Visibility.PRIVATE),
                "status": _case(kind, _STATUSES, Status.ACTIVE),
                "alive": _case(kind, statuses, True),
                "upload_expires": _case(kind, _LEASES, sa.null()),
                "size": _NUMBER,
                "disk_format": sa.literal("raw"),
                "container_format": sa.literal("bare"),
                "created_at": moment,
                "updated_at": moment,
                "min_disk": sa.literal(0),
                "min_ram": sa.literal(0),
                "protected": sa.false(),
                "os_hidden": sa.false(),
            },
            sa.true(),
        )

    def _kind(self) -> _Expression:
        place = _NUMBER % self._period
        return sa.case((place < _SPECIAL, place), else_=_SPECIAL + _NUMBER % 10)

    def _children(self, server: "_Server") -> Any:
        its_image = {"image_id": server.image_id(_NUMBER)}
        place = _text("", _NUMBER // _PLACE)
        for name, value in {
            "os_type": sa.literal("linux"),
            "place": place,
            "era": _text("", _NUMBER * _ERAS // self.count),
        }.items():
            pair = server.sha256(sa.literal(name), value)
            columns = {"name": sa.literal(name), "value": value, "pair": pair}
            yield PROPERTIES, its_image | columns, sa.true()
        for tag in (
            sa.literal("all"),
            _text("place-", _NUMBER // _PLACE),
            _text("parity-", _NUMBER % 2),
        ):
            yield TAGS, {**its_image, "tag": tag}, sa.true()
        kind = self._kind()
        active = [each for each in range(_SPECIAL + 10) if each not in _STATUSES]
        yield (
            LOCATIONS,
            {
                **its_image,
                "position": sa.literal(0),
                "store": sa.literal("fast"),
                "url": its_image["image_id"],
                "place": server.sha256(sa.literal("fast"), its_image["image_id"]),
                # Few were checked long ago, and few are damaged.
                "checked_at": sa.case((kind == _ME, 1e3), else_=1e6 + _NUMBER),
                "damage": sa.case((kind == _PUBLIC, str(Damage.SIZE)), else_=sa.null()),
            },
            kind.in_(active),
        )
        member = {"status": sa.literal(str(MemberStatus.ACCEPTED)), **_times(server)}
        member["member_id"] = sa.case((kind == _FRIEND, "me"), else_="you")
        yield MEMBERS, {**its_image, **member}, kind.in_([_FRIEND, _DIGITS[4], _DIGITS[5]])

    def _work(self, server: "_Server") -> Any:
        """Jobs: three wait, three are being done, three were abandoned; all others ended before.

        Uploads: one for each image; ten expired, of which five are being verified.
        """
        their_id, left = server.image_id(_NUMBER), self.others - _NUMBER
        state = sa.case(
            (left > 9, str(JobState.SUCCESS)),
            (left > 6, str(JobState.INIT)),
            else_=str(JobState.RUNNING),
        )
        yield (
            JOBS,
            {
                "id": their_id,
                "kind": sa.literal("test"),
                "arguments": sa.literal("{}"),
                "state": state,
                "progress": sa.literal(0),
                "cancelled": sa.false(),
                "lease": sa.case((left > 6, sa.null()), (left > 3, 3.0), else_=1.0),
                "epoch": sa.literal(0),
                **_times(server),
            },
            sa.true(),
        )
        finishing = sa.case(
            (_NUMBER % 2 == 1, str(UploadState.FINISHING)), else_=str(UploadState.OPEN)
        )
        yield (
            UPLOADS,
            {
                "id": their_id,
                "image_id": their_id,
                "staged": sa.false(),
                "store": sa.literal("fast"),
                "key": sa.literal("attempt-1"),
                "offset": sa.literal(0),
                "writing": sa.false(),
                "epoch": sa.literal(0),
                "state": finishing,
                "expires": sa.case((_NUMBER < 10, 1.0), else_=3.0),
                **_times(server),
            },
            sa.true(),
        )


def image_id(number: int) -> str:
    """Ids in no order, as those of real images."""
    return str(uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()))


_NUMBER: _Expression = sa.column("number", sa.BigInteger)


def _numbers(count: int) -> sa.Subquery:
    """A column of the numbers below a power of ten."""
    digits = sa.union_all(
        *(sa.select(sa.literal_column(str(digit)).label("digit")) for digit in range(10))
    ).cte("digits")
    places = [digits.alias(f"place_{power}") for power in range(len(str(count - 1)))]
    number = sum(place.c.digit * 10**power for power, place in enumerate(places))
    first, *others = places
    # Always true. SQLAlchemy warns of tables that no condition joins.
    conditions = [place.c.digit < first.c.digit + 10 for place in others]
    select = sa.select(sa.cast(number, sa.BigInteger).label("number")).where(*conditions)
    return select.subquery("numbers")


def _text(prefix: str, number: _Expression) -> _Expression:
    return sa.func.concat(sa.literal(prefix), number)


def _case(kind: _Expression, values: Mapping[int, Any], default: Any) -> _Expression:
    """The value for a kind. Drivers would write the name of a member of an enumeration."""
    plain = {
        each: str(value) if isinstance(value, str) else value for each, value in values.items()
    }
    return sa.case(plain, value=kind, else_=str(default) if isinstance(default, str) else default)


def _times(server: "_Server") -> dict[str, _Expression]:
    return {name: server.after(_NUMBER) for name in ("created_at", "updated_at")}


class _Server:
    """What the servers express differently."""

    #: Foreign keys take most of the time, and these are right.
    WITHOUT_CHECKS: str
    WITH_CHECKS: str

    def image_id(self, number: _Expression) -> _Expression:
        digest = sa.func.md5(sa.cast(number, sa.String(20)))
        parts = [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]
        texts = [sa.func.substr(digest, *part) for part in parts]
        return sa.func.concat_ws(sa.literal("-"), *texts)

    def sha256(self, first: _Expression, second: _Expression) -> _Expression:
        """The digest of both with NUL between them, as in ``property_pair``."""
        raise NotImplementedError

    def after(self, seconds: _Expression) -> _Expression:
        """The time so many seconds after START."""
        raise NotImplementedError


_START = sa.literal(START.replace(tzinfo=None), sa.DateTime)


class _Postgresql(_Server):
    WITHOUT_CHECKS = "SET session_replication_role = replica"
    WITH_CHECKS = "SET session_replication_role = origin"

    def sha256(self, first: _Expression, second: _Expression) -> _Expression:
        parts = [sa.func.convert_to(each, "UTF8") for each in (first, second)]
        joined = parts[0].op("||")(sa.literal_column(r"'\x00'::bytea")).op("||")(parts[1])
        return sa.func.encode(sa.func.sha256(joined), "hex")

    def after(self, seconds: _Expression) -> _Expression:
        return _START + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


class _Mariadb(_Server):
    WITHOUT_CHECKS = "SET foreign_key_checks = 0"
    WITH_CHECKS = "SET foreign_key_checks = 1"

    def sha256(self, first: _Expression, second: _Expression) -> _Expression:
        return sa.func.sha2(sa.func.concat(first, sa.func.char(0), second), 256)

    def after(self, seconds: _Expression) -> _Expression:
        return sa.func.timestampadd(sa.literal_column("SECOND"), seconds, _START)


_SERVERS = {"postgresql": _Postgresql(), "mysql": _Mariadb(), "mariadb": _Mariadb()}
