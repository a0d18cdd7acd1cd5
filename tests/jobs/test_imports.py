"""Import jobs whose database, stores or worker fail at the worst moment."""

import contextlib
import dataclasses
import hashlib
import time
import types

import pytest
from oslo_context import context as oslo_context

from imsgate import errors
from imsgate.hashing import RecordAlgorithms
from imsgate.http import body
from imsgate.jobs import context, engine
from imsgate.jobs.engine import Engine
from imsgate.jobs.imports import ImportWork
from imsgate.jobs.methods import IMPORT, ImportSources
from imsgate.jobs.settings import JobSettings
from imsgate.jobs.work import Work
from imsgate.model import JobState, Limits, Location, Status
from imsgate.quotas import quota
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores import memory
from imsgate.stores.enabled import Backend, Stores
from imsgate.stores.memory import MemoryStore
from imsgate.testing.records import image
from imsgate.testing.registries.statuses import bring

DATA = b"data of an image" * 10_000
SETTINGS = JobSettings(lease=60.0, poll=0.01, attempts=3)


class Failing(MemoryStore):
    """``down`` makes it fail like a store that is away; ``mangles`` changes what is read."""

    down = False
    mangles = False

    def _check(self):
        if self.down:
            raise errors.StoreUnavailable(store=self.name, problem="it is away")

    def create(self, key, size):
        self._check()
        return super().create(key, size)

    def read(self, location, offset=0, length=None):
        self._check()
        chunks = super().read(location, offset, length)
        return (chunk[::-1] for chunk in chunks) if self.mangles else chunks

    def delete(self, location):
        self._check()
        super().delete(location)

    def discard(self, key):
        self._check()
        super().discard(key)


class Flaky(MemoryRegistry):
    """``fault`` is called with the fields of each change of a job, before and after it."""

    def __init__(self):
        super().__init__()
        self.fault = lambda fields, written: None

    def change_job(self, job_id, epoch, fields, *was, **to):
        self.fault(fields, False)
        changed = super().change_job(job_id, epoch, fields, *was, **to)
        self.fault(fields, True)
        return changed


@dataclasses.dataclass
class Source:
    """What is imported; ``before`` is called before the first byte, ``asks`` before each read
    with the context of the job."""

    data: bytes = DATA
    before: object = lambda: None
    asks: object = lambda context: None
    size: int | None = None

    def is_final(self, image):
        return True

    @contextlib.contextmanager
    def open(self, image, *, check, **more):
        self.before()
        chunks = iter([self.data])

        def read(size):
            self.asks(check.__self__)
            return next(chunks, b"")

        yield types.SimpleNamespace(
            copy_into=lambda store, key: None,
            size=self.size,
            body=body.Tapped(types.SimpleNamespace(read=read), None),
            content_fields=lambda: {"virtual_size": 7},
        )


class Place:
    """A registry, the stores a, b and c, and an engine that does one job when it is told to."""

    def __init__(self, quotas=quota.NONE):
        settings = types.SimpleNamespace(
            memory_store_capacity=None, store_description=None, weight=0, optional=False
        )
        backends = [Backend(name, "memory", Failing, settings) for name in "abc"]
        self.registry, self.source = Flaky(), Source()
        self.recheck = lambda job: None
        self.stores = Stores(backends, "a")
        self.quotas = quotas
        self.settings = SETTINGS
        self.engine = self.new_engine()

    def new_engine(self):
        work = ImportWork(
            stores=self.stores,
            algorithms=RecordAlgorithms("sha256"),
            sources=ImportSources(staged=self.source, web=self.source),
            quotas=self.quotas,
            reauthorize=self.ask,
        )
        return Engine(self.registry, {IMPORT: work}, self.settings)

    def ask(self, job):
        self.recheck(job)

    def store(self, name):
        return self.stores.get(name)

    def held(self):
        return {name: len(self.store(name).held()) for name in "abc"}

    def image(self, status, *stores, **fields):
        """A new image with data in these stores."""
        one = image(disk_format="raw", container_format="bare", **fields)
        locations = []
        for name in stores:
            with self.store(name).create(f"{one.id}.00", None) as sink:
                sink.write(DATA)
                locations.append(Location(name, sink.commit()))
        facts = {"size": len(DATA), "os_hash_algo": "sha256"} if stores else {}
        facts |= {"os_hash_value": hashlib.sha256(DATA).hexdigest()} if stores else {}
        one = dataclasses.replace(one, status=status, locations=tuple(locations), **facts)
        self.registry.add(one)
        return one

    def start(self, one, method, *stores, must=True, **more):
        status = Status.ACTIVE if method == "copy-image" else Status.IMPORTING
        arguments = {
            "method": {"name": method, "uri": "http://mirror.example/"},
            "stores": stores,
            "all_stores_must_succeed": must,
            "warrant": "sealed",
            **more,
        }
        self.engine.start(
            IMPORT, project="p", image_id=one.id, arguments=arguments, was={}, status=status
        )

    def job(self, one):
        return self.registry.jobs_of(one.id)[-1]

    def expire(self, one):
        """The lease of the job runs out."""
        job = self.job(one)
        self.registry._jobs[job.id] = dataclasses.replace(job, lease=0.0)


