"""Verification in the background: what is due, whose turn it is, and what keeps it waiting."""

import logging
import threading
import time

import pytest

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.jobs.settings import JobSettings
from imsgate.model import Damage, JobState
from imsgate.verification import background
from imsgate.verification.background import JOB_ID, BackgroundVerification
from imsgate.verification.repair import KIND, Repairs
from imsgate.verification.settings import VerificationSettings

INTERVAL = 1000


class Pass:
    """Verification in the background of one process, and a clock."""

    def __init__(self, site, **options):
        self.site = site
        self.now = time.time()
        self.paused = False
        settings = {"interval": INTERVAL, "rate": 1e6, **options}
        self.engine = BackgroundVerification(
            site.registry,
            site.gate.stores,
            Repairs(stores=site.gate.stores, engine=site.gate.engine),
            VerificationSettings(**settings),
            JobSettings(),
            lambda: self.paused,
            lambda: self.now,
        )

    def run(self):
        """Verify until nothing is due; return the number of turns."""
        turns = 0
        while self.engine.run_one():
            turns += 1
            assert turns < 10
        return turns

    def wait(self, seconds):
        self.now += seconds


@pytest.fixture
def make(site):
    return lambda **options: Pass(site, **options)


def checked(site):
    """When each copy was checked, by image and store."""
    copies = site.registry.copies_to_check(4e9)
    return {(copy.image_id, copy.location.store): copy.checked_at for copy in copies}


def make_old(site, *images):
    for image in images:
        for place in image.locations:
            site.registry.record_check(image.id, place, 1.0, None)


def test_what_is_new_is_not_due(site, make):
    site.image("one")
    assert make().run() == 0
    with pytest.raises(errors.NotFound):
        site.registry.get_job(JOB_ID)


def test_what_is_old_is_verified_once(site, make, caplog):
    images = [site.image("one", "two") for _ in range(2)]
    make_old(site, *images)
    site.spoil(images[0], "two")
    passing = make()
    with caplog.at_level(logging.INFO, background.LOG.name):
        assert passing.run() == 1
    assert site.damage(images[0]) == {"one": None, "two": Damage.CONTENT}
    assert min(checked(site).values()) > 1.0
    (line,) = (record for record in caplog.records if record.name == background.LOG.name)
    assert line.getMessage() == (
        "Verified 4 copies with 2000000 bytes in the background: 1 damaged, 0 not checked"
    )
    assert passing.run() == 0
    passing.wait(INTERVAL + 60)
    assert passing.run() == 1


def test_another_process_goes_on_where_one_was_stopped(site, make, monkeypatch):
    images = [site.image("one") for _ in range(3)]
    make_old(site, *images)
    first = make()
    store = site.gate.stores.get("one")
    read, readings = store.read, []

    def stopping(*arguments):
        readings.append(arguments)
        if len(readings) == 3:
            first.engine.stop()
        return read(*arguments)

    monkeypatch.setattr(store, "read", stopping)
    assert first.engine.run_one()
    assert sorted(checked(site).values())[0] == 1.0
    assert make().run() == 1
    assert len(readings) == 4
    assert min(checked(site).values()) > 1.0


def test_one_process_at_a_time(site, make, monkeypatch):
    make_old(site, site.image("one"))
    first, second = make(), make()
    others = []
    store = site.gate.stores.get("one")
    read = store.read

    def reading(*arguments):
        others.append(second.engine.run_one())
        return read(*arguments)

    monkeypatch.setattr(store, "read", reading)
    assert first.run() == 1
    assert others == [False]


def test_a_turn_ends(site, make, monkeypatch):
    make_old(site, *(site.image("one") for _ in range(3)))
    monkeypatch.setattr(background, "TURN_SECONDS", -1.0)
    assert make().run() == 3


@pytest.mark.parametrize(
    ("stores", "verified"), [([], {"one", "two"}), (["two"], {"two"}), (["two", "three"], {"two"})]
)
def test_which_stores(site, make, stores, verified):
    image = site.image("one", "two")
    make_old(site, image)
    make(stores=stores).run()
    assert {store for (_, store), at in checked(site).items() if at > 1.0} == verified


def test_stores_without_files_are_verified_if_they_are_named(site, make, monkeypatch):
    image = site.image("one")
    make_old(site, image)
    monkeypatch.setattr("imsgate.verification.settings.LocalFiles", int)
    assert make().run() == 0
    assert make(stores=["one"]).run() == 1


def test_an_unknown_store(make):
    with pytest.raises(BadConfig, match=r"\[verification\] stores: there is no store 'four'"):
        make(stores=["one", "four"])


def test_a_store_that_is_away_is_tried_later(site, make, caplog):
    images = [site.image("one", "two") for _ in range(3)]
    make_old(site, *images)
    site.take_away("one")
    passing = make()
    assert passing.run() == 1
    assert {store for (_, store), at in checked(site).items() if at > 1.0} == {"two"}
    lines = [record for record in caplog.records if "could not be verified" in record.message]
    assert len(lines) == 1
    site.bring_back("one")
    assert passing.run() == 0
    passing.wait(background.STORE_PAUSE_SECONDS)
    assert passing.run() == 1
    assert min(checked(site).values()) > 1.0


