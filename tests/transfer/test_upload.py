"""Uploads: what each ending leaves of the record and in the store; and the sweep."""

import contextlib
import hashlib
import io
import itertools
import os
import threading
import types
import uuid
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors, model
from imsgate.http.body import Tapped
from imsgate.model import Image, Location, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores.base import Store
from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing.gateways import gateway, memory_store, settings
from imsgate.transfer import cleanup, copy, digests, lease, upload

SIZE = 300_000
DATA = hashlib.shake_128(b"image").digest(SIZE)
LEASE = 60


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1_000_000.0

    def monotonic(self):
        return self.time()

    def time(self):
        return self.now

    def expire(self):
        self.now += LEASE + 1

    #: Sweeps of other tests' applications run on in their threads.
    sleep = staticmethod(sleep)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    pass_time(monkeypatch, clock)
    return clock


def pass_time(monkeypatch, clock):
    for module in (upload, lease, cleanup):
        monkeypatch.setattr(module, "time", clock)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """As many tries, one behind the other."""
    monkeypatch.setattr(lease, "RETRY_PAUSES_SECONDS", [0] * len(lease.RETRY_PAUSES_SECONDS))


@pytest.fixture(autouse=True)
def threads():
    """Whatever happens, no thread of an upload outlives it."""
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("lease", "digest-"))]


def held(store):
    """Everything in a store, whole or not."""
    if isinstance(store, FilesystemStore):
        root = store.settings.filesystem_store_datadir
        return sorted(
            os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
        )
    return store.held()


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    if request.param == "memory":
        return memory_store()
    directory = tmp_path / "images"
    options = settings(FilesystemStore.OPTS, filesystem_store_datadir=str(directory))
    return FilesystemStore("fast", options)


class Wrapped(Store):
    """A store that does something else at one point: ``at(name)`` runs before each step."""

    def __init__(self, store, at):
        super().__init__(store.name, store.settings)
        self.store = store
        self.at = at

    def create(self, key, size):
        self.at("create")
        sink, at = self.store.create(key, size), self.at

        class Sink(type(sink)):
            def write(self, chunk):
                at("write")
                super().write(chunk)

            def commit(self):
                at("commit")
                location = super().commit()
                at("committed")
                return location

        sink.__class__ = Sink
        return sink

    def read(self, location, offset=0, length=None):
        return self.store.read(location, offset, length)

    def size(self, location):
        return self.store.size(location)

    def delete(self, location):
        self.at("delete")
        self.store.delete(location)

    def discard(self, key):
        self.at("discard")
        self.store.discard(key)


class Registry(MemoryRegistry):
    """A registry that does something else at one point: ``at(status)`` runs before a change
    to that status, and what it returns, if it can be called, after it."""

    at = staticmethod(lambda status: None)

    def change(self, image_id, *was, **to):
        after = self.at(to.get("status"))
        image = super().change(image_id, *was, **to)
        if after:
            after()
        return image


def body(read):
    """A request body of unknown length."""
    return Tapped(types.SimpleNamespace(read=read), None)


