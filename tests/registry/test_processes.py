"""Several processes on one database."""

import contextlib
import multiprocessing

import pytest

from imsgate.errors import BadConfig, Conflict
from imsgate.model import Status
from imsgate.registry import sql
from imsgate.registry.base import Query
from imsgate.registry.sql import schema
from imsgate.testing.records import image
from imsgate.testing.registries.threads import together

_PROCESSES, _ROUNDS = 4, 15


def _race(number, settings, start):
    """The images this process won."""
    won = []
    with contextlib.closing(sql.SqlRegistry(settings)) as registry:
        start.wait(300)
        for one in registry.list(Query(viewer="racers", sort=[("name", False)])):
            registry.add(image(name=f"{one.name} by {number}", owner="bystanders"))
            with contextlib.suppress(Conflict):
                was = {"status": Status.QUEUED, "upload_key": None}
                key = str(number)
                to = {"upload_key": key, "properties": {"by": key}}
                registry.change(one.id, was, status=Status.SAVING, **to)
                won.append(one.id)
    return won


def _run(work, number, settings, start, results):
    try:
        results.put((number, work(number, settings, start)))
    except BaseException as error:
        results.put((number, error))


@pytest.fixture
def in_processes(settings):
    """Runs a function in processes that start together; gives what each returned."""
    spawn = multiprocessing.get_context("spawn")

    def run(work):
        start, results = spawn.Barrier(_PROCESSES), spawn.Queue()
        processes = [
            spawn.Process(target=_run, args=(work, number, settings, start, results))
            for number in range(_PROCESSES)
        ]
        try:
            for process in processes:
                process.start()
            return dict(results.get(timeout=300) for _ in processes)
        finally:
            for process in processes:
                process.join(10)
                process.kill()
                process.join()
                process.close()
            results.close()

    return run


def test_all_may_upgrade_at_once(unmade):
    with pytest.raises(BadConfig, match="has no tables yet: run 'imsgate db upgrade'"):
        sql.SqlRegistry(unmade)
    # In threads, for they begin closer together than processes.
    outcomes = together(4, lambda number: schema.upgrade(unmade))
    assert len({after for _, after in outcomes}) == 1
    sql.SqlRegistry(unmade).close()


def test_one_of_many_processes_wins(in_processes, migrated):
    with contextlib.closing(sql.SqlRegistry(migrated)) as registry:
        wanted = [image(name=f"{number:02}", owner="racers") for number in range(_ROUNDS)]
        for one in wanted:
            registry.add(one)
        winners = in_processes(_race)
        assert all(isinstance(won, list) for won in winners.values()), winners
        assert sorted(image_id for won in winners.values() for image_id in won) == sorted(
            one.id for one in wanted
        )
        for number, won in winners.items():
            for image_id in won:
                kept = registry.get(image_id)
                assert (kept.upload_key, kept.properties) == (str(number), {"by": str(number)})
