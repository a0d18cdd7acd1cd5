"""Stores that lose or replace what is committed; ``broken_stores`` runs the kit against them."""

import contextlib
import os

from imsgate import errors
from imsgate.stores.filesystem import resumable_sink
from imsgate.stores.filesystem.sink import FileSink
from tests.testing.sound_store import Files, Sound, rejected_by

DURABLE = "test_what_is_committed_is_durable"
SUSPENDED = "test_what_is_committed_or_suspended_by_a_resumable_attempt_is_durable"
SYNC_FAILS = "test_a_sync_that_fails_is_reported"


class Steps(FileSink):
    """Commits in ``STEPS``, which the broken ones change."""

    STEPS = ("sync_data", "rename", "sync_names")

    def commit(self):
        if not self._committed:
            with self._aborting():
                for step in self.STEPS:
                    getattr(self, step)()
                self._close()
            self._committed = True
        return self._key

    def sync_data(self):
        os.fsync(self._fd)

    def rename(self):
        os.rename(self._directory.temporary(self._key), self._directory.final(self._key))

    def sync_names(self):
        self._directory.sync()


def rejected(check):
    """Register a store whose only defect is this sink."""

    def register(sink):
        rejected_by(check)(type(sink.__name__, (Files,), {"SINK": sink}))
        return sink

    return register


@rejected(DURABLE)
class NeverSyncs(Steps):
    STEPS = ("rename",)


@rejected(DURABLE)
class SyncsNoData(Steps):
    STEPS = ("rename", "sync_names")


@rejected(DURABLE)
class SyncsNamesTwice(Steps):
    STEPS = ("sync_names", "rename", "sync_names")


@rejected(DURABLE)
class RenamesFirst(Steps):
    STEPS = ("rename", "sync_data", "sync_names")


@rejected(DURABLE)
class SyncsNoDirectory(Steps):
    STEPS = ("sync_data", "rename")


@rejected(DURABLE)
class SyncsTheDirectoryTooEarly(Steps):
    STEPS = ("sync_data", "sync_names", "rename")


@rejected(DURABLE)
class SyncsNoNewDirectory(Steps):
    """Its name is in a directory that is not synced afterwards."""

    STEPS = ("sync_data", "rename", "sync_names", "make_directory")

    def make_directory(self):
        os.makedirs(self._directory.final(f"of-{self._key}"))


@rejected(DURABLE)
class SyncsBeforeTheLastBytes(Steps):
    """As with a buffered file that is not flushed."""

    rest = b""

    def write(self, chunk):
        super().write(self.rest)
        self.rest = chunk

    def sync_data(self):
        super().sync_data()
        super().write(self.rest)


@rejected(SYNC_FAILS)
class SwallowsTheErrorOfASync(Steps):
    def sync_data(self):
        with contextlib.suppress(OSError):
            super().sync_data()


@rejected(SYNC_FAILS)
class SwallowsTheErrorOfTheDirectory(Steps):
    def sync_names(self):
        with contextlib.suppress(OSError):
            super().sync_names()


@rejected(SYNC_FAILS)
class TriesASyncAgain(Steps):
    def sync_data(self):
        try:
            super().sync_data()
        except OSError:
            super().sync_data()


@rejected(SYNC_FAILS)
class CommitsAfterASyncThatFailed(Steps):
    @contextlib.contextmanager
    def _aborting(self):
        with self._directory.reporting():
            yield


@rejected(SYNC_FAILS)
class LeavesWhatWasNotSynced(Steps):
    """The object stays if the directory cannot be synced."""

    def abort(self):
        with contextlib.suppress(OSError):
            self._close()
            os.unlink(self._directory.temporary(self._key))


@rejected(SYNC_FAILS)
class LetsTheErrorOfASyncOut(Steps):
    @contextlib.contextmanager
    def _aborting(self):
        try:
            yield
        except BaseException:
            self.abort()
            raise


class ResumableSteps(Files):
    def begin(self, key, size, epoch):
        sink = super().begin(key, size, epoch)
        sink.__class__ = self.RESUMABLE
        return sink


@rejected_by(SUSPENDED)
class SuspendsWithoutASync(ResumableSteps):
    class RESUMABLE(resumable_sink.ResumableFileSink):
        def suspend(self):
            self._end()
            return self._written


@rejected_by(SUSPENDED)
class SuspendsWithoutTheDirectory(ResumableSteps):
    class RESUMABLE(resumable_sink.ResumableFileSink):
        def suspend(self):
            self._new = False
            return super().suspend()


@rejected_by(SUSPENDED)
class PublishesBeforeTheSync(ResumableSteps):
    class RESUMABLE(resumable_sink.ResumableFileSink):
        def commit(self):
            self._publish()
            os.fsync(self._witness)
            self._committed = True
            self._end()
            return self._key


# Objects that are there already


OVERWRITTEN = "test_an_object_is_never_overwritten"


@rejected_by(OVERWRITTEN)
class Overwrites(Sound):
    def _admit(self, key, size):
        self._parts[key] = []


@rejected_by(OVERWRITTEN)
class RenamesOverAnObject(Files):
    def create(self, key, size):
        self.directory.refuse_existing = lambda key: None
        return super().create(key, size)


@rejected_by(OVERWRITTEN)
class RefusesAndRemoves(Sound):
    def _admit(self, key, size):
        if self._objects.pop(key, None) is not None:
            raise errors.StoreUnavailable(store=self.name, problem="the object exists already")
        super()._admit(key, size)