class Attempt:
    """One image, and an upload to it whose every step can be interfered with."""

    def __init__(self, store):
        self.registry = Registry()
        self.store = store
        self.wrapped = Wrapped(store, self.in_store)
        self.gate = gateway(registry=self.registry, stores=[self.wrapped], lease=LEASE)
        self.uploads, self.cleanup = self.gate.uploads, self.gate.cleanup
        now = model.now()
        self.image = Image(id=str(uuid.uuid4()), owner="p", created_at=now, updated_at=now)
        self.registry.add(self.image)
        self.steps = {}

    def on(self, step, action, times=None):
        """Run ``action`` before a step: always, or the so-many-th time only."""
        self.steps[step] = (itertools.count(1), times, action)

    def fail(self, step, error, times=None):
        def action():
            raise error

        self.on(step, action, times)

    def in_store(self, step):
        if step in self.steps:
            count, times, action = self.steps[step]
            if times in (None, next(count)):
                action()

    def receive(self, data=DATA, size=SIZE, **more):
        stream = io.BytesIO(data)

        def read(size):
            self.in_store("read")
            return stream.read(size)

        return self.uploads.receive(self.record, body(read), store=self.wrapped, size=size, **more)

    def again(self, data=b"another"):
        """A whole upload, by another request."""
        read = io.BytesIO(data).read
        return self.uploads.receive(self.record, body(read), store=self.store, size=None)

    def delete(self):
        self.registry.change(self.image.id, {}, status=Status.PENDING_DELETE)
        self.cleanup.erase(self.record)

    @property
    def record(self):
        """The record, deleted or not."""
        return self.registry._images[self.image.id]

    @property
    def residue(self):
        """Whatever is not as it was before: upload fields, and what the store holds."""
        record = self.record
        left = [record.upload_store, record.upload_key, record.upload_expires]
        return [word for word in left if word is not None] + held(self.store)


@pytest.fixture
def attempt(store, clock):
    return Attempt(store)


# Whole uploads


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({"name": "another", "tags": frozenset({"t"})}, True),
        ({"disk_format": "qcow2"}, False),
        ({"container_format": "ova"}, False),
        ({"properties": {"img_signature": "x"}}, False),
        ({"owner": "q"}, False),
    ],
    ids=str,
)
def test_what_changed_since_the_request_read_the_record(attempt, change, taken):
    """The data would be checked against what the record no longer says."""
    attempt.registry.change(attempt.image.id, {}, **change)
    read = io.BytesIO(DATA).read
    with contextlib.nullcontext() if taken else pytest.raises(errors.Conflict):
        attempt.uploads.receive(attempt.image, body(read), store=attempt.store, size=None)
    assert attempt.record.status == (Status.ACTIVE if taken else Status.QUEUED)
    assert len(held(attempt.store)) == taken


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000, 3_000_000])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unknown"])
def test_what_is_received_is_stored(attempt, size, announced):
    data = hashlib.shake_128(b"x").digest(size)
    image = attempt.receive(data, size=size if announced else None)
    assert image == attempt.registry.get(image.id)
    assert (image.status, image.size) == (Status.ACTIVE, size)
    assert image.checksum == hashlib.md5(data).hexdigest()
    assert (image.os_hash_algo, image.os_hash_value) == (
        "sha512",
        hashlib.sha512(data).hexdigest(),
    )
    assert [image.upload_store, image.upload_key, image.upload_expires] == [None] * 3
    [location] = image.locations
    assert location.store == "fast"
    assert b"".join(attempt.store.read(location.url)) == data
    assert len(held(attempt.store)) == 1


def test_facts_are_asked_after_the_last_byte(attempt):
    asked = []
    attempt.on("write", lambda: asked.append("write"))

    def facts():
        asked.append("facts")
        return {"virtual_size": 7}

    assert attempt.receive(content_fields=facts).virtual_size == 7
    assert asked.index("facts") == len(asked) - 1


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "sha3_512", "blake2b"])
def test_the_algorithm_can_be_chosen(attempt, algorithm):
    chosen = upload.UploadSettings(hashing_algorithm=algorithm, lease=LEASE)
    attempt.uploads = upload.Uploads(registry=attempt.registry, settings=chosen)
    image = attempt.receive()
    assert image.os_hash_value == hashlib.new(algorithm, DATA).hexdigest()
    assert image.checksum == hashlib.md5(DATA).hexdigest()


def test_while_bytes_come_the_record_says_so(attempt, clock):
    seen = []
    attempt.on("read", lambda: seen.append(attempt.record), 2)
    attempt.receive()
    [image] = seen
    assert (image.status, image.upload_store) == (Status.SAVING, "fast")
    assert image.upload_key.startswith(f"{image.id}.")
    assert image.upload_expires == clock.now + LEASE


