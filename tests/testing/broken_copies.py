"""Stores whose copies are wrong; see ``broken_stores``."""

import contextlib
import dataclasses
import os

from imsgate import errors
from imsgate.stores.base import CopySource
from imsgate.stores.filesystem.sink import FileSink
from tests.testing.sound_store import Files, rejected_by

BYTES = "test_a_copy_has_the_bytes_of_its_source"
VISIBLE = "test_a_copy_is_not_visible_before_commit"
LEAVES = "test_a_copy_that_is_not_committed_leaves_nothing"
REPLACED = "test_a_source_that_was_replaced_is_not_copied"
MEANWHILE = "test_a_source_that_is_replaced_meanwhile_is_not_copied_in_part"
SIZES = "test_a_size_that_is_not_the_sources_is_refused"
STOPS = "test_a_copy_stops_if_its_check_raises"
EXISTING = "test_a_copy_replaces_no_object"
ELSEWHERE = "test_an_object_of_another_service_is_not_copied"
MISSING = "test_what_is_missing_is_no_source"


def path_of(source):
    return os.path.join(source.bucket, source.key)


class Copying(Files):
    """Copies through ``write``, in steps, and has one step for each double to get wrong."""

    STEP = 1024 * 1024

    def copy(self, key, source, size, check):
        if not self.copies_from(source):
            return None
        self.refuse(source, size)
        sink = self.create(key, size)
        try:
            self.fill(sink, source, size, check)
        except BaseException:
            sink.abort()
            raise
        return sink

    def refuse(self, source, size):
        with contextlib.suppress(errors.ObjectNotFound):
            if self.copy_source(source.key) == source and self.size(source.key) == size:
                return
        raise errors.SourceFailed(problem="it was replaced")

    def fill(self, sink, source, size, check):
        with open(path_of(source), "rb") as file:
            while chunk := file.read(self.STEP):
                check()
                sink.write(chunk)


@rejected_by(BYTES)
class CopiesNothing(Files):
    def copy(self, key, source, size, check):
        return None


