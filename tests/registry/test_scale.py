"""Lists and cleanup with ten thousand images: counts the rows that the server reads."""

import contextlib
import dataclasses
import datetime
import uuid

import pytest
import sqlalchemy as sa

from imsgate.model import JobState, MemberStatus, Status, Visibility
from imsgate.registry import jobs, lists, rows
from imsgate.registry.base import Condition, Op, Query
from imsgate.registry.sql import SqlRegistry
from imsgate.registry.tables import IMAGES, JOBS, MEMBERS
from imsgate.testing.records import START, after, image, job

_RECORDS = 10_000
#: Rows that one page or cleanup may read; every project has fewer images.
_MAX_ROWS_READ = 500


def _images():
    """Mostly deleted images and other projects'; about thirty for each set that a user sees."""
    for number in range(_RECORDS):
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
        identity = {"id": str(uuid.UUID(int=number)), "name": f"name-{number * 7919 % _RECORDS}"}
        yield image(**identity, created_at=moment, updated_at=moment, **fields)


def _fill(connection):
    images = list(_images())
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
    for number in range(_RECORDS):
        state, lease = states.get((number - _RECORDS) // 3 + 4, (JobState.SUCCESS, None))
        one = job(id=str(uuid.UUID(int=number)), created_at=after(number), state=state, lease=lease)
        given.append({field.name: getattr(one, field.name) for field in dataclasses.fields(one)})
    connection.execute(sa.insert(JOBS), given)


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
        connection.exec_driver_sql("ANALYZE TABLE images, image_members, jobs")

    def rows_read(self, select):
        self._connection.exec_driver_sql("FLUSH STATUS")
        self._connection.execute(select).all()
        counts = self._connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        counts = {name: int(count) for name, count in counts}
        # Temporary tables are read with "rnd"; no list of ours reads a whole table otherwise.
        read = sum(n for name, n in counts.items() if "rnd" not in name.lower())
        return read + counts["Handler_read_rnd_next"], counts


@pytest.fixture(scope="module", params=[_Postgresql, _Mariadb], ids=["postgresql", "mariadb"])
def crowd(request):
    name = request.param.__name__.lower()
    shared = request.getfixturevalue(f"_{name.strip('_')}")
    shared.emptied()
    with contextlib.closing(SqlRegistry(shared.settings)) as registry:
        with registry._database.writing() as connection:
            _fill(connection)
            _fill_jobs(connection)
        with registry._database.reading() as connection:
            yield request.param(connection), registry
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
        assert read < _MAX_ROWS_READ, plan


def test_claim_reads_few_rows(crowd):
    """Idle workers ask often, and ended jobs are kept for a week."""
    server, registry = crowd
    assert len(registry.jobs(None, limit=_RECORDS)) == _RECORDS
    read, plan = server.rows_read(jobs.waiting(["test"], 2.0).limit(jobs.CANDIDATES))
    assert read < _MAX_ROWS_READ, plan


def test_sweep_reads_few_rows(crowd):
    server, registry = crowd
    assert len(registry.expired(2.0)) == 68
    read, plan = server.rows_read(lists.expired(2.0))
    assert read < _MAX_ROWS_READ, plan