@pytest.fixture
def place():
    return Place()


@pytest.mark.parametrize("method", ["glance-direct", "web-download", "copy-image"])
def test_everything_works(place, method):
    if method == "web-download":
        one = place.image(Status.QUEUED)
    else:
        one = place.image(Status.ACTIVE if method == "copy-image" else Status.UPLOADING, "a")
    place.start(one, method, "b", "c")
    assert place.engine.run_one()
    assert not place.engine.run_one()
    done, found = place.job(one), place.registry.get(one.id)
    assert (done.state, done.lease, done.progress) == (JobState.SUCCESS, None, 2 * len(DATA))
    assert done.end_at >= done.begin_at
    assert "warrant" not in done.arguments
    assert (found.status, found.size) == (Status.ACTIVE, len(DATA))
    assert found.os_hash_value == hashlib.sha256(DATA).hexdigest()
    kept = ["a", "b", "c"] if method == "copy-image" else ["b", "c"]
    assert [location.store for location in found.locations] == kept
    assert place.held() == {name: int(name in kept) for name in "abc"}


class Clock:
    def __init__(self, monkeypatch):
        self.now = time.time()
        for module in (engine, context):
            monkeypatch.setattr(module, "time", self)

    def time(self):
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def attempts(place, clock, one, seconds=3600):
    """Do the job until it has ended; return the pauses between its attempts."""
    pauses = []
    while place.job(one).state in (JobState.INIT, JobState.RUNNING):
        began = clock.now
        while not place.engine.run_one():
            clock.now += 0.5
            assert clock.now < began + seconds
        pauses.append(clock.now - began)
    return pauses[1:]


AWAY = errors.SourceUnavailable(problem="it cannot be reached")


@pytest.mark.parametrize("amid", [False, True], ids=["at the start", "amid the bytes"])
def test_an_outage_of_a_source_is_waited_out(place, clock, amid):
    failures = iter([AWAY] * 8)

    def fail(*_):
        for failure in failures:
            raise failure

    place.source = Source(asks=fail) if amid else Source(before=fail)
    place.engine = place.new_engine()
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a", "b")
    assert attempts(place, clock, one) == [2.5, 4.5, 8.5, 16.5, 32.5, 60.5, 60.5, 60.5]
    assert place.job(one).state == JobState.SUCCESS
    assert place.held() == {"a": 1, "b": 1, "c": 0}


@pytest.mark.parametrize(
    ("error", "seconds", "pauses"),
    [
        (errors.SourceFailed(problem="the server answered 404"), 600, 0),
        (errors.UriRefused(problem="no"), 600, 0),
        (AWAY, 600, 13),
        (AWAY, 6, 2),
        (AWAY, 0, 0),
    ],
    ids=str,
)
def test_the_end_of_patience(place, clock, error, seconds, pauses):
    def fail(*_):
        raise error

    place.source = Source(before=fail)
    place.settings = dataclasses.replace(SETTINGS, source_retry_time=seconds)
    place.engine = place.new_engine()
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")
    assert len(attempts(place, clock, one)) == pauses
    assert (place.job(one).state, place.job(one).error_code) == (JobState.FAIL, error.reason)
    assert place.registry.get(one.id).status == Status.QUEUED
    assert place.held() == dict.fromkeys("abc", 0)


