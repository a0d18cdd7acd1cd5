"""The sweep of stores: what a record knows stays, and one store's trouble is not another's."""

import datetime

import pytest

from imsgate import config, errors
from imsgate.model import Image, JobState, Location, Status
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

    def sweep_objects(self, orphaned):
        found = [key for key in self._objects if orphaned(key)]
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


def test_the_residue_of_a_known_image_need_not_be_old(registry):
    class Young(Tape):
        def sweep(self, age, living):
            return super().sweep(age, living) if age == 0 else Swept(0, 0)

    backend = Backend(Young, "tape")
    for key in ("i.1", "i.2", "j.1"):
        backend.store.create(key, None).write(b"data")
    recorded(registry, "i", status=Status.SAVING, upload_key="i.2")
    assert list(orphans.sweep(registry, [backend], 7.0)) == [("tape", Swept(1, 0))]
    assert backend.store.held() == ["i.2", "j.1"]


OBJECTS = {
    "referred to": ({"status": Status.ACTIVE, "locations": (Location("tape", "i.1"),)}, True),
    "an upload ends": ({"status": Status.SAVING, "upload_key": "i.1"}, True),
    "stale": ({"status": Status.ACTIVE, "locations": (Location("tape", "i.2"),)}, False),
    "stale, in another store": (
        {"status": Status.ACTIVE, "locations": (Location("other", "i.1"),)},
        False,
    ),
    "deleted": ({"status": Status.DELETED}, False),
    "unknown": (None, True),
}


@pytest.mark.parametrize(("fields", "stays"), OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("full", [True, False])
def test_an_object_to_which_no_record_refers(registry, fields, stays, full):
    backend = Backend(Tape, "tape")
    backend.store.create("i.1", None).commit()
    if fields is not None:
        recorded(registry, "i", **fields)
    removed = int(full and not stays)
    assert list(orphans.sweep(registry, [backend], 0.0, full=full)) == [("tape", Swept(removed, 0))]
    assert backend.store.held() == ["i.1"][removed:]


def test_one_that_fails_does_not_stop_the_others(registry, caplog):
    backends = [Backend(Stuck, "stuck"), Backend(MemoryStore, "plain"), Backend(Tape, "tape")]
    outcomes = dict(orphans.sweep(registry, backends))
    assert list(outcomes) == ["stuck", "tape"]
    assert isinstance(outcomes["stuck"], errors.StoreUnavailable)
    orphans.sweep_quietly(registry, backends)
    assert "Store stuck was not swept: Store 'stuck' is not available now: no robot" in caplog.text