def test_a_copy_that_cannot_be_read_does_not_delay_others(site, make, monkeypatch):
    images = [site.image("one") for _ in range(3)]
    make_old(site, *images)
    bad = min(image.id for image in images)
    store = site.gate.stores.get("one")
    read = store.read

    def failing(location, *more):
        if location.startswith(bad):
            raise errors.StoreUnavailable(store="one", problem="Input/output error")
        return read(location, *more)

    monkeypatch.setattr(store, "read", failing)
    passing = make()
    assert passing.run() == 1
    assert {image for (image, _), at in checked(site).items() if at == 1.0} == {bad}
    passing.wait(background.COPY_PAUSE_SECONDS)
    monkeypatch.setattr(store, "read", read)
    assert passing.run() == 1
    assert checked(site)[bad, "one"] > 1.0


def test_a_copy_that_is_being_removed_is_left_alone(site, make):
    image = site.image("one", "two")
    make_old(site, image)
    site.registry.change(image.id, {}, upload_key=image.locations[0].place, upload_store="one")
    assert make().run() == 1
    assert checked(site)[image.id, "one"] == 1.0


def test_read_only_mode(site, make):
    make_old(site, site.image("one"), site.image("one"))
    passing = make(repair=True)
    passing.paused = True
    assert passing.run() == 0
    passing.paused = False
    assert passing.run() == 1


def test_read_only_mode_that_begins_meanwhile(site, make, monkeypatch):
    make_old(site, site.image("one"), site.image("one"))
    passing = make()
    store = site.gate.stores.get("one")
    read = store.read

    def pausing(*arguments):
        passing.paused = True
        return read(*arguments)

    monkeypatch.setattr(store, "read", pausing)
    assert passing.run() == 1
    assert sorted(at > 1.0 for at in checked(site).values()) == [False, True]


def test_the_database_fails_meanwhile(site, make, monkeypatch):
    """The job does not end, and nobody tries again at once."""
    make_old(site, site.image("one"))
    passing = make()

    def fail(*_):
        raise errors.Unavailable(what="The database")

    with monkeypatch.context() as patches:
        patches.setattr(site.registry, "record_check", fail)
        assert passing.engine.run_one()
    job = site.registry.get_job(JOB_ID)
    assert (job.state, job.lease > time.time()) == (JobState.RUNNING, True)
    assert not passing.engine.run_one()


def test_a_bug_does_not_end_it(site, make, monkeypatch):
    make_old(site, site.image("one"))
    with monkeypatch.context() as patches:
        patches.setattr(background, "Verifier", None)
        assert make().engine.run_one()
    assert site.registry.get_job(JOB_ID).state is JobState.RUNNING


def test_no_repair_unless_it_is_configured(site, make):
    image = site.image("one", "two")
    make_old(site, image)
    site.spoil(image, "one")
    assert make().run() == 1
    assert site.registry.jobs_of(image.id) == []


def test_repair(site, make):
    image = site.image("one", "two")
    make_old(site, image)
    site.spoil(image, "one")
    passing = make(repair=True)
    passing.run()
    (job,) = site.registry.jobs_of(image.id)
    assert (job.kind, job.state) == (KIND, JobState.INIT)
    passing.run()
    assert len(site.registry.jobs_of(image.id)) == 1
    assert site.gate.engine.run_one()
    assert site.damage(image) == {"one": None, "two": None}
    assert passing.run() == 0
    assert len(site.registry.jobs_of(image.id)) == 1


def test_a_repair_that_failed_is_not_tried_again_soon(site, make, monkeypatch):
    image = site.image("one", "two")
    make_old(site, image)
    site.spoil(image, "one")
    passing = make(repair=True)
    passing.run()
    store = site.gate.stores.get("one")

    def full(*_):
        raise errors.StoreFull(store="one")

    with monkeypatch.context() as patches:
        patches.setattr(store, "create", full)
        assert site.gate.engine.run_one()
    passing.run()
    (job,) = site.registry.jobs_of(image.id)
    assert job.error_code == "store_full"
    passing.wait(background.REPAIR_PAUSE_SECONDS + 60)
    passing.run()
    assert len(site.registry.jobs_of(image.id)) == 2


def test_a_thread_does_it_and_stops_at_once(site, make, monkeypatch):
    """Stopped while it waits for its rate: it would take days."""
    image = site.image("one")
    make_old(site, image)
    passing = make(rate=0.001)
    waiting = threading.Event()
    wait = background.Context.wait

    def noticed(self, seconds):
        waiting.set()
        wait(self, seconds)

    monkeypatch.setattr(background.Context, "wait", noticed)
    passing.engine.start_threads(1)
    try:
        assert waiting.wait(300)
    finally:
        passing.engine.stop(60)
    assert not any(thread.name == "verification" for thread in threading.enumerate())
    assert site.registry.get_job(JOB_ID).lease == 0.0
    assert checked(site)[image.id, "one"] == 1.0


@pytest.mark.parametrize(("interval", "number"), [(0, 1), (INTERVAL, 0)])
def test_turned_off(make, interval, number):
    passing = make(interval=interval)
    passing.engine.start_threads(number)
    passing.engine.stop()
    assert not any(thread.name == "verification" for thread in threading.enumerate())