@rejected_by(BYTES)
class LosesTheRest(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.__class__ = LosesItsEnd


class LosesItsEnd(FileSink):
    def commit(self):
        os.ftruncate(self._fd, self._written // self.store_bytes * self.store_bytes)
        self._written = self._written // self.store_bytes * self.store_bytes
        return super().commit()

    store_bytes = 1024


@rejected_by(BYTES)
class RepeatsItsFirstPart(Copying):
    def fill(self, sink, source, size, check):
        with open(path_of(source), "rb") as file:
            for start in range(0, size, self.STEP):
                sink.write(os.pread(file.fileno(), min(self.STEP, size - start), 0))


@rejected_by(BYTES)
class MovesItsSource(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        os.unlink(path_of(source))


@rejected_by(BYTES)
class PointsToItsSource(Files):
    def copy(self, key, source, size, check):
        sink = super().copy(key, source, size, check)
        self.pointers = {**getattr(self, "pointers", {}), key: source.key}
        return sink

    def read(self, location, offset=0, length=None):
        return super().read(self.pointers.get(location, location), offset, length)


@rejected_by(VISIBLE)
class CommitsTheCopy(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.commit()


@rejected_by(VISIBLE)
class CopiesUnderTheFinalName(Files):
    def copy(self, key, source, size, check):
        final = self.directory.final(key)

        def look():
            with open(final, "wb"):
                check()

        try:
            return Copying.copy(self, key, source, size, look)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(final)

    refuse, fill, STEP = Copying.refuse, Copying.fill, Copying.STEP


@rejected_by(VISIBLE)
class SecondCommitOfACopyRaises(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.__class__ = CommitsOnce


class CommitsOnce(FileSink):
    def commit(self):
        if self._committed:
            raise errors.StoreUnavailable(store="s", problem="it was committed")
        return super().commit()


@rejected_by(LEAVES)
class AbortKeepsTheCopy(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.__class__ = StaysWhenAborted


class StaysWhenAborted(FileSink):
    def abort(self):
        self._close()


@rejected_by(LEAVES)
class AbortRemovesTheSource(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.__class__, sink.source = RemovesItsSource, path_of(source)


class RemovesItsSource(FileSink):
    def abort(self):
        super().abort()
        if not self._committed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.source)


@rejected_by(LEAVES)
class CommitsACopyThatWasDiscarded(Copying):
    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.__class__, sink.again = CopiesAgain, path_of(source)


class CopiesAgain(FileSink):
    def commit(self):
        with contextlib.suppress(errors.Error):
            return super().commit()
        with open(self.again, "rb") as file, open(self._directory.final(self._key), "wb") as copy:
            copy.write(file.read())
        return self._key


@rejected_by(REPLACED)
class IgnoresTheEtag(Copying):
    def refuse(self, source, size):
        if self.size(source.key) != size:
            raise errors.SourceFailed(problem="it was replaced")


@rejected_by(REPLACED)
class HasNoEtags(Copying):
    def copy_source(self, location):
        return dataclasses.replace(super().copy_source(location), etag="")


@rejected_by(REPLACED)
class SaysNothingOfAReplacedSource(Copying):
    def copy(self, key, source, size, check):
        try:
            return super().copy(key, source, size, check)
        except errors.SourceFailed:
            return None


@rejected_by(MEANWHILE)
class CopiesPartsOfTwoObjects(Copying):
    def fill(self, sink, source, size, check):
        for start in range(0, size, self.STEP):
            check()
            with open(path_of(source), "rb") as file:
                file.seek(start)
                sink.write(file.read(self.STEP))


@rejected_by(SIZES)
class CutsTheSource(Copying):
    def refuse(self, source, size):
        super().refuse(source, self.size(source.key))

    def fill(self, sink, source, size, check):
        with open(path_of(source), "rb") as file:
            sink.write(file.read(size))


@rejected_by(SIZES)
class FillsUpTheSource(CutsTheSource):
    def refuse(self, source, size):
        super().refuse(source, size)
        if size < self.size(source.key):
            raise errors.SourceFailed(problem="it has another size")

    def fill(self, sink, source, size, check):
        super().fill(sink, source, size, check)
        sink.write(bytes(size - self.size(source.key)) or b"")


@rejected_by(STOPS)
class CannotBeStopped(Copying):
    def fill(self, sink, source, size, check):
        def ask():
            with contextlib.suppress(errors.Cancelled):
                check()

        super().fill(sink, source, size, ask)


@rejected_by(STOPS)
class TakesAStopForARefusal(Copying):
    def copy(self, key, source, size, check):
        try:
            return super().copy(key, source, size, check)
        except errors.Cancelled:
            return None


@rejected_by(STOPS)
class LeavesWhatWasStopped(Copying):
    def create(self, key, size):
        sink = super().create(key, size)
        sink.__class__ = StaysWhenAborted
        return sink


@rejected_by(EXISTING)
class CopiesOverAnObject(Copying):
    def create(self, key, size):
        sparse = self._options.filesystem_thin_provisioning
        return FileSink(self.directory, key, mode=self._mode, sparse=sparse, reserve=None)


@rejected_by(EXISTING)
class RemovesTheObjectInItsWay(Copying):
    def copy(self, key, source, size, check):
        try:
            return super().copy(key, source, size, check)
        except errors.StoreUnavailable:
            self.discard(key)
            raise


@rejected_by(ELSEWHERE)
class CopiesFromAnyService(Copying):
    def copies_from(self, source):
        return True


@rejected_by(ELSEWHERE)
class AsksOnlyInCopy(Copying):
    def copies_from(self, source):
        return True

    def copy(self, key, source, size, check):
        if source.service != self.copy_source(source.key).service:
            return None
        return super().copy(key, source, size, check)


@rejected_by(ELSEWHERE)
class CopiesFromNowhere(Copying):
    def copies_from(self, source):
        return False


@rejected_by(ELSEWHERE)
class IsAServiceOfItsOwn(Copying):
    def copy_source(self, location):
        return dataclasses.replace(super().copy_source(location), service=id(self))

    def copies_from(self, source):
        return source.service == id(self)


@rejected_by(MISSING)
class TakesAnythingForASource(Copying):
    def copy_source(self, location):
        with contextlib.suppress(errors.ObjectNotFound):
            return super().copy_source(location)
        return CopySource("files of this host", self.directory.path, location, "")
