"""Stores that are wrong about objects, places, errors and connections; see ``broken_stores``."""

import os
import threading

from oslo_config import cfg

from imsgate import errors
from tests.testing.sound_store import Files, Sound, SoundSink, rejected_by, rejected_sink

MIB = 1024 * 1024

# Objects that are shorter than their size

CUT = "test_an_object_that_was_cut_is_not_read_to_its_end"


class Generates(Files):
    def read(self, location, offset=0, length=None):
        size = self.size(location)
        return self.chunks(location, offset, size - offset if length is None else length)

    def chunks(self, location, offset, left):
        with self.open(location) as file:
            file.seek(offset)
            while left and (chunk := file.read(min(left, MIB)) or self.at_end(left)):
                left -= len(chunk)
                yield chunk


@rejected_by(CUT)
class EndsWhereTheFileEnds(Generates):
    def at_end(self, left):
        return b""


@rejected_by(CUT)
class FillsUpWhatWasCut(Generates):
    def at_end(self, left):
        return bytes(left)


@rejected_by(CUT)
class CutsTheLengthToTheSize(Files):
    def read(self, location, offset=0, length=None):
        left = self.size(location) - offset
        return super().read(location, offset, min(left, left if length is None else length))


@rejected_by(CUT)
class TakesACutObjectForMissing(Generates):
    def at_end(self, left):
        raise errors.ObjectNotFound("s")


# Places

PLACE = "test_its_place_can_be_compared"


@rejected_by(PLACE)
class HasNoPlace(Sound):
    def place(self):
        return None


@rejected_by(PLACE)
class HasAPlaceForEachProcess(Sound):
    def place(self):
        return id(self)


@rejected_by(PLACE)
class HasAPlaceThatCannotBeHashed(Sound):
    def place(self):
        return [self.name]


# Connections


@rejected_by("test_asking_holds_nothing")
class LeaksAConnectionForEachMissingObject(Files):
    """Garbage collection hides it as long as nobody keeps the exception."""

    def read(self, location, offset=0, length=None):
        connection = open(os.devnull)  # noqa: SIM115 - this is the defect
        reader = super().read(location, offset, length)
        connection.close()
        return reader


@rejected_by("test_many_threads")
class WaitsInASecondThread(Sound):
    TIMEOUT = 1.0

    def append(self, key, chunk):
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait()
        super().append(key, chunk)


@rejected_by("test_two_attempts_for_one_image")
class OneConnectionForAllSinks(Sound):
    TIMEOUT = 1.0

    def __init__(self, *args):
        super().__init__(*args)
        self.connection = threading.Lock()

    def create(self, key, size):
        self.connection.acquire()
        return super().create(key, size)

    def publish(self, key):
        super().publish(key)
        self.connection.release()


@rejected_by("test_two_readers_of_one_object")
class OneConnectionForAllReaders(Sound):
    TIMEOUT = 1.0

    def __init__(self, *args):
        super().__init__(*args)
        self.connection = threading.Lock()

    def counted(self, chunks):
        with self.connection:
            yield from super().counted(chunks)


FORKED = "test_a_forked_process_uses_the_store"


@rejected_by(FORKED)
class IsOfTheProcessThatMadeIt(Sound):
    def __init__(self, *args):
        super().__init__(*args)
        self.owner = os.getpid()

    def create(self, key, size):
        assert os.getpid() == self.owner
        return super().create(key, size)


@rejected_by(FORKED)
class SharesAConnectionWithItsFork(Files):
    """The position in a file stands for the state of a connection."""

    def __init__(self, *args):
        super().__init__(*args)
        self.connection = os.memfd_create("connection")
        self.sent = 0

    def create(self, key, size):
        self.exchange()
        return super().create(key, size)

    def size(self, location):
        self.exchange()
        return super().size(location)

    def exchange(self):
        if os.lseek(self.connection, 0, os.SEEK_CUR) != self.sent:
            raise errors.StoreUnavailable(store=self.name, problem="a packet of somebody else")
        self.sent += os.write(self.connection, b"packet")


