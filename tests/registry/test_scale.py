"""Lists and cleanup with ten thousand images: counts the rows that the server reads.

If they are few here, they are as few with a million: see benchmarks/scale.py for times.
"""

import contextlib
import dataclasses
import datetime
import functools
import operator

import pytest
import sqlalchemy as sa

from imsgate.api.listing import SORT_KEYS
from imsgate.model import DELETED, Status, Visibility
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
from imsgate.registry.sql.tables import UPLOADS
from imsgate.testing.records import START
from tests.databases import Shared
from tests.registry.crowd import FEW, Crowd, image_id

_MANY = 10_000
#: Of these rows, what one page or sweep may read. Any project's own are fewer.
_FEW = 500
#: Of each image.
_CHILDREN = 6


_CROWD = Crowd(_MANY)


@functools.cache
def _existing():
    """The images that lists contain, newest first, with their properties and tags."""
    images = ((number, _CROWD.image(number)) for number in reversed(range(_MANY)))
    return [
        (one, _CROWD.properties(number), _CROWD.tags(number))
        for number, one in images
        if one.status not in DELETED
    ]


class _Postgresql:
    def __init__(self, connection):
        self._connection = connection
        connection.exec_driver_sql("ANALYZE")

    def rows_read(self, select):
        rendering = {"literal_binds": True, "render_postcompile": True}
        text = select.compile(self._connection, compile_kwargs=rendering)
        plan = self._connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}").scalar()
        return sum(self._scanned(plan[0]["Plan"])), plan

    def reads_equal(self, key):
        """Whether a page also reads what has the marker's value and comes before the marker."""
        return False

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
        counts = self._connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_%%'")
        counts = {name: int(count) for name, count in counts}
        # Temporary tables are read with "rnd"; no list of ours reads a whole table otherwise.
        read = sum(
            n
            for name, n in counts.items()
            if name.startswith("Handler_read_") and "rnd" not in name
        )
        # What a condition on the index refuses is not counted as read.
        refused = counts["Handler_icp_attempts"] - counts["Handler_icp_match"]
        return read + counts["Handler_read_rnd_next"] + refused, counts

    def reads_equal(self, key):
        """It does not use the third column of the index for a range."""
        return key in ("status", "disk_format", "container_format")


_SERVERS = {"postgresql": _Postgresql, "mariadb": _Mariadb}


@pytest.fixture(scope="module", params=_SERVERS)
def crowd(request, tmp_path_factory):
    # A database of its own: to delete these rows again takes longer than to insert them.
    server = request.getfixturevalue(f"{request.param}_server")
    database = Shared(server.create(), tmp_path_factory.mktemp("crowd"))
    with (
        contextlib.closing(database),
        contextlib.closing(SqlRegistry(database.settings)) as registry,
    ):
        with registry._database.writing() as connection:
            _CROWD.fill(connection)
        with registry._database.reading() as connection:
            yield _SERVERS[request.param](connection), registry


_PAGES = {
    "project": Query(viewer="me"),
    "project by name": Query(viewer="me", sort=[("name", False)]),
    "project that has nothing": Query(viewer="nobody"),
    "no project": Query(),
    "project, all": Query(viewer="me", all_visibilities=True),
    "shared": Query(viewer="me", visibility=Visibility.SHARED),
    "private": Query(viewer="me", visibility=Visibility.PRIVATE),
    "public": Query(viewer="me", visibility=Visibility.PUBLIC),
    **{f"admin by {key}": Query(admin=True, sort=[(key, False)]) for key in SORT_KEYS},
    **{f"admin by {key}, down": Query(admin=True, sort=[(key, True)]) for key in SORT_KEYS},
    "admin, one project": Query(admin=True, conditions=[Condition("owner", Op.EQ, "me")]),
    "admin, in a status": Query(admin=True, conditions=[Condition("status", Op.EQ, Status.SAVING)]),
}