def test_every_attempt_has_a_key_of_its_own(attempt):
    keys = []
    attempt.on("create", lambda: keys.append(attempt.record.upload_key))
    for _ in range(3):
        with pytest.raises(errors.SizeMismatch):
            attempt.receive(size=1)
    assert len(set(keys)) == 3


def test_the_first_read_is_small_and_none_is_large(attempt):
    asked = []

    def read(size):
        asked.append(size)
        return bytes(size) if len(asked) < 8 else b""

    attempt.uploads.receive(attempt.image, body(read), store=attempt.store, size=None)
    assert (asked[0], max(asked)) == (copy.FIRST_READ_BYTES, digests.BEST_CHUNK_BYTES)


@pytest.mark.parametrize(
    ("step", "seconds", "following"),
    [
        (copy.FIRST_READ_BYTES, 0.0, 2 * copy.FIRST_READ_BYTES),
        (digests.BEST_CHUNK_BYTES, 0.0, digests.BEST_CHUNK_BYTES),
        (digests.BEST_CHUNK_BYTES, 2.0, digests.BEST_CHUNK_BYTES),
        (digests.BEST_CHUNK_BYTES, 60.0, digests.BEST_CHUNK_BYTES // 2),
        (copy.FIRST_READ_BYTES, 60.0, copy.FIRST_READ_BYTES),
    ],
)
def test_a_slow_client_is_asked_for_less_at_a_time(step, seconds, following):
    assert copy._next_size(step, seconds) == following


# Failures: each leaves the image queued, and nothing in the store


class Boom(Exception):
    """Something no part of this knows."""


FULL = errors.StoreFull(store="fast")
AWAY = errors.StoreUnavailable(store="fast", problem="away")
CUT = errors.BodyCut(received=5)


def announced(size):
    return lambda attempt: {"size": size}


def failing(step, error, times=None):
    def prepare(attempt):
        attempt.fail(step, error, times)
        return {}

    return prepare


def bad_facts(attempt):
    def facts():
        raise errors.BadImage(check="c", offset=1, problem="p")

    return {"content_fields": facts}


FAILURES = {
    "short": (announced(len(DATA) + 1), errors.SizeMismatch),
    "long": (announced(len(DATA) - 1), errors.SizeMismatch),
    "much-announced": (announced(10 * len(DATA)), errors.SizeMismatch),
    "nothing-announced": (announced(0), errors.SizeMismatch),
    "full-at-once": (failing("create", FULL), errors.StoreFull),
    "down-at-once": (failing("create", AWAY), errors.StoreUnavailable),
    "full-at-first-chunk": (failing("write", FULL, 1), errors.StoreFull),
    "full-at-third-chunk": (failing("write", FULL, 3), errors.StoreFull),
    "down-at-second-chunk": (failing("write", AWAY, 2), errors.StoreUnavailable),
    "bug-at-second-chunk": (failing("write", Boom(), 2), Boom),
    "full-at-commit": (failing("commit", FULL), errors.StoreFull),
    "down-at-commit": (failing("commit", AWAY), errors.StoreUnavailable),
    "bug-at-commit": (failing("commit", Boom()), Boom),
    "answer-to-commit-lost": (failing("committed", AWAY), errors.StoreUnavailable),
    "interrupted-after-commit": (failing("committed", KeyboardInterrupt()), KeyboardInterrupt),
    "cut-at-once": (failing("read", CUT, 1), errors.BodyCut),
    "cut-amid": (failing("read", CUT, 2), errors.BodyCut),
    "interrupted": (failing("read", KeyboardInterrupt(), 2), KeyboardInterrupt),
    "process-ends": (failing("write", SystemExit(), 2), SystemExit),
    "refused-by-content": (bad_facts, errors.BadImage),
}


@pytest.mark.parametrize(("prepare", "error"), FAILURES.values(), ids=FAILURES)
def test_a_failure_leaves_nothing(attempt, prepare, error):
    with pytest.raises(error):
        attempt.receive(**prepare(attempt))
    assert attempt.record.status == Status.QUEUED
    assert attempt.residue == []
    attempt.steps.clear()
    assert attempt.receive().status == Status.ACTIVE


@pytest.mark.parametrize("step", ["write", "committed"])
def test_what_a_store_that_went_away_keeps_is_swept(attempt, clock, step):
    attempt.fail(step, AWAY, 1)
    attempt.fail("discard", AWAY)
    with pytest.raises(errors.StoreUnavailable):
        attempt.receive()
    assert attempt.record.status == Status.SAVING
    attempt.steps.clear()
    clock.expire()
    assert attempt.cleanup.sweep() == 1
    assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])


