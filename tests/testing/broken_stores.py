"""Stores with one defect each; test_store_contract runs the kit against them.

Not collected by itself: most tests in here must fail.
"""

import contextlib
import io
import itertools
import os
import pathlib
import threading

import hypothesis
import pytest
from oslo_config import cfg

from imsgate import errors
from imsgate.stores import base
from imsgate.testing.stores import machine
from tests.testing import (  # noqa: F401 - they register more
    broken_copies,
    broken_durability,
    broken_objects,
    broken_sweeps,
)
from tests.testing.broken_urls import Redirects
from tests.testing.sound_store import (
    DOUBLES,
    Files,
    Sound,
    SoundSink,
    rejected_by,
    rejected_sink,
    under_test,
)

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def first_example_found(monkeypatch):
    """Do not look for the shortest example: that takes most of the time."""
    only = hypothesis.settings(machine.SETTINGS, phases=[hypothesis.Phase.generate])
    monkeypatch.setattr(machine, "SETTINGS", only)


# Visibility


@rejected_sink("test_nothing_is_visible_before_commit")
class VisibleWhileWritten(SoundSink):
    def write(self, chunk):
        super().write(chunk)
        self.store._objects[self.key] = self.store._objects.get(self.key, b"") + chunk


@rejected_sink("test_nothing_is_visible_before_commit")
class VisibleFromTheStart(SoundSink):
    def __init__(self, *args):
        super().__init__(*args)
        self.store._objects[self.key] = b""


@rejected_sink("test_nothing_is_visible_before_commit")
class VisibleWithItsLastByte(SoundSink):
    def write(self, chunk):
        super().write(chunk)
        if self.written == self.size:
            self.store._objects[self.key] = b"".join(self.store._parts[self.key])


# URLs

URLS = "test_a_url_leads_back_and_no_other_does"


@rejected_by(URLS)
class TakesAnyUrlThatEndsInAKey(Sound):
    def locate(self, url):
        return url.rpartition("/")[2] or None


@rejected_by(URLS)
class KnowsNoUrl(Sound):
    def locate(self, url):
        return None


@rejected_by(URLS)
class KnowsNoHosts(Sound):
    def url(self, location):
        return f"http://host/images/{location}"

    def locate(self, url):
        scheme, _, rest = url.partition("://")
        _, _, path = rest.partition("/")
        sound = scheme == "http" and "@" not in rest and path.startswith("images/")
        location = path.removeprefix("images/")
        return location if sound and base.LOCATION.fullmatch(location) else None


@rejected_by("test_a_url_stays_that_of_what_is_gone")
class LocatesOnlyWhatIsThere(Sound):
    def locate(self, url):
        location = super().locate(url)
        return location if location in self._objects else None


# Residue


ENDS = "test_nothing_is_left_by_an_attempt_that_ends_with"


@rejected_sink(ENDS)
class AbortLeavesResidue(SoundSink):
    def abort(self):
        pass


@rejected_sink(ENDS)
class AbortForgetsAnAttemptWithoutData(SoundSink):
    def abort(self):
        if self.written:
            super().abort()


@rejected_sink(ENDS)
class AbortForgetsAReservation(SoundSink):
    def abort(self):
        if self.size is None:
            super().abort()


@rejected_sink(ENDS)
class LeavingDoesNotAbort(SoundSink):
    def __exit__(self, *exception):
        pass


@rejected_sink(ENDS)
class AnExceptionDoesNotAbort(SoundSink):
    def __exit__(self, kind, error, trace):
        if kind is None:
            self.abort()


@rejected_sink(ENDS)
class SwallowsExceptions(SoundSink):
    def __exit__(self, *exception):
        self.abort()
        return True


@rejected_sink(ENDS)
class CommitsWhenLeft(SoundSink):
    def __exit__(self, *exception):
        self.commit()


@rejected_sink(ENDS)
class SecondAbortRaises(SoundSink):
    aborted = False

    def abort(self):
        if self.aborted:
            raise errors.StoreUnavailable(store="s", problem="there is no such upload")
        super().abort()
        self.aborted = True


