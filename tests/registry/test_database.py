"""Transactions that PostgreSQL or MariaDB undoes, lost connections, and skipped locks."""

import contextlib
import threading
import types

import pytest
import sqlalchemy as sa

from imsgate.errors import Unavailable
from imsgate.registry.sql import SqlRegistry, jobs, outages
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.outages import Undone, repeated
from imsgate.registry.sql.tables import IMAGES, JOBS
from imsgate.testing.records import after, image, job
from imsgate.testing.registries.threads import together

_KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL CONNECTION {}"}
_SELF = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT connection_id()"}


@pytest.fixture(params=["postgresql", "mariadb"])
def settings(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def db(settings):
    with contextlib.closing(Database(DatabaseSettings.of(settings))) as opened:
        yield opened


@pytest.fixture
def registry(settings):
    with contextlib.closing(SqlRegistry(settings)) as registry:
        yield registry


def _rename(connection, given, name):
    connection.execute(sa.update(IMAGES).where(IMAGES.c.id == given.id).values(name=name))


def _kill(db, connection):
    dialect = connection.dialect.name
    number = connection.exec_driver_sql(_SELF[dialect]).scalar()
    with db.writing() as other:
        other.exec_driver_sql(_KILL[dialect].format(number))


def test_deadlock_is_run_again(db, registry):
    pair = [image(), image()]
    for one in pair:
        registry.add(one)
    both_hold_one = threading.Barrier(2)
    tries = [0, 0]

    @repeated
    def rename(number):
        first, second = pair[number], pair[1 - number]
        with db.writing() as connection:
            tries[number] += 1
            _rename(connection, first, str(number))
            if tries[number] == 1:
                both_hold_one.wait()
            _rename(connection, second, str(number))

    assert together(2, rename) == [None, None]
    assert sorted(tries) == [1, 2]
    assert registry.get(pair[0].id).name == registry.get(pair[1].id).name


def test_transaction_is_run_again_if_its_connection_is_lost(db, registry):
    given = image(min_ram=1)
    registry.add(given)
    tries = []

    @repeated
    def grow():
        with db.writing() as connection:
            tries.append(1)
            step = sa.update(IMAGES).where(IMAGES.c.id == given.id)
            connection.execute(step.values(min_ram=IMAGES.c.min_ram + 1))
            if len(tries) == 1:
                _kill(db, connection)
            connection.execute(sa.select(IMAGES.c.id))

    grow()
    assert len(tries) == 2
    assert registry.get(given.id).min_ram == 2


def test_commit_is_not_run_again_if_its_connection_is_lost(db, registry):
    given = image()
    registry.add(given)
    tries = []

    @repeated
    def rename():
        with db.writing() as connection:
            tries.append(1)
            _rename(connection, given, "changed")
            _kill(db, connection)

    with pytest.raises(Unavailable) as outage:
        rename()
    assert not isinstance(outage.value, Undone)
    assert len(tries) == 1


def test_transaction_that_is_always_undone_fails(monkeypatch):
    monkeypatch.setattr(outages, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    tries = []

    @repeated
    def never():
        tries.append(1)
        raise Undone(what="The database")

    with pytest.raises(Unavailable):
        never()
    assert 1 < len(tries) < 20


def test_lost_idle_connections_are_replaced(db, registry):
    given = image()
    registry.add(given)
    with registry._database.reading() as connection:
        dialect = connection.dialect.name
        number = connection.exec_driver_sql(_SELF[dialect]).scalar()
    with db.writing() as other:
        other.exec_driver_sql(_KILL[dialect].format(number))
    assert registry.get(given.id) == given
    assert registry.change(given.id, {}, name="changed").name == "changed"


def test_too_long_value_is_refused_even_if_the_server_would_truncate_it(registry):
    with pytest.raises(sa.exc.DataError):
        registry.add(image(name="x" * 256))


def test_claimers_do_not_wait_for_one_another(db, registry):
    given = [job(created_at=after(number)) for number in range(3)]
    for one in given:
        registry.add_job(one)
    with contextlib.ExitStack() as claimers:
        taken = []
        for _ in range(4):
            connection = claimers.enter_context(db.writing())
            taken.append(jobs.claim(connection, given, 1.0, 2.0))
    assert [one and one.id for one in taken] == [*(one.id for one in given), None]


def test_every_claimer_gets_a_job_while_there_are_any(registry):
    """Concurrent claims do not make any of them return None."""
    for number in range(12):
        registry.add_job(job(created_at=after(number)))
    outcomes = together(6, lambda _: [registry.claim_job(["test"], 1.0, 2.0) for _ in range(2)])
    claimed = [one.id for found in outcomes for one in found]
    assert len(set(claimed)) == 12
    with registry._database.reading() as connection:
        epochs = connection.execute(sa.select(JOBS.c.epoch)).scalars().all()
    assert epochs == [1] * 12