def test_a_copy_whose_store_is_away_is_waited_for(place, clock):
    one = place.image(Status.ACTIVE, "a")
    place.start(one, "copy-image", "b")
    place.store("a").down = True
    assert place.engine.run_one()
    assert place.job(one).state == JobState.RUNNING
    place.store("a").down = False
    assert len(attempts(place, clock, one)) == 0
    assert place.job(one).state == JobState.SUCCESS


def test_a_deleted_image_is_waited_for_no_longer(place, clock):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def fail():
        place.registry.cancel_jobs(one.id)
        raise AWAY

    place.source = Source(before=fail)
    place.engine = place.new_engine()
    assert len(attempts(place, clock, one)) == 1
    assert (place.job(one).state, place.job(one).error_code) == (JobState.FAIL, "cancelled")


@pytest.mark.parametrize("method", ["glance-direct", "web-download", "copy-image"])
def test_a_requester_who_lost_permission_gets_nothing(place, method):
    before = {"web-download": Status.QUEUED, "copy-image": Status.ACTIVE}
    one = place.image(before.get(method, Status.UPLOADING), *["a"][: method != "web-download"])
    place.start(one, method, "b", "c")

    def recheck(job):
        assert job.arguments["warrant"] == "sealed"
        assert place.held()["c"] == 1, "it is asked when all is there"
        raise errors.Forbidden(action="import")

    place.recheck = recheck
    place.engine.run_one()
    job, found = place.job(one), place.registry.get(one.id)
    assert (job.state, job.error_code) == (JobState.FAIL, "forbidden")
    assert "warrant" not in job.arguments
    assert found.status == (Status.ACTIVE if method == "copy-image" else Status.QUEUED)
    assert place.held() == {"a": int(method == "copy-image"), "b": 0, "c": 0}