# Commit


@rejected_sink("test_an_aborted_attempt_cannot_be_committed")
class CommitsWhatWasAborted(SoundSink):
    def commit(self):
        self.store._parts.setdefault(self.key, [])
        return super().commit()


@rejected_sink("test_an_aborted_attempt_cannot_be_committed")
class BlamesTheRequest(SoundSink):
    def commit(self):
        if self.key not in {*self.store._parts, self.location}:
            raise errors.BadRequest(problem="no such upload")
        return super().commit()


@rejected_sink("test_abort_after_commit_does_nothing")
class AbortUndoesCommit(SoundSink):
    def abort(self):
        self.store.discard(self.key)


@rejected_sink("test_commit_twice_is_commit_once")
class SecondCommitRaises(SoundSink):
    def commit(self):
        self.store.publish(self.key)
        self.location = self.key
        return self.location


@rejected_sink("test_commit_twice_is_commit_once")
class SecondCommitMovesIt(SoundSink):
    def commit(self):
        if self.location is None:
            return super().commit()
        data = self.store._objects.pop(self.location)
        self.location += "0"
        self.store._objects[self.location] = data
        return self.location


@rejected_sink("test_a_store_that_fills_up_gives_all_of_it_back")
class CommitsWhatMissedAChunk(SoundSink):
    def write(self, chunk):
        kept = list(self.store._attempt(self.key))
        try:
            super().write(chunk)
        except errors.StoreFull:
            self.store._parts[self.key] = kept
            raise


# Bytes


BYTES = "test_it_comes_back_byte_for_byte"


@rejected_sink("test_another_size_than_announced")
class PadsToTheAnnouncedSize(SoundSink):
    def commit(self):
        if self.location is None and (self.size or 0) > self.written:
            self.write(bytes(self.size - self.written))
        return super().commit()


@rejected_sink("test_another_size_than_announced")
class CutsAtTheAnnouncedSize(SoundSink):
    def write(self, chunk):
        if self.size is not None:
            chunk = chunk[: max(0, self.size - self.written)]
        super().write(chunk)


@rejected_sink(BYTES)
class NoEmptyObjects(SoundSink):
    def commit(self):
        if not self.written:
            raise errors.StoreUnavailable(store="s", problem="an upload needs a part")
        return super().commit()


@rejected_sink(BYTES)
class LocationIsAPath(SoundSink):
    def commit(self):
        return pathlib.PurePosixPath(super().commit())


@rejected_by(BYTES)
class LosesALastFullChunk(Sound):
    def read(self, location, offset=0, length=None):
        chunks = list(super().read(location, offset, length))
        whole = len(chunks) > 1 and len(chunks[-1]) == MIB
        return iter(chunks[:-1] if whole else chunks)


@rejected_by(BYTES)
class GivesAnEmptyChunk(Sound):
    def read(self, location, offset=0, length=None):
        return itertools.chain(super().read(location, offset, length), [b""])


@rejected_by(BYTES)
class GivesViews(Sound):
    def read(self, location, offset=0, length=None):
        return map(memoryview, super().read(location, offset, length))


@rejected_by(BYTES)
class CanBeReadOnce(Sound):
    def read(self, location, offset=0, length=None):
        chunks = list(super().read(location, offset, length))
        self._objects[location] = b""
        return iter(chunks)


# Ranges


@rejected_by("test_ranges")
class TakesLengthForTheEnd(Sound):
    def read(self, location, offset=0, length=None):
        end = None if length is None else max(0, length - offset)
        return super().read(location, offset, end)


@rejected_by("test_ranges")
class TakesTheEndAsIncluded(Sound):
    def read(self, location, offset=0, length=None):
        rest = self.size(location) - offset
        return super().read(location, offset, None if length is None else min(length + 1, rest))


@rejected_by("test_ranges")
class TakesNoLengthForAllOfIt(Sound):
    def read(self, location, offset=0, length=None):
        return super().read(location, offset, length or None)


