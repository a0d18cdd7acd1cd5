"""The outages of a store are logged, once, and its abilities stay."""

import io
import logging

import pytest

from imsgate import errors
from imsgate.config import Section
from imsgate.stores.base import LocalFiles, Resumable, Sink, Store
from imsgate.stores.filesystem import FilesystemStore
from imsgate.stores.memory import MemoryStore
from imsgate.stores.watched import Outages, watched

KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"
AWAY = errors.StoreUnavailable(store="tape", problem="the robot is away")
FULL = errors.StoreFull(store="tape")
READING, WRITING = "Store tape", "Writing to store tape"


class TapeSink(Sink):
    def __init__(self, tape):
        self.tape = tape

    def write(self, chunk):
        self.tape.done("write")

    def commit(self):
        self.tape.done("commit")
        return "place"

    def suspend(self):
        self.tape.done("suspend")
        return 4

    def abort(self):
        pass


class Tape(Store, LocalFiles, Resumable):
    """Each call fails with the error that ``failing`` has for it."""

    def __init__(self):
        super().__init__("tape", Section())
        self.failing = {}

    def done(self, name):
        if name in self.failing:
            raise self.failing[name]

    def create(self, key, size):
        self.done("create")
        return TapeSink(self)

    def begin(self, key, size, epoch):
        self.done("begin")
        return TapeSink(self)

    def resume(self, key, size, offset, epoch):
        self.done("resume")
        return TapeSink(self)

    def durable(self, key, size, epoch):
        self.done("durable")
        return 4

    def read(self, location, offset=0, length=None):
        self.done("read")

        def chunks():
            self.done("next")
            yield b"data"

        return chunks()

    def size(self, location):
        self.done("size")
        return 4

    def open(self, location):
        self.done("open")
        return io.BytesIO(b"data")

    def delete(self, location):
        self.done("delete")

    def discard(self, key):
        self.done("discard")

    def check(self):
        self.done("check")


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def store(tape):
    return watched(tape, Outages("tape"))


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def read(store):
    chunks = store.read("place")
    try:
        return b"".join(chunks)
    finally:
        chunks.close()


CALLS = {
    "create": (WRITING, lambda store: store.create(KEY, 4)),
    "begin": (WRITING, lambda store: store.begin(KEY, 4, 1)),
    "resume": (WRITING, lambda store: store.resume(KEY, 4, 0, 2)),
    "durable": (WRITING, lambda store: store.durable(KEY, 4, 2)),
    "write": (WRITING, lambda store: store.create(KEY, 4).write(b"data")),
    "commit": (WRITING, lambda store: store.create(KEY, 4).commit()),
    "suspend": (WRITING, lambda store: store.begin(KEY, 4, 1).suspend()),
    "delete": (WRITING, lambda store: store.delete("place")),
    "discard": (WRITING, lambda store: store.discard(KEY)),
    "read": (READING, read),
    "next": (READING, read),
    "size": (READING, lambda store: store.size("place")),
    "open": (READING, lambda store: store.open("place")),
    "check": (READING, lambda store: store.check()),
}
#: What shows that the store works again.
PROOFS = ("commit", "suspend", "delete", "read", "size", "open", "check")


@pytest.mark.parametrize("name", CALLS)
def test_a_failure_is_one_error(store, tape, lines, name):
    subject, call = CALLS[name]
    tape.failing[name] = AWAY
    for _ in range(3):
        with pytest.raises(errors.StoreUnavailable):
            call(store)
    assert [line for line in lines() if line[0] == "ERROR"] == [
        ("ERROR", f"{subject} fails: the robot is away")
    ]


@pytest.mark.parametrize("name", CALLS)
def test_what_proves_that_it_works_again(store, tape, lines, name):
    subject, call = CALLS[name]
    tape.failing["discard" if subject == WRITING else "next"] = AWAY
    with pytest.raises(errors.StoreUnavailable):
        CALLS["discard" if subject == WRITING else "next"][1](store)
    tape.failing.clear()
    call(store)
    again = ("INFO", f"{subject} works again after 0 s")
    assert (lines()[-1] == again) is (name in PROOFS or name == "next")


def test_a_store_without_the_object_works(store, tape, lines):
    tape.failing["size"] = AWAY
    with pytest.raises(errors.StoreUnavailable):
        store.size("place")
    tape.failing["size"] = errors.ObjectNotFound("tape")
    with pytest.raises(errors.ObjectNotFound):
        store.size("place")
    assert lines()[-1] == ("INFO", "Store tape works again after 0 s")


def test_a_full_store_is_read_as_before(store, tape, lines):
    tape.failing["create"] = FULL
    with pytest.raises(errors.StoreFull):
        store.create(KEY, 4)
    assert read(store) == b"data"
    assert lines() == [("ERROR", "Writing to store tape fails: no space is left")]


def test_a_request_that_lost_a_race_is_no_outage(store, tape, lines):
    tape.failing["suspend"] = errors.Fenced(store="tape", problem="another request")
    with pytest.raises(errors.Fenced):
        store.begin(KEY, 4, 1).suspend()
    assert lines() == []


@pytest.mark.parametrize("kind", [Tape, FilesystemStore, MemoryStore])
def test_the_abilities_are_those_of_the_store(kind, store):
    each = watched(object.__new__(kind), Outages("x"))
    assert isinstance(each, kind)
    assert isinstance(each, LocalFiles) is issubclass(kind, LocalFiles)
    assert isinstance(each, Resumable) is issubclass(kind, Resumable)


def test_what_is_set_is_set_on_the_store(store, tape):
    store.failing = {"check": AWAY}
    assert tape.failing == store.failing == {"check": AWAY}
