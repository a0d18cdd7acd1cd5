"""Lists and cleanup with ten thousand images: counts the rows that the server reads."""

import contextlib
import dataclasses
import datetime
import functools
import operator
import uuid

import pytest
import sqlalchemy as sa

from imsgate.model import (
    DELETED,
    Damage,
    JobState,
    Location,
    MemberStatus,
    Status,
    UploadState,
    Visibility,
)
from imsgate.registry.base import Condition, Op, Query
from imsgate.registry.sql import (
    SqlRegistry,
    activity,
    candidates,
    checks,
    jobs,
    lists,
    rows,
    uploads,
)
from imsgate.registry.sql.tables import IMAGES, JOBS, LOCATIONS, MEMBERS, PROPERTIES, TAGS, UPLOADS
from imsgate.testing.records import START, after, image, job, upload

_MANY = 10_000
#: Of these rows, what one page or sweep may read. Any project's own are fewer.
_FEW = 500
#: Of each image.
_PROPERTIES, _TAGS = 4, 2


@functools.cache
def _images():
    """Mostly deleted images and other projects'; about thirty for each set that a user sees."""
    return [_image(number) for number in range(_MANY)]


def _image(number):
    kind = number % 300
    fields = {
        "owner": f"project-{number % 97}",
        "visibility": Visibility.PRIVATE,
        "status": Status.ACTIVE,
    }
    if kind == 0:
        fields["owner"] = "me"
    elif kind == 1:
        fields["visibility"] = Visibility.PUBLIC
    elif kind == 2:
        fields |= {"visibility": Visibility.SHARED, "owner": "friend"}
    elif kind == 3:
        fields |= {"upload_expires": 1.0, "status": Status.SAVING}
    elif kind == 4:
        fields |= {"status": Status.PENDING_DELETE}
    elif kind < 20:
        fields |= {"status": Status.DELETED, "owner": "me"}
    elif kind < 150:
        fields |= {"status": Status.DELETED}
    elif kind < 200:
        fields |= {"visibility": Visibility.SHARED}
    elif kind < 220:
        fields |= {"visibility": Visibility.COMMUNITY, "upload_expires": 2e9}
    moment = START + datetime.timedelta(seconds=number)
    identity = {"id": str(uuid.UUID(int=number)), "name": f"name-{number * 7919 % _MANY}"}
    fields |= {"size": number, "disk_format": "raw", "container_format": "bare"}
    return image(**identity, created_at=moment, updated_at=moment, **fields)