@rejected_by("test_ranges")
class StartsAtWholeChunks(Sound):
    def read(self, location, offset=0, length=None):
        return super().read(location, offset - offset % MIB if offset > MIB else offset, length)


@rejected_by("test_ranges")
class EndsWithItsFirstChunk(Sound):
    def read(self, location, offset=0, length=None):
        chunks = super().read(location, offset, length)
        return itertools.islice(chunks, 1) if length else chunks


# Missing objects


GONE = "test_a_deleted_object_is_missing"


@rejected_by(GONE)
class DeletesNothingWithoutAWord(Sound):
    def delete(self, location):
        self._objects.pop(location, None)


@rejected_by(GONE)
class ReadsNothingAsEmpty(Sound):
    def read(self, location, offset=0, length=None):
        return super().read(location, offset, length) if location in self._objects else iter(())


@rejected_by(GONE)
class SaysMissingOnlyAtTheFirstChunk(Sound):
    def read(self, location, offset=0, length=None):
        yield from super().read(location, offset, length)


@rejected_by(GONE)
class TakesAnEmptyObjectForMissing(Sound):
    def delete(self, location):
        if not self.size(location):
            raise errors.ObjectNotFound("s")
        super().delete(location)


@rejected_by(GONE)
class SaysUnavailableForMissing(Sound):
    def size(self, location):
        try:
            return super().size(location)
        except errors.ObjectNotFound:
            raise errors.StoreUnavailable(store="s", problem="404") from None


@rejected_by("test_deleting_while_reading_gives_no_wrong_bytes")
class EndsQuietlyWhenDeleted(Sound):
    def read(self, location, offset=0, length=None):
        return itertools.takewhile(
            lambda chunk: location in self._objects, super().read(location, offset, length)
        )


@rejected_by("test_deleting_while_reading_gives_no_wrong_bytes")
class GivesZerosWhenDeleted(Sound):
    def read(self, location, offset=0, length=None):
        return (
            chunk if location in self._objects else bytes(len(chunk))
            for chunk in super().read(location, offset, length)
        )


# Attempts and readers that know one another


@rejected_sink("test_two_attempts_for_one_image")
class OneBufferForAll(SoundSink):
    buffer = bytearray()

    def write(self, chunk):
        self.buffer += chunk

    def commit(self):
        if self.location is None:
            super().write(bytes(self.buffer))
            self.buffer.clear()
        return super().commit()


@rejected_by("test_two_attempts_for_one_image")
class OneObjectForAnImage(Sound):
    def create(self, key, size):
        return super().create(key.split(".")[0], size)

    def discard(self, key):
        super().discard(key.split(".")[0])


@rejected_by("test_the_attempt_that_loses_takes_nothing_along")
class DiscardsByPrefix(Sound):
    def discard(self, key):
        for found in self.held():
            if found.startswith(key):
                super().discard(found)


@rejected_by("test_a_key_of_the_greatest_length")
class CutsLongKeys(Sound):
    def create(self, key, size):
        return super().create(key[:64], size)

    def discard(self, key):
        super().discard(key[:64])


@rejected_by("test_two_readers_of_one_object")
class OnePositionForAllReaders(Sound):
    def read(self, location, offset=0, length=None):
        super().read(location)
        self.file = io.BytesIO(self.data(location)[offset:][:length])
        return iter(lambda: self.file.read(MIB), b"")


@rejected_by("test_many_threads")
class OfTheThreadThatMadeIt(Sound):
    def __init__(self, *args):
        super().__init__(*args)
        self.owner = threading.get_ident()

    def create(self, key, size):
        assert threading.get_ident() == self.owner
        return super().create(key, size)


# A medium that fails

WRITES = "test_a_write_that_fails_is_reported"
READS = "test_a_read_that_fails_gives_no_wrong_bytes"


@rejected_by(WRITES)
class SkipsWhatFails(Sound):
    def append(self, key, chunk):
        with contextlib.suppress(errors.Error):
            super().append(key, chunk)

    def write_failed(self, key):
        raise errors.StoreUnavailable(store=self.name, problem="a write failed")


