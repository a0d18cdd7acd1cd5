"""Repair: from a good copy, and never at its risk."""

import os
import signal
import subprocess
import sys
import time
import types

import pytest

from imsgate import errors
from imsgate.jobs import engine
from imsgate.model import Damage, JobState, Status
from imsgate.verification.checking import CheckState
from imsgate.verification.repair import Repairs
from tests.verification import kills
from tests.verification.site import ADMIN, DATA


@pytest.fixture
def later(monkeypatch):
    """Make all leases run out."""

    def run_out():
        clock = types.SimpleNamespace(time=lambda: time.time() + 1000, monotonic=time.monotonic)
        monkeypatch.setattr(engine, "time", clock)

    return run_out


def repair(site, image):
    """Start the repair of an image and do it; return the job."""
    job = start(site, image)
    assert site.gate.engine.run_one(job.id)
    return site.registry.get_job(job.id)


def start(site, image):
    repairs = Repairs(stores=site.gate.stores, engine=site.gate.engine)
    return repairs.start(site.registry.get(image.id))


def files(site):
    """The objects and what attempts have left, by store."""
    return {
        name: sorted(
            path.name
            for path in (site.directory / name).rglob("*")
            if path.is_file() and path.name != ".imsgate-store"
        )
        for name in ("one", "two", "three")
    }


def assert_whole(site, image, stores=("one", "two")):
    """The image has one good copy in each of these stores, and no store has anything else."""
    current = site.registry.get(image.id)
    assert tuple(place.store for place in current.locations) == stores
    assert site.damage(image) == dict.fromkeys(stores)
    assert [each.state for each in site.verify(current)] == [CheckState.GOOD] * len(stores)
    expected = {name: [] for name in ("one", "two", "three")}
    for place in current.locations:
        expected[place.store].append(place.url)
    assert files(site) == expected
    assert site.download(current).body == DATA


def missing(site, image, store):
    site.file(image, store).unlink()


def truncated(site, image, store):
    os.truncate(site.file(image, store), 1000)


def flipped(site, image, store):
    site.spoil(image, store)


@pytest.mark.parametrize("fault", [missing, truncated, flipped])
@pytest.mark.parametrize("bad", ["one", "two"])
def test_a_damaged_copy_is_replaced(site, fault, bad):
    image = site.image("one", "two")
    fault(site, image, bad)
    site.verify(image)
    job = repair(site, image)
    assert (job.state, job.progress) == (JobState.SUCCESS, len(DATA))
    assert_whole(site, image)
    after = site.registry.get(image.id)
    assert after.status is Status.ACTIVE
    assert len(set(after.locations) & set(image.locations)) == 1


def test_two_damaged_copies(site):
    image = site.image("one", "two", "three")
    missing(site, image, "one")
    flipped(site, image, "three")
    site.verify(image)
    assert repair(site, image).state is JobState.SUCCESS
    assert_whole(site, image, ("one", "two", "three"))


@pytest.mark.parametrize(
    "fields",
    [
        {"checksum": None, "os_hash_algo": None, "os_hash_value": None},
        {"os_hash_algo": None, "os_hash_value": None},
        {"os_hash_algo": "whirlpool"},
    ],
    ids=["no digest", "checksum", "unknown algorithm"],
)
def test_records_of_old_releases(site, fields):
    image = site.image("one", "two", **fields)
    truncated(site, image, "one")
    site.verify(image)
    assert repair(site, image).state is JobState.SUCCESS
    assert_whole(site, image)


NOTHING_TO_DO = {
    "no damage": lambda site, image: None,
    "no good copy": lambda site, image: [flipped(site, image, name) for name in ("one", "two")],
}


@pytest.mark.parametrize("case", NOTHING_TO_DO)
def test_there_is_nothing_to_do(site, case):
    image = site.image("one", "two")
    NOTHING_TO_DO[case](site, image)
    site.verify(image)
    before = files(site)
    assert start(site, image) is None
    assert files(site) == before