@pytest.mark.parametrize("stopped", [False, True])
def test_permission_cannot_be_checked_during_an_outage(place, stopped):
    """Nothing of what was done is thrown away for that."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "b")
    outages = iter([errors.Unavailable(what="Keystone")])

    def recheck(job):
        if stopped:
            place.engine.stop()
        for outage in outages:
            raise outage

    place.recheck = recheck
    place.engine.run_one()
    done, found = place.job(one), place.registry.get(one.id)
    if stopped:
        assert (done.state, done.lease) == (JobState.RUNNING, 0.0)
        assert (found.status, place.held()["b"]) == (Status.IMPORTING, 0)
    else:
        assert (done.state, done.epoch) == (JobState.SUCCESS, 1)
        assert (found.status, place.held()["b"]) == (Status.ACTIVE, 1)


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("staged", [False, True])
def test_database_is_lost_at_the_last_step(place, written, staged):
    """Nobody knows then whether the record points at the data: so nobody removes it."""
    one = place.image(Status.UPLOADING, "a") if staged else place.image(Status.QUEUED)
    place.start(one, "glance-direct" if staged else "web-download", "b")

    def fault(fields, after):
        if after is written and {"state", "arguments"} & set(fields):
            place.registry.fault = lambda *_: None
            raise errors.Unavailable(what="The database")

    place.registry.fault = fault
    place.engine.run_one()
    found = place.registry.get(one.id)
    if written:
        assert found.status == Status.ACTIVE
        assert place.held()["b"] == 1
    place.expire(one)
    place.engine.run_one()
    found = place.registry.get(one.id)
    assert (found.status, place.job(one).state) == (Status.ACTIVE, JobState.SUCCESS)
    assert [location.store for location in found.locations] == ["b"]
    assert place.held() == {"a": 0, "b": 1, "c": 0}
    assert b"".join(place.store("b").read(found.locations[0].url)) == DATA


def test_staged_data_that_cannot_be_removed_yet(place):
    one = place.image(Status.UPLOADING, "a")
    place.start(one, "glance-direct", "b")

    def fault(fields, after):
        place.store("a").down = ("arguments" in fields and after) or place.store("a").down

    place.registry.fault = fault
    place.engine.run_one()
    found = place.registry.get(one.id)
    assert (found.status, place.job(one).state) == (Status.ACTIVE, JobState.RUNNING)
    place.expire(one)
    place.engine.run_one()  # still away
    assert place.registry.get(one.id) == found
    place.store("a").down = False
    place.registry.fault = lambda *_: None
    place.expire(one)
    place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert [location.store for location in place.registry.get(one.id).locations] == ["b"]
    assert place.held() == {"a": 0, "b": 1, "c": 0}


def test_bug_in_clearing_up_costs_no_data(place, caplog):
    one = place.image(Status.UPLOADING, "a")
    place.start(one, "glance-direct", "b")

    def bug(location):
        raise ZeroDivisionError

    place.store("a").delete = bug
    place.engine.run_one()
    found = place.registry.get(one.id)
    assert (found.status, place.job(one).state) == (Status.ACTIVE, JobState.RUNNING)
    assert place.held() == {"a": 1, "b": 1, "c": 0}
    del place.store("a").delete
    place.expire(one)
    place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert place.held() == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize("kind", [ZeroDivisionError, errors.Conflict])
def test_bug_in_undoing_leaves_no_image_importing_for_ever(place, kind, caplog):
    one = place.image(Status.UPLOADING, "a")
    place.start(one, "glance-direct", "b")
    place.store("a").mangles = True

    def bug(key):
        raise kind(**({"problem": "no"} if kind is errors.Conflict else {}))

    place.store("b").discard = bug
    place.engine.run_one()
    assert place.job(one).state == JobState.RUNNING
    del place.store("b").discard
    place.expire(one)
    place.engine.run_one()
    assert place.job(one).error_code == "copy_differs"
    assert place.registry.get(one.id).status == Status.QUEUED
    assert place.held() == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("denied", [True, False])
def test_a_store_that_cannot_be_cleared_does_not_keep_an_image_importing(place, denied, caplog):
    """What is left is no longer the job's, so that the sweep of the stores may remove it."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "b")

    def refuse(key):
        kind = errors.StoreDenied if denied else errors.StoreUnavailable
        raise kind(store="b", problem="no")

    place.store("b").discard = refuse
    place.source.before = lambda: place.registry.cancel_jobs(one.id)
    if not denied:
        job = place.job(one)
        arguments = {**job.arguments, "handed_back": 9}
        place.registry._jobs[job.id] = dataclasses.replace(job, arguments=arguments, epoch=9)
        place.engine.run_one()
        assert place.job(one).state == JobState.RUNNING
        place.expire(one)
    place.engine.run_one()
    assert place.job(one).state == JobState.FAIL
    assert place.registry.get(one.id).status == Status.QUEUED
    assert "may have left data at" in caplog.text


@pytest.mark.parametrize("fails", [True, False])
def test_staged_data_that_cannot_be_removed_does_not_keep_a_job_running(place, fails, caplog):
    """Its store went away for good after the data was read."""
    one = place.image(Status.UPLOADING, "a")
    place.start(one, "glance-direct", "b")
    place.store("a").mangles = fails

    def refuse(url):
        raise errors.StoreUnavailable(store="a", problem="no")

    place.store("a").delete = refuse
    attempts = 0
    while place.job(one).state not in (JobState.FAIL, JobState.SUCCESS):
        place.engine.run_one()
        place.expire(one)
        attempts += 1
        assert attempts < 20
    assert attempts > 5
    assert place.job(one).state == (JobState.FAIL if fails else JobState.SUCCESS)
    assert place.registry.get(one.id).status == (Status.QUEUED if fails else Status.ACTIVE)
    assert "may have left data at" in caplog.text


@pytest.mark.parametrize("method", ["glance-direct", "copy-image"])
def test_store_that_gives_other_bytes(place, method):
    one = place.image(Status.ACTIVE if method == "copy-image" else Status.UPLOADING, "a")
    place.start(one, method, "b")
    place.store("a").mangles = True
    place.engine.run_one()
    assert place.job(one).error_code == "copy_differs"
    found = place.registry.get(one.id)
    if method == "copy-image":
        assert (found.status, found.locations) == (Status.ACTIVE, one.locations)
        assert place.held() == {"a": 1, "b": 0, "c": 0}
    else:
        assert (found.status, found.locations, found.size) == (Status.QUEUED, (), None)
        assert place.held() == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize("must", [True, False])