@rejected_by(WRITES)
class CommitsWhatMissedAWrite(Sound):
    def write_failed(self, key):
        raise errors.StoreUnavailable(store=self.name, problem="a write failed")


@rejected_by(WRITES)
class LetsOtherErrorsOut(Sound):
    def write_failed(self, key):
        self.discard(key)
        raise OSError("a write failed")


@rejected_by(WRITES)
class TellsWhatIsPrivate(Sound):
    def write_failed(self, key):
        self.discard(key)
        raise errors.StoreUnavailable(store=self.name, problem="401 for user:hunter2")


@rejected_by(WRITES)
class KeepsWhatFailed(Sound):
    def write_failed(self, key):
        self._parts.pop(key)
        self._objects[key + "x"] = b""
        raise errors.StoreUnavailable(store=self.name, problem="a write failed")


@rejected_sink(WRITES)
class AbortFailsAsWell(SoundSink):
    def abort(self):
        super().abort()
        if self.store.writes <= 0:
            raise errors.StoreUnavailable(store="s", problem="a write failed")


AWAY = "test_what_cannot_be_asked_is_not_taken_for_missing"


@rejected_by(AWAY)
class TakesSilenceForMissing(Sound):
    def _get(self, location):
        if self.gone:
            raise errors.ObjectNotFound("s")
        return super()._get(location)


@rejected_by(AWAY)
class DiscardsWhatItCannotReach(Sound):
    def discard(self, key):
        if not self.gone:
            super().discard(key)


@rejected_by(AWAY)
class ChecksNothing(Sound):
    def check(self):
        pass


@rejected_by(READS)
class EndsWhereAReadFails(Sound):
    def read_failed(self):
        pass


@rejected_by(READS)
class LetsErrorsOfReadsOut(Sound):
    def read_failed(self):
        raise ConnectionResetError


@rejected_by(READS)
class NeverRecovers(Sound):
    def read_failed(self):
        self._objects.clear()
        super().read_failed()


@rejected_by("test_what_no_sink_returned_is_missing")
class FindsTheStoreItself(Sound):
    def size(self, location):
        return 0 if location == "." else super().size(location)


@rejected_by("test_what_no_sink_returned_is_missing")
class NeedsAscii(Sound):
    def size(self, location):
        location.encode("ascii")
        return super().size(location)


@rejected_by("test_what_no_sink_returned_is_missing")
class TellsWhereItLooked(Sound):
    def _get(self, location):
        try:
            return super()._get(location)
        except errors.ObjectNotFound:
            raise errors.ObjectNotFound(f"http://user:hunter2@host/{location}") from None


@rejected_sink("test_whole_parts_and_a_byte_more_or_less")
class LosesAWholeLastPart(SoundSink):
    def commit(self):
        if self.location is None and self.written and not self.written % MIB:
            data = b"".join(self.store._parts[self.key])[:-MIB]
            self.store._parts[self.key] = [data]
        return super().commit()


# Discard


@rejected_by("test_discarding_nothing_does_nothing")
class DiscardOfNothingRaises(Sound):
    def discard(self, key):
        if key not in self.held():
            raise errors.ObjectNotFound("s")
        super().discard(key)


@rejected_by("test_a_discarded_attempt_cannot_be_committed")
class DiscardForgetsOpenAttempts(Sound):
    def discard(self, key):
        self._objects.pop(key, None)


@rejected_sink("test_a_discarded_attempt_cannot_be_committed")
class StaleAttemptComesBack(SoundSink):
    def write(self, chunk):
        self.store._parts.setdefault(self.key, [])
        super().write(chunk)


@rejected_by("test_a_committed_attempt_is_discarded_too")
class DiscardForgetsCommittedAttempts(Sound):
    def discard(self, key):
        self._parts.pop(key, None)