def test_a_deactivated_image_is_repaired_too(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    site.registry.change(image.id, {}, status=Status.DEACTIVATED)
    assert repair(site, image).state is JobState.SUCCESS
    assert site.damage(image) == {"one": None, "two": None}


def test_a_copy_that_was_restored_meanwhile_stays(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    job = start(site, image)
    site.file(image, "one").write_bytes(DATA)
    site.verify(image)
    assert site.gate.engine.run_one(job.id)
    assert site.registry.get(image.id).locations == image.locations
    assert_whole(site, image)


def test_the_good_copy_is_damaged_too(site):
    """It decayed after its check. Nothing of what is left is removed."""
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    flipped(site, image, "two")
    before = files(site)
    job = start(site, image)
    assert site.gate.engine.run_one(job.id)
    assert site.damage(image) == {"one": Damage.CONTENT, "two": Damage.CONTENT}
    assert site.registry.get(image.id).locations == image.locations
    assert files(site) == before


def test_the_good_copy_is_damaged_too_but_another_is_good(site, later):
    image = site.image("one", "two", "three")
    flipped(site, image, "one")
    site.verify(image)
    flipped(site, image, "two")
    job = start(site, image)
    assert site.gate.engine.run_one(job.id)
    later()
    assert site.gate.engine.run_one(job.id)
    assert site.registry.get_job(job.id).state is JobState.SUCCESS
    assert site.damage(image) == {"one": None, "two": Damage.CONTENT, "three": None}
    assert repair(site, image).state is JobState.SUCCESS
    assert_whole(site, image, ("one", "two", "three"))


@pytest.mark.parametrize("away", ["one", "two"])
def test_a_store_is_away(site, later, away):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    job = start(site, image)
    site.take_away(away)
    assert site.gate.engine.run_one(job.id)
    assert site.registry.get_job(job.id).state is JobState.RUNNING
    site.bring_back(away)
    later()
    assert site.gate.engine.run_one(job.id)
    assert_whole(site, image)


def test_a_store_that_returns_something_else(site, monkeypatch):
    """The new copy is read before the old one goes."""
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    before = files(site)
    store = site.gate.stores.get("one")

    def read(location, offset=0, length=None):
        yield b"x" * len(DATA)

    monkeypatch.setattr(store, "read", read)
    job = repair(site, image)
    assert (job.state, job.error_code) == (JobState.FAIL, "copy_differs")
    assert files(site) == before
    assert site.registry.get(image.id).locations == image.locations


def test_the_image_is_deleted_meanwhile(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    job = start(site, image)
    assert site.call(ADMIN, "DELETE", f"/v2/images/{image.id}").status_int == 204
    site.gate.engine.run_one(job.id)
    assert site.registry.get_job(job.id).error_code == "cancelled"
    assert files(site) == {"one": [], "two": [], "three": []}


def test_a_copy_is_no_job_for_two(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    start(site, image)
    with pytest.raises(errors.Conflict):
        start(site, image)
    refused = site.call(ADMIN, "DELETE", f"/v2/stores/two/{image.id}")
    assert refused.status_int == 409


def test_an_image_that_has_changed(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    stale = site.registry.get(image.id)
    site.registry.change(image.id, {}, name="new")
    with pytest.raises(errors.Conflict):
        Repairs(stores=site.gate.stores, engine=site.gate.engine).start(stale)


@pytest.fixture
def killer(tmp_path):
    command = [sys.executable, "-m", "tests.verification.kills", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def kill(step):
            process.stdin.write(f"{step}\n")
            assert process.stdout.readline() == f"{signal.SIGKILL.value}\n"

        yield kill
        process.stdin.close()


def test_killed_at_any_step(site, killer, later):
    for step in kills.STEPS:
        image = site.image("one", "two")
        flipped(site, image, "one")
        site.verify(image)
        job = start(site, image)
        killer(step)
        assert site.download(image).body == DATA, step
        later()
        assert site.gate.engine.run_one(job.id), step
        assert site.registry.get_job(job.id).state is JobState.SUCCESS, step
        assert_whole(site, image)
        assert site.call(ADMIN, "DELETE", f"/v2/images/{image.id}").status_int == 204


def test_read_only(site):
    image = site.image("one", "two")
    flipped(site, image, "one")
    site.verify(image)
    job = start(site, image)
    site.registry.begin_read_only(image.created_at)
    assert not site.gate.engine.run_one(job.id)
    site.registry.end_read_only()
    assert site.gate.engine.run_one(job.id)
    assert_whole(site, image)