def test_stores_that_are_away(place, must):
    one = place.image(Status.ACTIVE, "a")
    place.start(one, "copy-image", "b", "c", must=must)
    place.store("b").create = lambda key, size: Failing._check(types.SimpleNamespace(**DOWN))
    place.engine.run_one()
    found = place.registry.get(one.id)
    if must:
        assert place.job(one).error_code == "store_unavailable"
        assert [location.store for location in found.locations] == ["a"]
        assert found.properties["os_glance_failed_import"] == "b,c"
    else:
        assert place.job(one).state == JobState.SUCCESS
        assert [location.store for location in found.locations] == ["a", "c"]
        assert found.properties["os_glance_failed_import"] == "b"
    assert found.properties["os_glance_importing_to_stores"] == ""


DOWN = {"down": True, "name": "b"}


@pytest.mark.parametrize("end", ["back at once", "back later", "deleted meanwhile"])
def test_nothing_stays_in_a_store_that_was_left_out(place, end):
    """It goes away when it has some of the data: nobody else would look there again."""
    one = place.image(Status.ACTIVE, "a")
    place.start(one, "copy-image", "b", "c", must=False)
    store = place.store("b")
    append = store.append

    def away(key, chunk):
        append(key, chunk)
        store.down = True
        raise errors.StoreUnavailable(store="b", problem="away")

    def recheck(job):
        store.down = end != "back at once"

    store.append, place.recheck = away, recheck
    # What the contract asks for: aborting never raises.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory._MemorySink, "abort", lambda sink: None)
        place.engine.run_one()
    found = place.registry.get(one.id)
    assert [location.store for location in found.locations] == ["a", "c"]
    if end != "back at once":
        assert (place.job(one).state, place.held()["b"]) == (JobState.RUNNING, 1)
        store.down = False
        if end == "deleted meanwhile":
            bring(place.registry, one.id, Status.DELETED)
            place.registry.change(one.id, {}, locations=())
            place.registry.cancel_jobs(one.id)
        place.expire(one)
        place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert place.held() == {"a": 1, "b": 0, "c": 1}


def test_store_that_is_away_for_a_moment_after_a_death_fails_no_job(place):
    """When what the dead worker left is to go, before anything is begun."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "b")
    place.registry.claim_job([IMPORT], 0.0, 1.0)
    store = place.store("b")

    def away(key):
        del store.discard
        raise errors.StoreUnavailable(store="b", problem="away")

    store.discard = away
    assert place.engine.run_one()
    assert place.job(one).state == JobState.RUNNING
    place.expire(one)
    assert place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert place.held() == {"a": 0, "b": 1, "c": 0}


def test_failure_that_cannot_be_cleared_up_yet(place):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a", "b")

    def fault():
        for name in "ab":
            place.store(name).down = True
        raise errors.SourceFailed(problem="it is over")

    place.source.before = fault
    place.engine.run_one()
    assert place.registry.get(one.id).status == Status.IMPORTING
    assert place.job(one).state == JobState.RUNNING
    for name in "ab":
        place.store(name).down = False

    def over():
        raise errors.SourceFailed(problem="it is over")

    place.source.before = over
    place.expire(one)
    place.engine.run_one()
    assert place.registry.get(one.id).status == Status.QUEUED
    assert place.job(one).error_code == "source_failed"


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.StoreFull(store="a"), "WARNING"),
        (errors.SourceFailed(problem="it is over"), "INFO"),
    ],
    ids=["operator's", "user's"],
)
def test_a_job_that_failed_for_its_operator_is_a_warning(place, caplog, error, level):
    caplog.set_level("INFO")
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def fail():
        raise error

    place.source.before = fail
    place.engine.run_one()
    (line,) = [line for line in caplog.records if str(error) in line.getMessage()]
    assert line.levelname == level


def test_what_the_log_says_of_a_job(place, caplog):
    """As text, and as fields for oslo.log's JSON; other lines of the job name its request."""
    caplog.set_level("INFO")
    request_id = "req-0b4b9b5e-4b0f-4d0e-9d2f-0a5a3c1f2e3d"
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a", request_id=request_id, user_id="alice")
    seen = []
    place.source.before = lambda: seen.append(oslo_context.get_current().to_dict())
    place.engine.run_one()
    job = place.job(one)
    begun, ended = [line for line in caplog.records if hasattr(line, "extra")]
    whose = f"image: {one.id} project: {job.project} request: {request_id}"
    assert begun.getMessage() == f"Job {job.id} (import), attempt 1: {whose}"
    fields = dict(ended.extra)
    seconds = fields.pop("time")
    assert ended.getMessage() == (
        f"Job {job.id} (import) succeeded: {whose} bytes: {job.progress} time: {seconds}"
    )
    assert ended.levelname == "INFO"
    assert job.progress > 0
    assert fields == {
        "job": job.id,
        "kind": "import",
        "image": one.id,
        "project": job.project,
        "request": request_id,
        "bytes": job.progress,
    }
    assert [(each["request_id"], each["user"]) for each in seen] == [(request_id, "alice")]
    assert oslo_context.get_current().request_id is None