@rejected_by("test_it_does_whatever_the_memory_store_does")
class DiscardOfADeletedObjectRaises(Sound):
    def discard(self, key):
        if key in self.deleted:
            raise errors.ObjectNotFound("s")
        super().discard(key)

    def delete(self, location):
        super().delete(location)
        self.deleted.add(location)

    deleted = set()  # noqa: RUF012 - one store at a time


@rejected_sink("test_it_does_whatever_the_memory_store_does")
class AbortMissesADeletedObject(SoundSink):
    def abort(self):
        super().abort()
        if self.location:
            self.store.size(self.location)


@rejected_sink("test_it_does_whatever_the_memory_store_does")
class AbortDiscardsTheOthersToo(SoundSink):
    def abort(self):
        super().abort()
        if len(self.store._parts) > 1:
            self.store._parts.clear()


# Another process, another store


@rejected_by("test_another_process_reads_and_deletes")
class RemembersSizes(Sound):
    def __init__(self, *args):
        super().__init__(*args)
        self.sizes = {}

    def size(self, location):
        if location not in self.sizes:
            self.sizes[location] = super().size(location)
        return self.sizes[location]

    def publish(self, key):
        super().publish(key)
        self.size(key)

    def delete(self, location):
        super().delete(location)
        self.sizes.pop(location, None)


@rejected_by("test_another_medium_is_not_taken_for_an_empty_store")
class TakesAnyMedium(Sound):
    def answering(self):
        if self.gone:
            raise errors.StoreUnavailable(store=self.name, problem="no answer")


@rejected_by("test_another_medium_is_not_taken_for_an_empty_store")
class WritesToAnyMedium(Sound):
    def create(self, key, size):
        other, self.other = self.other, False
        try:
            return super().create(key, size)
        finally:
            self.other = other


@rejected_by("test_what_another_process_discards_is_gone")
class DiscardsItsOwnAttempts(Sound):
    own = frozenset()

    def create(self, key, size):
        self.own |= {key}
        return super().create(key, size)

    def discard(self, key):
        if key in self.own:
            super().discard(key)


SHARES = "test_two_stores_share_nothing"


@rejected_by(SHARES)
class HasTheOptionsOfTheLastOne(Sound):
    latest = None

    def __init__(self, name, settings):
        super().__init__(name, settings)
        type(self).latest = settings

    def append(self, key, chunk):
        self._capacity = self.latest.memory_store_capacity
        super().append(key, chunk)


@rejected_by(SHARES)
class OnePlaceForAll(Sound):
    everything = {}  # noqa: RUF012 - this is the defect

    def __init__(self, name, settings):
        super().__init__(name, settings)
        self._objects = self.everything


# A full store


FULL = "test_a_store_that_fills_up_gives_all_of_it_back"


@rejected_by("test_what_cannot_fit_is_refused_at_once")
class FindsOutLater(Sound):
    def create(self, key, size):
        return super().create(key, None)


@rejected_by("test_what_cannot_fit_is_refused_at_once")
class RefusedAttemptLeavesResidue(Sound):
    def create(self, key, size):
        self._parts[key] = []
        return super().create(key, size)


@rejected_by("test_what_one_upload_announced_no_other_gets")
class PromisesTheSameTwice(Sound):
    def create(self, key, size):
        sink = super().create(key, size)
        self._announced.clear()
        return sink


@rejected_by("test_what_one_upload_announced_no_other_gets")
class CountsPagesAndNoPromises(Sound):
    """What the first one has not written yet is promised again, except for half a page."""

    def _free(self, capacity):
        self._announced.clear()
        return super()._free(capacity) - 2048


@rejected_by("test_what_one_upload_announced_no_other_gets")
class KeepsWhatWasPromised(Sound):
    def _forget(self, key):
        announced = dict(self._announced)
        super()._forget(key)
        self._announced.update(announced)

    def _remaining(self, capacity):
        return super()._remaining(capacity) - sum(
            size for key, size in self._announced.items() if key not in self._parts
        )