@pytest.mark.parametrize("status", [Status.SAVING, Status.ACTIVE, Status.DEACTIVATED])
def test_only_a_queued_image_takes_data(attempt, status):
    attempt.registry.change(attempt.image.id, {}, status=status, upload_key="k")
    attempt.fail("read", AssertionError("nothing is to be read"))
    with pytest.raises(errors.WrongStatus) as caught:
        attempt.receive()
    assert caught.value.details["status"] == status
    assert attempt.record.upload_key == "k"
    assert held(attempt.store) == []


def test_a_deleted_image_takes_none(attempt):
    attempt.delete()
    with pytest.raises(errors.NotFound):
        attempt.receive()


def test_the_second_of_two_writers_is_refused(attempt):
    refused = []

    def second():
        with pytest.raises(errors.WrongStatus) as caught:
            attempt.again()
        refused.append(caught.value)

    attempt.on("read", second, 2)
    assert attempt.receive().size == len(DATA)
    assert len(refused) == 1
    assert len(held(attempt.store)) == 1


# The registry fails


def outage(step):
    def at(status):
        if status == step:
            raise errors.Unavailable(what="The database")

    return at


def lost_answer(step):
    def fail():
        raise errors.Unavailable(what="The database")

    return lambda status: fail if status == step else None


def test_an_outage_at_the_start_changes_nothing(attempt):
    attempt.registry.at = outage(Status.SAVING)
    attempt.fail("read", AssertionError("nothing is to be read"))
    with pytest.raises(errors.Unavailable):
        attempt.receive()
    assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(lost_answer(Status.SAVING), id="start-answer-lost"),
        pytest.param(outage(Status.ACTIVE), id="finish"),
    ],
)
def test_an_outage_is_swept_once_the_lease_has_run_out(attempt, clock, at):
    attempt.registry.at = at
    with pytest.raises(errors.Unavailable):
        attempt.receive()
    attempt.registry.at = lambda status: None
    assert attempt.record.status == Status.SAVING
    assert attempt.cleanup.sweep() == 0
    clock.expire()
    assert attempt.cleanup.sweep() == 1
    assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])
    assert attempt.receive().status == Status.ACTIVE


@pytest.mark.parametrize("at", [outage(Status.ACTIVE), lost_answer(Status.ACTIVE)])
def test_an_upload_outlasts_an_outage_at_its_end(attempt, at):
    """Whether the record was written before the connection broke, or not."""
    tries = itertools.count()
    attempt.registry.at = lambda status: at(status) if next(tries) < 4 else None
    assert attempt.receive().status == Status.ACTIVE
    assert attempt.record.status == Status.ACTIVE
    assert b"".join(attempt.store.read(attempt.record.locations[0].url)) == DATA


def test_a_copy_made_before_the_finish_was_heard_of_costs_no_data(attempt):
    def copied():
        attempt.registry.at = lambda status: None
        copies = (*attempt.record.locations, Location("archive", "copy"))
        attempt.registry.change(attempt.image.id, {}, locations=copies)
        raise errors.Unavailable(what="The database")

    attempt.registry.at = lambda status: copied if status == Status.ACTIVE else None
    assert attempt.receive().status == Status.ACTIVE
    assert b"".join(attempt.store.read(attempt.record.locations[0].url)) == DATA


