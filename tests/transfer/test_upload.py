"""Uploads: what each ending leaves of the record and in the store."""

import contextlib
import datetime
import hashlib
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors, hashing
from imsgate.model import JobState, Location, Status
from imsgate.testing.gateways import memory_store
from imsgate.transfer import lease, residue, upload
from imsgate.transfer.settings import UploadSettings
from tests.transfer.attempts import (
    AWAY,
    CUT,
    DATA,
    FULL,
    LEASE,
    Attempt,
    Boom,
    Clock,
    body,
    held,
    pass_time,
)

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


def test_content_fields_are_read_after_the_last_byte(attempt):
    asked = []
    attempt.on("write", lambda: asked.append("write"))

    def facts():
        asked.append("facts")
        return {"virtual_size": 7}

    assert attempt.receive(content_fields=facts).virtual_size == 7
    assert asked.index("facts") == len(asked) - 1


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "sha3_512", "blake2b"])
def test_the_algorithm_can_be_chosen(attempt, algorithm):
    chosen = UploadSettings(hashing_algorithm=algorithm, lease=LEASE)
    attempt.uploads = upload.Uploads(registry=attempt.registry, settings=chosen)
    image = attempt.receive()
    assert image.os_hash_value == hashlib.new(algorithm, DATA).hexdigest()
    assert image.checksum == hashlib.md5(DATA).hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_record_without_a_checksum(attempt, algorithm):
    chosen = UploadSettings(hashing_algorithm=algorithm, checksum="none")
    attempt.uploads = upload.Uploads(registry=attempt.registry, settings=chosen)
    image = attempt.receive()
    assert image.os_hash_value == hashlib.new(algorithm, DATA).hexdigest()
    assert image.checksum is None


def test_a_host_without_md5_needs_records_without_it(monkeypatch):
    monkeypatch.setattr(hashing, "is_available", lambda algorithm: algorithm != "md5")
    assert UploadSettings(checksum="none").algorithms.names() == ("sha512",)
    with pytest.raises(errors.BadConfig) as refused:
        _ = UploadSettings().algorithms
    assert refused.value.key == "[upload] checksum"


def test_the_record_shows_incoming_bytes(attempt, clock):
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


# Failures: each leaves the image queued, and nothing in the store


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


def residual(attempt, step, error=AWAY):
    """An upload fails at ``step``, and its store stays away."""
    attempt.fail(step, AWAY, 1)
    attempt.fail("discard", error)
    with pytest.raises(errors.StoreUnavailable) as caught:
        attempt.receive()
    attempt.steps.clear()
    return caught.value


@pytest.mark.parametrize("transition", [upload.UPLOAD, upload.STAGE], ids=["upload", "stage"])
@pytest.mark.parametrize("step", ["write", "committed"])
@pytest.mark.parametrize("error", [AWAY, Boom()], ids=["away", "bug"])
def test_an_image_is_free_at_once_whatever_its_store_keeps(attempt, step, error, transition):
    for _ in range(2):
        failure = residual(attempt, step, error)
        assert failure.headers["Retry-After"] == "30"
        assert attempt.record.status == Status.QUEUED
        assert attempt.record.upload_key is attempt.record.upload_expires is None
    assert attempt.receive(transition=transition).status == transition.after
    assert attempt.cleanup.sweep() == 2
    assert len(held(attempt.store)) == 1
    assert b"".join(attempt.store.read(attempt.record.locations[0].url)) == DATA
    assert attempt.cleanup.sweep() == 0


def test_residue_waits_until_its_store_is_back(attempt, clock):
    residual(attempt, "write")
    residual(attempt, "write")
    asked = []

    def away():
        asked.append(1)
        raise AWAY

    attempt.on("discard", away)
    assert attempt.cleanup.sweep() == attempt.cleanup.sweep() == 0
    assert len(asked) == 1, "a store that is away is asked once per sweep"
    attempt.delete()
    attempt.steps.clear()
    clock.expire()
    assert attempt.cleanup.sweep() == 2
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


def test_residue_of_a_store_that_never_comes_back_is_given_up(attempt, clock, monkeypatch, caplog):
    residual(attempt, "write")
    [job] = attempt.registry.jobs(None)
    later = job.created_at + datetime.timedelta(days=31)
    monkeypatch.setattr(residue.model, "now", lambda: later)
    attempt.fail("discard", AWAY)
    assert attempt.cleanup.sweep() == 0
    assert attempt.registry.get_job(job.id).state == JobState.FAIL
    assert "stays in store fast" in caplog.text


def test_residue_that_cannot_be_recorded_keeps_its_record(attempt, clock):
    """Store and database are away at the same time."""

    def away(job):
        raise errors.Unavailable(what="The database")

    attempt.registry.add_job = away
    failure = residual(attempt, "write")
    assert failure.headers["Retry-After"] == str(2 * LEASE)
    assert attempt.record.status == Status.SAVING
    clock.expire()
    assert attempt.cleanup.sweep() == 1
    assert (attempt.record.status, attempt.residue) == (Status.QUEUED, [])