@rejected_by("test_what_does_not_fit_is_refused_as_such")
class HearsNothingOfAFullStore(Sound):
    """Its server closes the connection if the announced size does not fit."""

    def create(self, key, size):
        sink = super().create(key, None)
        sink.size = size
        return sink

    class SINK(SoundSink):
        def write(self, chunk):
            try:
                super().write(chunk)
            except errors.StoreFull:
                if self.size is None:
                    raise
                raise errors.StoreUnavailable(store=self.store.name, problem="closed") from None


@rejected_by(FULL)
class SaysUnavailableForFull(Sound):
    def append(self, key, chunk):
        try:
            super().append(key, chunk)
        except errors.StoreFull:
            raise errors.StoreUnavailable(store=self.name, problem="507") from None


@rejected_by(FULL)
class LosesSpace(Sound):
    lost = 0

    def append(self, key, chunk):
        self.lost += len(chunk)
        if self.lost > 300_000:
            self.discard(key)
            raise errors.StoreFull(store=self.name)
        super().append(key, chunk)


# What it says of itself


@rejected_by("test_properties_can_be_shown")
class PropertiesAreObjects(Sound):
    def properties(self):
        return {"lock": self._lock}


@rejected_by("test_properties_can_be_shown")
class ShowsItsPassword(Sound):
    OPTS = (*Sound.OPTS, cfg.StrOpt("memory_store_password", secret=True, default="hunter2"))

    def properties(self):
        return {"url": f"http://user:{self.settings.memory_store_password}@host"}


@rejected_by("test_free_space_is_a_number_of_bytes_where_known")
class FreeSpaceIsNegative(Sound):
    def free_space(self):
        return -1

    def create(self, key, size):
        return super().create(key, None)


@rejected_by("test_its_place_can_be_compared")
class PlaceIsAnotherEachTime(Sound):
    def place(self):
        return object()


# Resumable attempts

CUT = "test_a_suspended_attempt_goes_on_byte_for_byte"
KILLED = "test_what_a_killed_process_wrote_is_counted_honestly"
REPEATED = "test_a_commit_that_nobody_recorded_can_be_repeated"
STALE = "test_a_stale_writer_changes_nothing"


@rejected_by(CUT)
class ResumesAtTheBeginning(Sound):
    def resume(self, key, size, offset, epoch):
        sink = super().resume(key, size, offset, epoch)
        self._parts[key] = []
        return sink


@rejected_by(CUT)
class CountsTheAnnouncedSize(Sound):
    def durable(self, key, size, epoch):
        return max(size or 0, super().durable(key, size, epoch))


@rejected_by(CUT)
class SuspendsNoEmptyAttempt(Sound):
    def kept(self, key, epoch):
        return super().kept(key, epoch) or self.write_failed(key)


@rejected_by("test_random_cuts")
class ForgetsAByteAtTheThirdCut(Sound):
    def resume(self, key, size, offset, epoch):
        sink = super().resume(key, size, offset, epoch)
        if epoch == 3:
            self._parts[key] = [b"".join(self._parts[key])[:-1]]
        return sink


@rejected_by("test_another_size_than_announced_after_a_cut")
class PadsWhatWasCut(Sound):
    def publish_owned(self, key, epoch):
        data = b"".join(self._parts[key])
        self._parts[key] = [data.ljust(self.announced[key], b"\0")]
        super().publish_owned(key, epoch)

    def resume(self, key, size, offset, epoch):
        self.announced = {key: size or 0}
        return super().resume(key, size, offset, epoch)


@rejected_by("test_a_suspended_attempt_is_not_visible")
class VisibleWhenSuspended(Sound):
    def kept(self, key, epoch):
        self._objects[key] = b"".join(self._parts[key])
        return super().kept(key, epoch)


@rejected_by(KILLED)
class CountsWhatWasNeverWritten(Sound):
    def durable(self, key, size, epoch):
        return super().durable(key, size, epoch) + 2 * MIB


@rejected_by(KILLED)
class ForgetsWhatWasSuspended(Sound):
    def durable(self, key, size, epoch):
        super().durable(key, size, epoch)
        return 0