def test_an_upload_outlasts_an_outage_at_the_second_check(attempt):
    """Of Keystone, or of the database."""
    outages = iter([errors.Unavailable(what="Keystone")] * 3)

    def reauthorize():
        for one in outages:
            raise one

    attempt.uploads.receive(
        attempt.image,
        body(io.BytesIO(DATA).read),
        store=attempt.store,
        size=None,
        reauthorize=reauthorize,
    )
    assert attempt.record.status == Status.ACTIVE


def test_an_image_whose_finish_was_not_heard_of_keeps_its_data(attempt, clock):
    """Nor is heard of before the patience is at its end."""

    def away(*_):
        raise errors.Unavailable(what="The database")

    def at(status):
        if status != Status.ACTIVE:
            return None
        attempt.registry.at = outage(Status.ACTIVE)
        return away

    attempt.registry.at = at
    with pytest.raises(errors.Unavailable):
        attempt.receive()
    clock.expire()
    assert attempt.cleanup.sweep() == 0
    image = attempt.registry.get(attempt.image.id)
    assert image.status == Status.ACTIVE
    assert b"".join(attempt.store.read(image.locations[0].url)) == DATA


def test_an_outage_after_a_failure_is_swept(attempt, clock):
    attempt.fail("write", FULL, 2)
    attempt.registry.at = outage(Status.QUEUED)
    with pytest.raises(errors.StoreFull):
        attempt.receive()
    attempt.registry.at = lambda status: None
    assert attempt.record.status == Status.SAVING
    assert held(attempt.store) == []
    clock.expire()
    assert attempt.cleanup.sweep() == 1
    assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])


# Others end the upload


@pytest.mark.parametrize("step", ["create", "read", "write", "commit", "committed"])
def test_an_image_deleted_meanwhile_is_gone(attempt, step):
    attempt.on(step, attempt.delete, 2 if step in ("read", "write") else 1)
    with pytest.raises(errors.Gone):
        attempt.receive()
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


def test_a_cut_upload_of_a_deleted_image_leaves_nothing(attempt):
    def both():
        attempt.delete()
        raise CUT

    attempt.on("read", both, 2)
    with pytest.raises(errors.BodyCut):
        attempt.receive()
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


@pytest.mark.parametrize("step", ["create", "read", "write", "commit", "committed"])
@pytest.mark.parametrize("then", ["queued", "active"])
def test_a_stale_attempt_cannot_commit(attempt, clock, step, then):
    """Its process was paused past its lease; the sweep, and another upload, came first."""

    def overtake():
        clock.expire()
        assert attempt.cleanup.sweep() == 1
        if then == "active":
            attempt.again()

    attempt.on(step, overtake, 2 if step in ("read", "write") else 1)
    with pytest.raises((errors.Conflict, errors.StoreUnavailable)):
        attempt.receive()
    assert attempt.record.status == then
    if then == "active":
        [location] = attempt.record.locations
        assert b"".join(attempt.store.read(location.url)) == b"another"
        assert len(held(attempt.store)) == 1
    else:
        assert attempt.residue == []


@pytest.mark.parametrize(("seconds", "renewal"), [(0.003, 5.0), (1e9, 0.001)])
def test_a_lost_lease_ends_an_endless_body(store, monkeypatch, seconds, renewal):
    """Soon, also where a lease is long."""
    monkeypatch.setattr(upload, "RENEWAL_SECONDS", renewal)
    attempt = Attempt(store)
    chosen = upload.UploadSettings(hashing_algorithm="md5", lease=seconds)
    uploads = upload.Uploads(registry=attempt.registry, settings=chosen)
    reads = itertools.count()

    def read(size):
        if next(reads) == 2:
            attempt.delete()
        return b"x"

    with pytest.raises(errors.Gone):
        uploads.receive(attempt.image, body(read), store=store, size=None)
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


