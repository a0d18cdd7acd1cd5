"""The sweep of stores: what a record knows stays, and one store's trouble is not another's."""

import datetime

import pytest

from imsgate import config, errors
from imsgate.model import Image, JobState, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores.base import Sweeps, Swept
from imsgate.stores.memory import MemoryStore
from imsgate.testing.records import job
from imsgate.transfer import orphans

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Tape(MemoryStore, Sweeps):
    """Finds every unfinished attempt."""

    def sweep(self, age, living):
        self.asked = age
        found = [key for key in self._parts if not living(key)]
        for key in found:
            self.discard(key)
        return Swept(len(found), 0)


class Stuck(MemoryStore, Sweeps):
    def sweep(self, age, living):
        raise errors.StoreUnavailable(store=self.name, problem="no robot")


class Backend:
    def __init__(self, kind, name):
        self.id = name
        self.store = kind(name, config.Section(memory_store_capacity=None))


@pytest.fixture
def registry():
    return MemoryRegistry(config.Section())


def recorded(registry, image_id, **fields):
    registry.add(Image(id=image_id, created_at=NOW, updated_at=NOW, **fields))


CASES = {
    "running": ({"status": Status.SAVING, "upload_key": "i.1"}, True),
    "swept by its record now": ({"status": Status.KILLED, "upload_key": "i.1"}, True),
    "another attempt runs": ({"status": Status.SAVING, "upload_key": "i.2"}, False),
    "ended": ({"status": Status.QUEUED}, False),
    "active": ({"status": Status.ACTIVE}, False),
}


@pytest.mark.parametrize(("fields", "lives"), CASES.values(), ids=CASES)
def test_an_attempt_lives_as_long_as_its_record_says_so(registry, fields, lives):
    recorded(registry, "i", **fields)
    assert orphans.living(registry)("i.1") is lives
    assert orphans.living(registry)("j.1") is False


@pytest.mark.parametrize("state", JobState)
def test_what_a_job_writes_lives_as_long_as_the_job(registry, state):
    recorded(registry, "i", status=Status.ACTIVE)
    registry.add_job(job("i", state=state))
    assert orphans.living(registry)("i.1") is (state in (JobState.INIT, JobState.RUNNING))


def test_only_residue_is_removed(registry):
    backend = Backend(Tape, "tape")
    for key in ("i.1", "i.2", "j.1"):
        backend.store.create(key, None).write(b"data")
    recorded(registry, "i", status=Status.SAVING, upload_key="i.2")
    assert list(orphans.sweep(registry, [backend], 7.0)) == [("tape", Swept(2, 0))]
    assert backend.store.held() == ["i.2"]
    assert backend.store.asked == 7.0


def test_one_that_fails_does_not_stop_the_others(registry, caplog):
    backends = [Backend(Stuck, "stuck"), Backend(MemoryStore, "plain"), Backend(Tape, "tape")]
    outcomes = dict(orphans.sweep(registry, backends))
    assert list(outcomes) == ["stuck", "tape"]
    assert isinstance(outcomes["stuck"], errors.StoreUnavailable)
    orphans.sweep_quietly(registry, backends)
    assert "Store stuck was not swept: Store 'stuck' is not available now: no robot" in caplog.text