@rejected_by(KILLED)
class GoesDown(Sound):
    def durable(self, key, size, epoch):
        return super().durable(key, size, epoch) - epoch


@rejected_by("test_resume_drops_what_lies_beyond")
class KeepsWhatLiesBeyond(Sound):
    def resume(self, key, size, offset, epoch):
        chunks = self._parts.get(key)
        sink = super().resume(key, size, offset, epoch)
        if chunks is not None:
            self._parts[key] = chunks
        return sink


@rejected_by(REPEATED)
class ForgetsWhatItCommitted(Sound):
    def _take_over(self, key, epoch):
        if key in self._objects:
            raise errors.ObjectNotFound("s")
        return super()._take_over(key, epoch)


@rejected_by(REPEATED)
class WritesOnAfterCommit(Sound):
    def resume(self, key, size, offset, epoch):
        if key in self._objects:
            self._parts[key], self._epochs[key] = [self._objects[key]], epoch
            del self._objects[key]
        return super().resume(key, size, offset, epoch)


@rejected_by(STALE)
class FencesNobody(Sound):
    def _owned(self, key, epoch):
        return self._attempt(key)


@rejected_by(STALE)
class FencesOnlyInResume(Sound):
    def durable(self, key, size, epoch):
        before = self._epochs.get(key)
        count = super().durable(key, size, epoch)
        if before is not None:
            self._epochs[key] = before
        return count


@rejected_by(STALE)
class FencesOnlyCommit(Sound):
    def take(self, key, epoch, chunk):
        super().take(key, self._epochs.get(key, epoch), chunk)

    def kept(self, key, epoch):
        return super().kept(key, self._epochs.get(key, epoch))


@rejected_by("test_a_stale_writer_removes_nothing")
class StaleAbortRemovesAll(Sound):
    def abandon(self, key, epoch):
        self.discard(key)


@rejected_by("test_many_processes_take_an_attempt_over")
class FencesOneOfSeveral(Sound):
    def _owned(self, key, epoch):
        newest = self._epochs.get(key, epoch)
        return super()._owned(key, newest if newest - epoch > 1 else epoch)


def resumable(**methods):
    """A store whose only defect is its resumable sink."""

    def begin(self, key, size, epoch):
        return broken(super(kind, self).begin(key, size, epoch))

    def resume(self, key, size, offset, epoch):
        return broken(super(kind, self).resume(key, size, offset, epoch))

    def broken(sink):
        sink.__class__ = type("BrokenSink", (type(sink),), methods)
        return sink

    kind = type("BrokenSinks", (Sound,), {"begin": begin, "resume": resume})
    return kind


def _suspends_and_goes_on(self):
    return self._store.kept(self._key, self._epoch)


@rejected_by("test_a_suspended_sink_has_ended")
class SuspendedSinkGoesOn(resumable(suspend=_suspends_and_goes_on)):
    pass


@rejected_by("test_a_resumed_attempt_that_is_not_committed_leaves_nothing")
class AbortsOnlyWhatItBegan(Sound):
    def abandon(self, key, epoch):
        if epoch == 1:
            super().abandon(key, epoch)


@rejected_by("test_discard_removes_a_suspended_attempt")
class DiscardForgetsWhatIsSuspended(Sound):
    def discard(self, key):
        if key not in self._epochs:
            super().discard(key)


@rejected_by("test_a_discarded_attempt_cannot_be_suspended")
class SuspendsWhatWasDiscarded(Sound):
    def _owned(self, key, epoch):
        self._epochs.setdefault(key, epoch)
        self._parts.setdefault(key, [])
        return super()._owned(key, epoch)


@rejected_by("test_nothing_cannot_be_resumed")
class ResumesNothing(Sound):
    def durable(self, key, size, epoch):
        try:
            return super().durable(key, size, epoch)
        except errors.ObjectNotFound:
            return 0