def test_an_image_that_a_job_refuses(place, caplog):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def refuse():
        raise errors.BadImage(check="backing_file", offset=8, problem="it names a file")

    place.source.before = refuse
    place.engine.run_one()
    (line,) = [line for line in caplog.records if hasattr(line, "extra")]
    assert line.levelname == "WARNING"
    assert "(backing_file at byte 8)" in line.getMessage()
    assert line.getMessage().endswith("reason: image_refused check: backing_file offset: 8)")
    assert (line.extra["check"], line.extra["offset"]) == ("backing_file", 8)


def test_bug_is_a_failure_that_tells_nothing(place, caplog):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def bug():
        raise ZeroDivisionError("secret")

    place.source.before = bug
    place.engine.run_one()
    done = place.job(one)
    assert (done.state, done.error_code) == (JobState.FAIL, "internal_error")
    assert "secret" not in done.reason
    assert "ZeroDivisionError" in caplog.text
    assert place.registry.get(one.id).status == Status.QUEUED


def test_stale_worker_leaves_nothing(place):
    """It is paused before its first byte, for longer than its lease."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def paused():
        place.source.before = lambda: None
        place.expire(one)
        place.new_engine().run_one()
        assert place.job(one).state == JobState.SUCCESS

    place.source.before = paused
    place.engine.run_one()
    found, done = place.registry.get(one.id), place.job(one)
    assert (found.status, done.state, done.epoch) == (Status.ACTIVE, JobState.SUCCESS, 2)
    assert place.store("a").held() == [found.locations[0].url]


def test_stale_worker_whose_commit_comes_late_leaves_nothing(place):
    """S3 takes a small image in one piece, from whoever sends it and whenever it comes."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")
    store = place.store("a")
    publish = store.publish

    def late(key):
        store.publish, parts = publish, list(store._parts[key])
        place.expire(one)
        place.new_engine().run_one()
        store._parts[key] = parts
        publish(key)

    store.publish = late
    place.engine.run_one()
    found, done = place.registry.get(one.id), place.job(one)
    assert (found.status, done.state, done.epoch) == (Status.ACTIVE, JobState.SUCCESS, 2)
    assert store.held() == [found.locations[0].url]


def test_bug_in_leaving_a_job_to_others_fails_no_job(place, caplog):
    one = place.image(Status.UPLOADING, "a")
    place.start(one, "glance-direct", "b")

    def bug(key):
        raise ZeroDivisionError

    def recheck(job):
        place.store("b").discard = bug
        place.engine.stop()
        raise errors.Unavailable(what="Keystone")

    place.recheck = recheck
    place.engine.run_one()
    assert (place.job(one).state, place.job(one).lease) == (JobState.RUNNING, 0.0)
    del place.store("b").discard
    place.recheck = lambda job: None
    place.new_engine().run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert place.held() == {"a": 0, "b": 1, "c": 0}


@pytest.mark.parametrize("end", ["deleted", "taken over", "stopped"])
def test_source_that_asks_and_is_told_to_end(place, end):
    """The wrapper round a body makes what it does not know a cut body: that is not the reason."""
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def ask(context):
        if end == "deleted":
            place.registry.change(one.id, {}, status=Status.DELETED, locations=())
            place.registry.cancel_jobs(one.id)
            context.renew()
        elif end == "taken over":
            place.registry.claim_job([IMPORT], time.time() + 3600, time.time() + 7200)
            context.renew()
        else:
            place.engine.stop()
            context.check()

    place.source.asks = ask
    place.engine.run_one()
    done = place.job(one)
    assert place.held() == {"a": 0, "b": 0, "c": 0}
    if end == "deleted":
        assert (done.state, done.error_code) == (JobState.FAIL, "cancelled")
    else:
        assert (done.state, done.error_code) == (JobState.RUNNING, None)