@pytest.mark.parametrize("step", [Status.SAVING, Status.ACTIVE])
def test_retry_after_covers_the_wait_for_the_sweep(attempt, step):
    attempt.registry.at = lost_answer(Status.SAVING) if step == Status.SAVING else outage(step)
    with pytest.raises(errors.Unavailable) as caught:
        attempt.receive()
    assert attempt.record.status == Status.SAVING
    assert caught.value.headers["Retry-After"] == str(2 * LEASE)


UPLOADED = (Status.SAVING, Status.ACTIVE)


@pytest.mark.parametrize(
    "statuses",
    [[Status.SAVING], [*UPLOADED], [*UPLOADED, Status.DEACTIVATED]],
    ids=["saving", "active", "deactivated"],
)
def test_only_a_queued_image_takes_data(attempt, statuses):
    for status in statuses:
        attempt.registry.change(attempt.image.id, {}, status=status, upload_key="k")
    attempt.fail("read", AssertionError("nothing is to be read"))
    with pytest.raises(errors.WrongStatus) as caught:
        attempt.receive()
    assert caught.value.details["status"] == status
    assert attempt.record.upload_key == "k"
    assert held(attempt.store) == []


def test_a_deleted_image_accepts_no_upload(attempt):
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
def test_an_upload_survives_an_outage_at_its_end(attempt, at):
    """Whether the record was written before the connection broke, or not."""
    tries = itertools.count()
    attempt.registry.at = lambda status: at(status) if next(tries) < 4 else None
    assert attempt.receive().status == Status.ACTIVE
    assert attempt.record.status == Status.ACTIVE
    assert b"".join(attempt.store.read(attempt.record.locations[0].url)) == DATA


def test_a_copy_made_before_the_response_was_lost_keeps_its_data(attempt):
    def copied():
        attempt.registry.at = lambda status: None
        copies = (*attempt.record.locations, Location("archive", "copy"))
        attempt.registry.change(attempt.image.id, {}, locations=copies)
        raise errors.Unavailable(what="The database")

    attempt.registry.at = lambda status: copied if status == Status.ACTIVE else None
    assert attempt.receive().status == Status.ACTIVE
    assert b"".join(attempt.store.read(attempt.record.locations[0].url)) == DATA


def test_an_upload_survives_an_outage_at_the_second_check(attempt):
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


def test_an_image_keeps_its_data_if_the_last_response_was_lost(attempt, clock):
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


def test_an_interrupted_upload_of_a_deleted_image_leaves_nothing(attempt):
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
    with pytest.raises(errors.LeaseLost) as caught:
        attempt.receive()
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "0"})
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
    chosen = UploadSettings(hashing_algorithm="md5", lease=seconds)
    uploads = upload.Uploads(registry=attempt.registry, settings=chosen)
    reads = itertools.count()

    def read(size):
        if next(reads) == 2:
            attempt.delete()
        return b"x"

    with pytest.raises(errors.Gone):
        uploads.receive(attempt.image, body(read), store=store, size=None)
    assert (attempt.record.status, attempt.residue) == (Status.DELETED, [])


def test_a_working_upload_keeps_its_lease_without_its_other_threads(attempt, clock, monkeypatch):
    """The machine is so busy that the thread that renews the lease never gets a turn."""
    monkeypatch.setattr(lease.Lease, "_run", lambda self: None)

    def slowly():
        clock.now += LEASE * 0.9
        assert attempt.cleanup.sweep() == 0

    attempt.on("read", slowly)
    assert attempt.receive().status == Status.ACTIVE


def test_a_store_that_fails_under_a_deleted_image(attempt):
    """It would fail with 404 when tried again, whatever the store says then."""

    def both():
        attempt.delete()
        raise AWAY

    attempt.on("write", both, 2)
    with pytest.raises(errors.Gone):
        attempt.receive()


def test_a_running_upload_renews_its_lease(store):
    attempt = Attempt(store)
    tiny = UploadSettings(hashing_algorithm="md5", lease=0.003)
    uploads = upload.Uploads(registry=attempt.registry, settings=tiny)
    expiries = set()

    def read(size):
        expiries.add(attempt.record.upload_expires)
        return b"x" if len(expiries) < 4 else b""

    assert (
        uploads.receive(attempt.image, body(read), store=store, size=None).status == Status.ACTIVE
    )


def test_a_lease_survives_an_outage(store, caplog):
    attempt = Attempt(store)
    tiny = UploadSettings(hashing_algorithm="md5", lease=0.003)
    uploads = upload.Uploads(registry=attempt.registry, settings=tiny)
    attempt.registry.at = outage(None)  # renewals change no status

    def read(size):
        return b"" if "could not be renewed" in caplog.text else b"x"

    assert (
        uploads.receive(attempt.image, body(read), store=store, size=None).status == Status.ACTIVE
    )


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