@functools.cache
def _children(number):
    """What all images have, what half of them have, and what few have."""
    half, place = number % 2, str(number // 100)
    properties = {"os_type": "linux", "even": str(half), "odd": str(1 - half), "place": place}
    return properties, {"all", f"place-{place}"}


def _fill_children(connection):
    properties, tags = [], []
    for number in range(_MANY):
        image_id, (own, own_tags) = str(uuid.UUID(int=number)), _children(number)
        properties += rows._CHILDREN["properties"].rows(image_id, own)
        tags += rows._CHILDREN["tags"].rows(image_id, own_tags)
    connection.execute(sa.insert(PROPERTIES), properties)
    connection.execute(sa.insert(TAGS), tags)


def _fill(connection):
    images = _images()
    fields = [{name: getattr(one, name) for name in rows.COLUMNS} for one in images]
    connection.execute(sa.insert(IMAGES), [rows.columns(one) for one in fields])
    accepted = {"status": MemberStatus.ACCEPTED, "created_at": START, "updated_at": START}
    connection.execute(
        sa.insert(MEMBERS),
        [
            accepted | {"image_id": one.id, "member_id": "me" if one.owner == "friend" else "you"}
            for one in images
            if one.visibility == Visibility.SHARED and one.status == Status.ACTIVE
        ],
    )


def _fill_jobs(connection):
    """Three wait, three are being done, three were abandoned; all others ended before."""
    states = {1: (JobState.INIT, None), 2: (JobState.RUNNING, 3.0), 3: (JobState.RUNNING, 1.0)}
    given = []
    for number in range(_MANY):
        state, lease = states.get((number - _MANY) // 3 + 4, (JobState.SUCCESS, None))
        one = job(id=str(uuid.UUID(int=number)), created_at=after(number), state=state, lease=lease)
        given.append({field.name: getattr(one, field.name) for field in dataclasses.fields(one)})
    connection.execute(sa.insert(JOBS), given)


def _fill_locations(connection):
    """One copy of each active image. Few were checked long ago, and few are damaged."""
    given = [
        {
            **rows._CHILDREN["locations"].rows(one.id, (Location("fast", one.id),))[0],
            "checked_at": 1e3 if number % 300 == 0 else 1e6 + number,
            "damage": Damage.SIZE if number % 300 == 1 else None,
        }
        for number, one in enumerate(_images())
        if one.status == Status.ACTIVE
    ]
    connection.execute(sa.insert(LOCATIONS), given)


def _fill_uploads(connection):
    """One for each image; ten expired, of which five are being verified."""
    states = [UploadState.OPEN, UploadState.FINISHING]
    given = []
    for number in range(_MANY):
        identity = {"id": str(uuid.UUID(int=number)), "created_at": after(number)}
        expires = {"expires": 1.0 if number < 10 else 3.0, "state": states[number % 2]}
        one = upload(str(uuid.UUID(int=number)), **identity, **expires)
        given.append({field.name: getattr(one, field.name) for field in dataclasses.fields(one)})
    connection.execute(sa.insert(UPLOADS), given)


class _Postgresql:
    def __init__(self, connection):
        self._connection = connection
        connection.exec_driver_sql("ANALYZE")

    def rows_read(self, select):
        rendering = {"literal_binds": True, "render_postcompile": True}
        text = select.compile(self._connection, compile_kwargs=rendering)
        plan = self._connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}").scalar()
        return sum(self._scanned(plan[0]["Plan"])), plan

    def _scanned(self, node):
        for child in node.get("Plans", ()):
            yield from self._scanned(child)
        if node["Node Type"].endswith("Scan") and "Relation Name" in node:
            loops = node["Actual Loops"]
            yield loops * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
            yield loops * node.get("Rows Removed by Index Recheck", 0)


class _Mariadb:
    def __init__(self, connection):
        self._connection = connection
        connection.exec_driver_sql(
            "ANALYZE TABLE images, image_locations, image_members, image_properties, image_tags, "
            "jobs, uploads"
        )

    def rows_read(self, select):
        self._connection.exec_driver_sql("FLUSH STATUS")
        self._connection.execute(select).all()
        counts = self._connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        counts = {name: int(count) for name, count in counts}
        # Temporary tables are read with "rnd"; no list of ours reads a whole table otherwise.
        read = sum(n for name, n in counts.items() if "rnd" not in name.lower())
        return read + counts["Handler_read_rnd_next"], counts


_SERVERS = {"postgresql": _Postgresql, "mariadb": _Mariadb}


@pytest.fixture(scope="module", params=_SERVERS)
def crowd(request):
    shared = request.getfixturevalue(f"_{request.param}")
    shared.emptied()
    with contextlib.closing(SqlRegistry(shared.settings)) as registry:
        with registry._database.writing() as connection:
            _fill(connection)
            _fill_children(connection)
            _fill_jobs(connection)
            _fill_uploads(connection)
            _fill_locations(connection)
        with registry._database.reading() as connection:
            yield _SERVERS[request.param](connection), registry
    shared.emptied()


_PAGES = {
    "project": Query(viewer="me"),
    "project by name": Query(viewer="me", sort=[("name", False)]),
    "project that has nothing": Query(viewer="nobody"),
    "no project": Query(),
    "project, all": Query(viewer="me", all_visibilities=True),
    "shared": Query(viewer="me", visibility=Visibility.SHARED),
    "private": Query(viewer="me", visibility=Visibility.PRIVATE),
    "public": Query(viewer="me", visibility=Visibility.PUBLIC),
    "admin": Query(admin=True),
    "admin, one project": Query(admin=True, conditions=[Condition("owner", Op.EQ, "me")]),
    "admin, in a status": Query(admin=True, conditions=[Condition("status", Op.EQ, Status.SAVING)]),
}


@pytest.mark.parametrize("query", _PAGES.values(), ids=_PAGES)
def test_page_reads_few_rows(crowd, query):
    server, registry = crowd
    nulls = registry._database.nulls_are_largest
    marker = registry.list(query)[10:11]
    for start in (None, *marker):
        read, plan = server.rows_read(lists.page(dataclasses.replace(query, marker=start), nulls))
        assert read < _FEW, plan


def test_claim_reads_few_rows(crowd):
    """Idle workers ask often, and ended jobs are kept for a week."""
    server, registry = crowd
    assert len(registry.jobs(None, limit=_MANY)) == _MANY
    read, plan = server.rows_read(jobs.waiting(["test"], 2.0).limit(jobs.CANDIDATES))
    assert read < _FEW, plan


def test_uploads_are_found_by_an_index(crowd):
    """Those of an image, and those that are forgotten."""
    server, registry = crowd
    image_id = str(uuid.UUID(int=7))
    assert registry.upload_of(image_id).id == image_id
    read, plan = server.rows_read(uploads.newest(image_id))
    assert read < _FEW, plan
    read, plan = server.rows_read(sa.select(UPLOADS.c.id).where(uploads.is_forgotten(2.0)))
    assert read < _FEW, plan


def test_sweep_reads_few_rows(crowd):
    server, registry = crowd
    assert len(registry.expired(2.0)) == 68
    read, plan = server.rows_read(lists.expired(2.0))
    assert read < _FEW, plan


@pytest.mark.parametrize(
    "name", ["_IMAGES", "_JOBS", "_WAITING_SINCE", "_SUSPENDED", "_RESERVED", "_DAMAGED"]
)
def test_what_is_in_progress_is_counted_from_few_rows(crowd, name):
    """Each scrape asks. Of 10 000 images, 700 have a lease."""
    server, _ = crowd
    read, plan = server.rows_read(getattr(activity, name))
    assert read < (4 * 700 if name == "_RESERVED" else _FEW), plan


@pytest.mark.parametrize("before", [1.0, 1e4, 1e9], ids=["none", "few", "all"])
def test_copies_that_are_due_are_found_by_an_index(crowd, before):
    """Each process asks once a minute."""
    server, registry = crowd
    first = registry.copies_to_check(before, ["fast"], limit=30)
    assert len(first) == (0 if before == 1.0 else 30)
    for last in (None, *first[-1:]):
        read, plan = server.rows_read(checks.to_check(before, ["fast"], last).limit(100))
        assert read < _FEW, plan


def test_damaged_copies_are_found_by_an_index(crowd):
    server, registry = crowd
    found = registry.damaged_copies()
    assert len(found) == sum(registry.activity().damaged_copies.values()) == 34
    for last in (None, found[10]):
        read, plan = server.rows_read(checks.damaged(last).limit(100))
        assert read < _FEW, plan


def test_children_of_a_long_page_are_read_by_their_keys(crowd):
    """PostgreSQL read all properties, tags and locations for a page of a thousand images."""
    server, registry = crowd
    ids = [str(uuid.UUID(int=number)) for number in range(0, _MANY, 10)]
    with registry._database.reading() as connection:
        select = rows.of_many(connection).params(ids=ids)
    read, plan = server.rows_read(select)
    # MariaDB reads all copies: the page has every tenth image.
    copies = sum(one.status == Status.ACTIVE for one in _images())
    assert read <= len(ids) * (_PROPERTIES + _TAGS + 3) + copies, plan


_FILTERS = {
    "a value that nobody has": {"properties": {"os_type": "nosuch"}},
    "a property that nobody has": {"properties": {"nosuch": "x"}},
    "a tag that nobody has": {"tags": frozenset({"nosuch"})},
    "few": {"properties": {"place": "7"}},
    "few, and all": {"properties": {"os_type": "linux", "place": "7"}},
    "nobody, and all": {"properties": {"os_type": "linux", "zone": "x"}},
    "few, by property and tag": {"properties": {"os_type": "linux"}, "tags": {"all", "place-7"}},
    "none of two that few have": {"properties": {"place": "7"}, "tags": {"place-8"}},
    "all": {"properties": {"os_type": "linux"}},
    "all, twice": {"properties": {"os_type": "linux"}, "tags": {"all"}},
}


def _conditions(**values):
    return [Condition(name, Op.EQ, value) for name, value in values.items()]


_FILTERS |= {
    f"{name} that nobody has": {"conditions": _conditions(**{name: value})}
    for name, value in {
        **{"name": "nosuch", "size": 5, "virtual_size": 5, "disk_format": "vdi"},
        **{"container_format": "ova", "min_disk": 5, "min_ram": 5, "checksum": "0" * 32},
        **{"os_hash_value": "0" * 128, "protected": True, "os_hidden": True},
        **{"status": Status.QUEUED},
    }.items()
} | {
    "larger than all": {"conditions": [Condition("size", Op.GTE, 10**15)]},
    "a size of few": {
        "conditions": [Condition("size", Op.GTE, 1000), Condition("size", Op.LT, 1100)]
    },
    "formats that nobody has": {"conditions": [Condition("disk_format", Op.IN, ("vdi", "iso"))]},
    "a format of all": {"conditions": _conditions(disk_format="raw")},
    "a format of all, a size of few": {"conditions": _conditions(disk_format="raw", size=4500)},
    "a format of all, and a tag of few": {
        "conditions": _conditions(disk_format="raw"),
        "tags": {"place-7"},
    },
}
_VIEWERS = {"project": Query(viewer="me"), "admin": Query(admin=True)}
#: Entries of indexes that are read to find the images of a filter, or to find that there are many.
#: PostgreSQL may read the table instead, of which every fourth row is one of a common value.
_SEARCHED = 4 * (candidates.MAX_CANDIDATES + 1)


@pytest.mark.parametrize("viewer", _VIEWERS.values(), ids=_VIEWERS)
@pytest.mark.parametrize("wanted", _FILTERS.values(), ids=_FILTERS)
def test_filter_reads_few_images(crowd, viewer, wanted):
    server, registry = crowd
    query = dataclasses.replace(viewer, **wanted)
    assert _expected(query) == [one.id for one in registry.list(query)]
    required = candidates.wanted(query)
    with registry._database.reading() as connection:
        rarest, _ = candidates._rarest(connection, required)
        ids = candidates.find(connection, query)
    searches = [candidates.counting(required), candidates.matching(rarest, required)]
    for select in searches[len(required) == 1 :]:
        read, plan = server.rows_read(select)
        assert read <= _SEARCHED * len(required), plan
    if ids != []:
        page = lists.page(query, registry._database.nulls_are_largest, ids)
        read, plan = server.rows_read(page)
        assert read <= _FEW * (1 + len(required)), plan


def test_filter_that_divides_all_images_reads_none(crowd):
    """Half of them have the one, the other half has the other: no list of images is read."""
    server, registry = crowd
    query = Query(admin=True, properties={"even": "0", "odd": "0"})
    required = candidates.requirements(query)
    with registry._database.reading() as connection:
        assert candidates.find(connection, query) == []
    read, plan = server.rows_read(candidates.matching(required[0], required))
    assert read <= 2 * _MANY, plan
    assert "'images'" not in str(plan)


def _satisfies(one, condition):
    value = getattr(one, condition.field)
    if condition.op is Op.IN:
        return value in condition.value
    compare = {Op.EQ: operator.eq, Op.GTE: operator.ge, Op.LT: operator.lt}[condition.op]
    return value is not None and compare(value, condition.value)


def _expected(query):
    """The first page of the images that have all properties and tags, newest first."""
    visible = [
        one.id
        for number, one in enumerate(_images())
        if one.status not in DELETED
        and query.properties.items() <= _children(number)[0].items()
        and query.tags <= _children(number)[1]
        and all(_satisfies(one, each) for each in query.conditions)
        and (query.admin or one.owner in ("me", "friend") or one.visibility == Visibility.PUBLIC)
    ]
    return visible[::-1][: query.limit]
