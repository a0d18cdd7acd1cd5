"""Cleanup: what it removes of uploads that died, of deleted images, and what it leaves alone."""

import contextlib
import uuid

import pytest

from imsgate import errors, model
from imsgate.model import Image, Status
from imsgate.transfer import cleanup, upload
from tests.transfer.attempts import AWAY, Boom


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


def test_an_unavailable_store_does_not_delay_other_cleanups(attempt, clock):
    with contextlib.closing(Closes(abandoned(attempt, clock, True))):
        clock.expire()
        attempt.fail("discard", AWAY)
        assert attempt.cleanup.sweep() == 1
        assert attempt.record.status == Status.QUEUED
        attempt.steps.clear()
        assert attempt.cleanup.sweep() == 0, "another sweep may be at it"
        clock.expire()
        assert attempt.cleanup.sweep() == 1
        assert attempt.residue == []


def test_one_of_two_sweeps_cleans_up(attempt, clock):
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


def test_an_image_that_cannot_be_cleaned_up_delays_no_other(attempt, clock):
    now = model.now()
    for number in range(3):
        attempt.registry.add(
            Image(
                id=str(uuid.uuid4()),
                status=Status.SAVING,
                created_at=now,
                updated_at=now,
                upload_store="fast",
                upload_key=f"k.{number}",
                upload_expires=clock.now - 1,
            )
        )
    failures = iter([Boom(), errors.Unavailable(what="The database")])

    def at(status):
        for failure in failures if status == Status.KILLED else ():
            raise failure

    attempt.registry.at = at
    assert attempt.cleanup.sweep() == 1


def test_the_sweep_continues_after_a_failure(caplog, monkeypatch):
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