@rejected_by("test_an_attempt_survives_a_full_store")
class AFullStoreEndsTheAttempt(Sound):
    def take(self, key, epoch, chunk):
        try:
            super().take(key, epoch, chunk)
        except errors.StoreFull:
            self.discard(key)
            raise


@rejected_by("test_an_attempt_survives_a_full_store")
class AFullStoreKeepsWhatDidNotFit(Sound):
    def take(self, key, epoch, chunk):
        try:
            super().take(key, epoch, chunk)
        except errors.StoreFull:
            self._parts[key] = [bytes(200_001)]
            raise


@rejected_by("test_an_attempt_survives_a_write_that_fails")
class AFaultEndsTheAttempt(Sound):
    def take(self, key, epoch, chunk):
        try:
            super().take(key, epoch, chunk)
        except errors.StoreUnavailable:
            self.discard(key)
            raise


@rejected_by("test_an_attempt_survives_a_write_that_fails")
class CommitsAfterAFault(
    resumable(commit=lambda sink: sink._store.publish_owned(sink._key, sink._epoch))
):
    pass


# Files


@rejected_by("test_a_reader_closed_early_holds_nothing")
class KeepsTheFileOpen(Files):
    def read(self, location, offset=0, length=None):
        self.held.append(self.open(location))
        return super().read(location, offset, length)


@rejected_by("test_a_reader_closed_early_holds_nothing")
class ClosesOnlyWhatWasStarted(Files):
    def read(self, location, offset=0, length=None):
        file = self.open(location)
        self.held.append(file)
        file.seek(offset)
        left = self.size(location) - offset if length is None else length

        def chunks(left):
            with file:
                while left:
                    yield file.read(min(left, MIB))
                    left -= min(left, MIB)

        return chunks(left)


@rejected_by("test_a_reader_at_its_end_holds_nothing")
class ClosesOnlyWhenToldTo(Files):
    def read(self, location, offset=0, length=None):
        reader = super().read(location, offset, length)
        self.held.append(os.dup(reader._file.fileno()))
        return reader


@rejected_by("test_asking_holds_nothing")
class HoldsWhatItMeasured(Files):
    def size(self, location):
        self.held.append(self.open(location))
        return super().size(location)


@rejected_by("test_asking_holds_nothing")
class ChecksWithAFileOfItsOwn(Files):
    def check(self):
        self.held.append(os.open(os.devnull, os.O_RDONLY))


@rejected_by("test_a_sink_that_ended_holds_nothing")
class SinksKeepTheirFile(Files):
    def create(self, key, size):
        sink = super().create(key, size)
        self.held.append(os.dup(sink._fd))
        return sink


@rejected_by("test_a_suspended_sink_holds_nothing")
class SuspendedSinksKeepTheirFile(Files):
    def begin(self, key, size, epoch):
        sink = super().begin(key, size, epoch)
        self.held.append(os.dup(sink._fd))
        return sink


SWEEP = "test_the_sweep_finds_suspended_attempts"


@rejected_by(SWEEP)
class SweepsTheLiving(Files):
    def sweep(self, age, living):
        return super().sweep(age, lambda _: False)


@rejected_by(SWEEP)
class SweepForgetsTheFence(Files):
    def sweep(self, age, living):
        fences = {path: path.read_bytes() for path in self.fences()}
        swept = super().sweep(age, living)
        for path, content in fences.items():
            path.write_bytes(content)
        return swept

    def fences(self):
        return pathlib.Path(self.directory.path).glob(".fence-*")


@rejected_by("test_a_local_file_holds_the_object")
class LocalFileIsBuffered(Files):
    def open(self, location):
        return io.BufferedReader(super().open(location))


@rejected_by("test_a_local_file_holds_the_object")
class LocalFileIsACopyOfTheBeginning(Files):
    def open(self, location):
        with super().open(location) as file:
            copy = os.memfd_create("copy")
            os.pwrite(copy, file.read(MIB), 0)
        return open(copy, "rb", buffering=0)


for _kind in [Sound, Files, Redirects, *DOUBLES]:
    globals()[f"Test{_kind.__name__}"] = under_test(_kind)