def test_a_living_upload_renews_its_lease(store):
    attempt = Attempt(store)
    tiny = upload.UploadSettings(hashing_algorithm="md5", lease=0.003)
    uploads = upload.Uploads(registry=attempt.registry, settings=tiny)
    expiries = set()

    def read(size):
        expiries.add(attempt.record.upload_expires)
        return b"x" if len(expiries) < 4 else b""

    assert (
        uploads.receive(attempt.image, body(read), store=store, size=None).status == Status.ACTIVE
    )


def test_a_lease_that_a_slow_database_has_used_up_is_renewed_at_once(monkeypatch):
    now, pauses = 0.0, []

    class Done(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return len(pauses) == 4

    monkeypatch.setattr(lease, "time", types.SimpleNamespace(monotonic=lambda: now))
    for _, taken in zip(lease.every(5.0, Done()), (2, 55, 0), strict=False):
        now += taken
    assert pauses == [5.0, 3.0, 0.0, 5.0]


def test_a_lease_survives_an_outage(store, caplog):
    attempt = Attempt(store)
    tiny = upload.UploadSettings(hashing_algorithm="md5", lease=0.003)
    uploads = upload.Uploads(registry=attempt.registry, settings=tiny)
    attempt.registry.at = outage(None)  # renewals change no status

    def read(size):
        return b"" if "could not be renewed" in caplog.text else b"x"

    assert (
        uploads.receive(attempt.image, body(read), store=store, size=None).status == Status.ACTIVE
    )


# The sweep


def abandoned(attempt, clock, commit):
    """An attempt whose process was killed, amid the bytes or after the commit."""
    image = attempt.uploads._begin(attempt.image, attempt.store, upload.UPLOAD, None, None)
    sink = attempt.store.create(image.upload_key, None)
    sink.write(b"some")
    if commit:
        sink.commit()
    return sink


@pytest.mark.parametrize("commit", [False, True], ids=["amid", "committed"])
def test_an_abandoned_upload_is_swept(attempt, clock, commit):
    with contextlib.closing(Closes(abandoned(attempt, clock, commit))):
        assert attempt.cleanup.sweep() == 0
        assert attempt.record.status == Status.SAVING
        clock.expire()
        assert attempt.cleanup.sweep() == 1
        assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])
        assert attempt.cleanup.sweep() == 0


class Closes:
    """A dead process's files are closed."""

    def __init__(self, sink):
        self.close = sink.abort


def test_an_abandoned_upload_of_a_deleted_image_is_swept(attempt, clock):
    with contextlib.closing(Closes(abandoned(attempt, clock, False))):
        attempt.delete()
        clock.expire()
        assert attempt.cleanup.sweep() == 1
        assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


def test_a_store_that_is_away_is_swept_later(attempt, clock):
    with contextlib.closing(Closes(abandoned(attempt, clock, True))):
        clock.expire()
        attempt.fail("discard", AWAY)
        assert attempt.cleanup.sweep() == 0
        assert attempt.record.status == Status.KILLED
        attempt.steps.clear()
        assert attempt.cleanup.sweep() == 0, "another sweep may be at it"
        clock.expire()
        assert attempt.cleanup.sweep() == 1
        assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])


def test_of_two_sweeps_one_clears_up(attempt, clock):
    with contextlib.closing(Closes(abandoned(attempt, clock, False))):
        clock.expire()
        both = []
        attempt.on("discard", lambda: both.append(attempt.cleanup.sweep()), 1)
        assert attempt.cleanup.sweep() == 1
        assert both == [0]


def test_a_deletion_whose_store_was_away_is_swept(attempt):
    attempt.receive()
    attempt.fail("delete", AWAY)
    with pytest.raises(errors.StoreUnavailable):
        attempt.delete()
    assert attempt.cleanup.sweep() == 0
    assert attempt.record.status == Status.PENDING_DELETE
    attempt.steps.clear()
    assert attempt.cleanup.sweep() == 1
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])
    assert attempt.record.locations == ()