@rejected_by("test_a_medium_that_never_answers_is_reported")
class HasNoTimeout(Sound):
    TIMEOUT = 1.0

    def _get(self, location):
        if self.gone:
            threading.Event().wait()
        return super()._get(location)


@rejected_by("test_a_medium_that_never_answers_is_reported")
class SaysNothingOfATimeout(Sound):
    def check(self):
        if not self.gone:
            super().check()


# Errors

DENIED = "test_a_refusal_is_reported_as_such"


@rejected_by(DENIED)
class SaysUnavailableForDenied(Sound):
    def refuse(self):
        raise errors.StoreUnavailable(store=self.name, problem="no permission")


@rejected_by(DENIED)
class SaysMissingForDenied(Sound):
    def refuse(self):
        raise errors.ObjectNotFound("s")


@rejected_by(DENIED)
class HasNoProblem(Sound):
    def refuse(self):
        raise errors.StoreDenied(store=self.name)


@rejected_by(DENIED)
class HasAnEmptyProblem(Sound):
    def refuse(self):
        raise errors.StoreDenied(store=self.name, problem="")


@rejected_by(DENIED)
class NamesAPath(Sound):
    def refuse(self):
        raise errors.StoreDenied(store=self.name, problem="cannot write to /srv/images")


@rejected_by(DENIED)
class NamesAnotherStore(Sound):
    def refuse(self):
        raise errors.StoreDenied(store="images", problem="no permission")


@rejected_by(DENIED)
class AddsADetail(Sound):
    def refuse(self):
        raise errors.StoreDenied(store=self.name, problem="no permission", user="gateway")


@rejected_by(DENIED)
class KeepsThePathInTheCause(Sound):
    def refuse(self):
        try:
            raise PermissionError(13, "Permission denied", "/srv/images/key")
        except OSError as error:
            raise errors.StoreDenied(store=self.name, problem="no permission") from error


@rejected_by(DENIED)
class KeepsThePathInTheContext(Sound):
    def refuse(self):
        try:
            raise PermissionError(13, "Permission denied", "/srv/images/key")
        except OSError:
            raise errors.StoreDenied(store=self.name, problem="no permission")  # noqa: B904


@rejected_by(DENIED)
class KeepsThePasswordInTheCause(Sound):
    def refuse(self):
        error = ValueError("login as user:hunter2 failed")
        raise errors.StoreDenied(store=self.name, problem="no permission") from error


@rejected_sink("test_what_cannot_be_asked_is_not_taken_for_missing")
class AbortRaisesWhileAway(SoundSink):
    def abort(self):
        if self.location is None:
            self.store.discard(self.key)


@rejected_by("test_what_cannot_be_asked_is_not_taken_for_missing")
class PropertiesNeedTheMedium(Sound):
    def properties(self):
        self.answering()
        return {}


@rejected_by("test_what_cannot_be_asked_is_not_taken_for_missing")
class AsksTheMediumForUrls(Sound):
    def url(self, location):
        self.answering()
        return super().url(location)


@rejected_by("test_a_url_leads_back_and_no_other_does")
class HasASecretInItsUrls(Sound):
    def url(self, location):
        return f"memory://hunter2/{location}"

    def locate(self, url):
        return super().locate(url.replace("//hunter2/", f"//{self.name}/"))


# Properties

SHOWN = "test_properties_can_be_shown"


@rejected_by(SHOWN)
class ShowsItsUser(Sound):
    OPTS = (*Sound.OPTS, cfg.StrOpt("memory_store_user", default="gateway"))

    def properties(self):
        return {"user": self.settings.memory_store_user}


@rejected_by(SHOWN)
class ShowsAUrlWithAUser(Sound):
    def properties(self):
        return {"url": "sftp://gateway@images.example/srv"}


@rejected_by(SHOWN)
class ShowsWhatIsPrivate(Sound):
    def properties(self):
        return {"directory": "/srv/hunter2"}