@pytest.mark.parametrize("when", ["before", "during"])
def test_deleted_image(place, when):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a")

    def delete():
        was = {"status": Status.IMPORTING}
        place.registry.change(one.id, was, status=Status.DELETED, locations=())
        place.registry.cancel_jobs(one.id)

    if when == "before":
        delete()
    else:
        place.source.before = delete
    place.engine.run_one()
    done = place.job(one)
    assert (done.state, done.error_code) == (JobState.FAIL, "cancelled")
    assert place.held() == {"a": 0, "b": 0, "c": 0}


def test_changes_of_others_are_kept(place):
    one = place.image(Status.QUEUED)
    place.start(one, "web-download", "a", "b")

    def rename():
        place.registry.change(one.id, {}, name="renamed", properties={"mine": "1"})

    place.source.before = rename
    place.engine.run_one()
    found = place.registry.get(one.id)
    assert (found.name, found.properties["mine"], found.virtual_size) == ("renamed", "1", 7)


def test_unknown_kind_waits_for_a_worker_that_knows_it(place):
    place.engine.start("other", project=None, image_id=None, arguments={})
    assert not place.engine.run_one()
    seen = []

    class Other(Work):
        def run(self, job, context):
            seen.append(job)

    other = Engine(place.registry, {"other": Other()}, SETTINGS)
    assert other.run_one()
    assert [job.state for job in place.registry.jobs(None)] == [JobState.SUCCESS]
    assert len(seen) == 1


# Quotas


class _Bytes(quota.Quotas):
    """Bytes instead of MiB."""

    def __init__(self, most, away=0):
        """``away`` is how often they cannot be had at first."""
        self.most, self.away = most, away

    def of(self, project):
        self.away -= 1
        if self.away >= 0:
            raise errors.Unavailable(what="Keystone")
        return Limits(project, {"image_size_total": self.most})


@pytest.mark.parametrize("size", [len(DATA), None], ids=["announced", "unknown"])
@pytest.mark.parametrize("lacking", [0, 1])
def test_a_download_reserves_every_copy(size, lacking):
    place = Place(_Bytes(2 * len(DATA) - lacking))
    place.source.size = size
    one = place.image(Status.QUEUED, owner="p")
    place.start(one, "web-download", "b", "c")
    assert place.engine.run_one()
    done, usage = place.job(one), place.registry.usage("p")
    if lacking:
        assert (done.state, done.error_code) == (JobState.FAIL, "limit_exceeded")
        assert place.registry.get(one.id).status == Status.QUEUED
        assert (usage.image_size_total, usage.image_count_uploading) == (0, 0)
        assert place.held() == {"a": 0, "b": 0, "c": 0}
    else:
        assert done.state == JobState.SUCCESS
        assert (usage.image_size_total, usage.image_count_uploading) == (2 * len(DATA), 0)


def test_what_a_dead_worker_reserved_is_its_successors():
    place = Place(_Bytes(len(DATA)))
    one = place.image(Status.QUEUED, owner="p")
    place.start(one, "web-download", "b")
    dead = place.registry.claim_job([IMPORT], 0.0, 1.0)
    place.registry.change_job(dead.id, dead.epoch, {}, {}, upload_reserved=len(DATA))
    assert place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
    assert place.registry.usage("p").image_size_total == len(DATA)
    assert place.registry.get(one.id).upload_reserved == 0


def test_limits_that_cannot_be_had_now_fail_no_job():
    place = Place(_Bytes(len(DATA), away=1))
    one = place.image(Status.QUEUED, owner="p")
    place.start(one, "web-download", "b")
    assert place.engine.run_one()
    assert place.job(one).state == JobState.RUNNING
    assert place.held() == {"a": 0, "b": 0, "c": 0}
    place.expire(one)
    assert place.engine.run_one()
    assert place.job(one).state == JobState.SUCCESS