def test_a_sweep_deletes_nothing_by_a_record_that_it_read_long_ago(attempt):
    """Services name the objects that they make an image's data, and may use a name again."""
    [location] = attempt.receive().locations
    attempt.registry.change(attempt.image.id, {}, status=Status.PENDING_DELETE)
    expired = attempt.registry.expired

    def long_ago(now):
        found = expired(now)
        attempt.cleanup.erase(attempt.record)  # another sweep
        with attempt.store.create(location.url, None) as sink:
            sink.write(b"another")
            sink.commit()
        return found

    attempt.registry.expired = long_ago
    attempt.cleanup.sweep()
    assert b"".join(attempt.store.read(location.url)) == b"another"


def test_a_deletion_of_what_the_store_lost_is_done(attempt):
    image = attempt.receive()
    attempt.store.delete(image.locations[0].url)
    attempt.delete()
    assert attempt.record.status == Status.DELETED


def test_one_image_that_cannot_be_cleared_keeps_none_waiting(attempt, clock):
    now = model.now()
    for number in range(3):
        attempt.registry.add(
            Image(
                id=str(uuid.uuid4()),
                status=Status.SAVING,
                created_at=now,
                updated_at=now,
                upload_store="gone" if number == 1 else "fast",
                upload_key=f"k.{number}",
                upload_expires=clock.now - 1,
            )
        )
    attempt.fail("discard", Boom(), 1)
    assert attempt.cleanup.sweep() == 1


def test_the_sweep_goes_on_after_a_failure(caplog, monkeypatch):
    class Enough(BaseException):
        pass

    class Broken:
        turns = 0

        def sweep(self):
            self.turns += 1
            if self.turns == 1:
                raise Boom("once")
            raise Enough

    slept = []
    monkeypatch.setattr(cleanup.time, "sleep", slept.append)
    with pytest.raises(Enough):
        cleanup.sweep_forever(Broken().sweep, 7)
    assert slept == [7]
    assert "it will be tried again" in caplog.text


# Whatever happens, in whatever order

EVENTS = st.sampled_from(
    ["nothing", "cut", "delete", "expire", "sweep", "again", "full", "down", "bug"]
)
STEPS = st.sampled_from(["create", "read", "write", "commit", "committed", "discard"])


@given(
    st.lists(st.tuples(STEPS, st.integers(1, 4), st.lists(EVENTS, max_size=3)), max_size=3),
    st.sampled_from([None, Status.SAVING, Status.ACTIVE, Status.QUEUED]),
    st.booleans(),
)
def test_whatever_happens_data_is_whole_or_nowhere(script, outage_at, heard):
    clock = Clock()
    store = memory_store()
    attempt = Attempt(store)

    def happen(event):
        raised = {"cut": CUT, "full": FULL, "down": AWAY, "bug": Boom()}
        if event in raised:
            raise raised[event]
        if event == "expire":
            clock.expire()
        if event == "sweep":
            attempt.cleanup.sweep()
        with contextlib.suppress(errors.Error):
            if event == "delete":
                attempt.registry.get(attempt.image.id)
                attempt.delete()
            if event == "again":
                attempt.again()

    def scripted(events):
        def action():
            for event in events:
                happen(event)

        return action

    for step, times, events in script:
        attempt.on(step, scripted(events), times)
    if outage_at:
        attempt.registry.at = (lost_answer if heard else outage)(outage_at)
    with pytest.MonkeyPatch.context() as patch:
        pass_time(patch, clock)
        with contextlib.suppress(errors.Error, Boom):
            attempt.receive()
        attempt.registry.at = lambda status: None
        for _ in range(3):
            clock.expire()
            attempt.cleanup.sweep()
    record = attempt.record
    if record.status == Status.ACTIVE:
        [location] = record.locations
        data = b"".join(store.read(location.url))
        assert data in (DATA, b"another")
        assert record.checksum == hashlib.md5(data).hexdigest()
        assert held(store) == [location.url]
    else:
        assert record.status in (Status.QUEUED, Status.DELETED)
        assert attempt.residue == []