@pytest.mark.parametrize("query", _PAGES.values(), ids=_PAGES)
def test_page_reads_few_rows(crowd, query):
    server, registry = crowd
    nulls = registry._database.nulls_are_largest
    markers = [None, *registry.list(query)[10:11]]
    if query.admin and not query.conditions and not server.reads_equal(query.sort[0][0]):
        middle, *_ = _existing()[len(_existing()) // 2]
        markers.append(middle)
    for start in markers:
        read, plan = server.rows_read(lists.page(dataclasses.replace(query, marker=start), nulls))
        assert read < _FEW, plan


def test_claim_reads_few_rows(crowd):
    """Idle workers ask often, and ended jobs are kept for a week."""
    server, registry = crowd
    assert len(registry.free_jobs(["test"], 2.0)) == 6
    read, plan = server.rows_read(jobs.waiting(["test"], 2.0).limit(jobs.CANDIDATES))
    assert read < _FEW, plan


def test_uploads_are_found_by_an_index(crowd):
    """Those of an image, and those that are forgotten."""
    server, registry = crowd
    assert registry.upload_of(image_id(7)).id == image_id(7)
    read, plan = server.rows_read(uploads.newest(image_id(7)))
    assert read < _FEW, plan
    read, plan = server.rows_read(sa.select(UPLOADS.c.id).where(uploads.is_forgotten(2.0)))
    assert read < _FEW, plan


def test_sweep_reads_few_rows(crowd):
    server, registry = crowd
    assert len(registry.expired(2.0)) == 2 * FEW
    read, plan = server.rows_read(lists.expired(2.0))
    assert read < _FEW, plan


@pytest.mark.parametrize(
    "name", ["_IMAGES", "_JOBS", "_WAITING_SINCE", "_SUSPENDED", "_RESERVED", "_DAMAGED"]
)
def test_what_is_in_progress_is_counted_from_few_rows(crowd, name):
    """Each scrape asks. Six times FEW images have a lease."""
    server, _ = crowd
    read, plan = server.rows_read(getattr(activity, name))
    assert read < (4 * 6 * FEW if name == "_RESERVED" else _FEW), plan


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
    assert len(found) == sum(registry.activity().damaged_copies.values()) == FEW
    for last in (None, found[10]):
        read, plan = server.rows_read(checks.damaged(last).limit(100))
        assert read < _FEW, plan


def test_children_of_a_long_page_are_read_by_their_keys(crowd):
    """PostgreSQL read all properties, tags and locations for a page of a thousand images."""
    server, registry = crowd
    ids = [image_id(number) for number in range(0, _MANY, 10)]
    with registry._database.reading() as connection:
        select = rows.of_many(connection).params(ids=ids)
    read, plan = server.rows_read(select)
    # MariaDB reads all copies: the page has every tenth image.
    assert read <= len(ids) * (_CHILDREN + 3) + len(_existing()), plan


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


_EARLY = START + datetime.timedelta(seconds=50)


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
    "changed before the others": {"conditions": [Condition("updated_at", Op.LT, _EARLY)]},
    "created before the others": {"conditions": [Condition("created_at", Op.LTE, _EARLY)]},
    "larger than all": {"conditions": [Condition("size", Op.GTE, 10**15)]},
    "a size of few": {
        "conditions": [Condition("size", Op.GTE, 1000), Condition("size", Op.LT, 1100)]
    },
    "formats that nobody has": {"conditions": [Condition("disk_format", Op.IN, ("vdi", "iso"))]},
    "a size of half": {"conditions": [Condition("size", Op.GTE, _MANY // 2)]},
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
        in_order = connection.dialect.name == "postgresql"
        rarest, _ = candidates._rarest(connection, required, in_order=in_order)
        ids = candidates.find(connection, query)
    searches = [
        candidates.counting(required, in_order=in_order),
        candidates.matching(rarest, required, in_order=in_order),
    ]
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
    query = Query(admin=True, tags=frozenset({"parity-0", "parity-1"}))
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
    compare = {Op.EQ: operator.eq, Op.GTE: operator.ge, Op.LT: operator.lt, Op.LTE: operator.le}[
        condition.op
    ]
    return value is not None and compare(value, condition.value)


def _expected(query):
    """The first page of the images that have all properties and tags, newest first."""
    visible = [
        one.id
        for one, properties, tags in _existing()
        if query.properties.items() <= properties.items()
        and query.tags <= tags
        and all(_satisfies(one, each) for each in query.conditions)
        and (
            one.visibility != Visibility.COMMUNITY
            if query.admin
            else one.owner in ("me", "friend") or one.visibility == Visibility.PUBLIC
        )
    ]
    return visible[: query.limit]
