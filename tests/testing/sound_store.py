"""The sound stores from which the broken doubles derive, and what runs the kit against them."""

import contextlib
import math
import os

import pytest

from imsgate import config, errors
from imsgate.stores.base import Sink
from imsgate.stores.filesystem import FilesystemStore
from imsgate.stores.filesystem.sink import FileSink
from imsgate.stores.memory import MemoryStore
from imsgate.testing import StoreContract
from imsgate.testing.stores import local


class SoundSink(Sink):
    """A correct sink, from which the broken ones derive."""

    def __init__(self, store, key, size):
        self.store, self.key, self.size = store, key, size
        self.written = 0
        self.location = None

    def write(self, chunk):
        self.store.append(self.key, chunk)
        self.written += len(chunk)

    def commit(self):
        if self.location is None:
            self.store.publish(self.key)
            self.location = self.key
        return self.location

    def abort(self):
        if self.location is None:
            with contextlib.suppress(errors.Error):
                self.store.discard(self.key)


class Sound(MemoryStore):
    SINK = SoundSink
    #: The number of the write or read at which the medium fails.
    writes = reads = math.inf
    #: Whether the medium does not respond at all.
    gone = False

    #: Whether another medium is in the place of this one.
    other = False

    #: Whether the medium refuses everything.
    denies = False

    def answering(self):
        if self.denies:
            self.refuse()
        if self.gone or self.other:
            raise errors.StoreUnavailable(store=self.name, problem="no answer")

    def refuse(self):
        raise errors.StoreDenied(store=self.name, problem="no permission")

    def publish(self, key):
        self.answering()
        super().publish(key)

    def check(self):
        self.answering()

    def _get(self, location):
        self.answering()
        return super()._get(location)

    def delete(self, location):
        self.answering()
        super().delete(location)

    def discard(self, key):
        self.answering()
        super().discard(key)

    def append(self, key, chunk):
        self.writes -= 1
        if self.writes <= 0:
            self.write_failed(key)
        super().append(key, chunk)

    def write_failed(self, key):
        self.discard(key)
        raise errors.StoreUnavailable(store=self.name, problem="a write failed")

    def read(self, location, offset=0, length=None):
        return self.counted(super().read(location, offset, length))

    def counted(self, chunks):
        for chunk in chunks:
            self.reads -= 1
            if self.reads <= 0:
                self.read_failed()
                return
            yield chunk

    def read_failed(self):
        raise errors.StoreUnavailable(store=self.name, problem="a read failed")

    def create(self, key, size):
        self.answering()
        super().create(key, size)
        return self.SINK(self, key, size)

    def begin(self, key, size, epoch):
        self.answering()
        return super().begin(key, size, epoch)

    def take(self, key, epoch, chunk):
        self.writes -= 1
        if self.writes <= 0:
            raise errors.StoreUnavailable(store=self.name, problem="a write failed")
        super().take(key, epoch, chunk)

    def _take_over(self, key, epoch):
        self.answering()
        return super()._take_over(key, epoch)

    def data(self, location):
        return b"".join(MemoryStore.read(self, location))


DOUBLES = {}


def rejected_by(check):
    """The double must fail this check of StoreContract."""

    def register(kind):
        DOUBLES[kind] = check
        return kind

    return register


def with_sink(sink):
    """A store whose only defect is its sink."""
    return type(sink.__name__, (Sound,), {"SINK": sink})


def rejected_sink(check):
    def register(sink):
        DOUBLES[with_sink(sink)] = check
        return sink

    return register


class Files(FilesystemStore):
    """A sound store of files. ``SINK`` is what broken ones derive from ``FileSink``.

    Open files stay referenced, so that the garbage collector closes none of them."""

    held = []  # noqa: RUF012 - for the life of the process that must fail
    SINK = FileSink

    def create(self, key, size):
        sink = super().create(key, size)
        sink.__class__ = self.SINK
        return sink


def make(kind, directory, capacity=None):
    if issubclass(kind, MemoryStore):
        values = {opt.dest: opt.default for opt in kind.OPTS}
        return kind("s", config.Section(**{**values, "memory_store_capacity": capacity}))
    values = {opt.dest: opt.default for opt in kind.OPTS}
    values["filesystem_store_datadir"] = str(directory)
    return kind("s", config.Section(**values))


def under_test(kind):
    class Contract(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return make(kind, tmp_path)

        @pytest.fixture
        def small_store(self, tmp_path):
            return make(kind, tmp_path, 300_000)

        def again(self, store):
            other = super().again(store)
            if isinstance(store, MemoryStore):
                for name in ("_lock", "_objects", "_parts", "_announced", "_epochs"):
                    setattr(other, name, getattr(store, name))
            return other

        def leftovers(self, store):
            if isinstance(store, MemoryStore):
                return store.held()
            return os.listdir(store.properties()["data_dir"])

        @pytest.fixture
        def redirecting_store(self, store):
            if not hasattr(kind, "signed"):
                return store
            other = self.again(store)
            other.enabled = True
            return other

        def expired(self, store):
            return being(store, "age", 86_400)

        def write_fault(self, store, nth):
            return failing(store, "writes", nth)

        def read_fault(self, store, nth):
            return failing(store, "reads", nth)

        SEQUENCES = 25 if kind is Sound else 1000  # it ends with the first failure
        SECONDS = 0  # however slow the machine is, a broken one is found
        TIMEOUT = getattr(kind, "TIMEOUT", StoreContract.TIMEOUT)

        def truncate(self, store, location, size):
            if isinstance(store, MemoryStore):
                store._objects[location] = store._objects[location][:size]
            else:
                local.truncate(store.directory.final(location), size)

        def denied(self, store):
            return being(store, "denies")

        def silent(self, store):
            return being(store, "gone")

        def removals(self, store, before):
            if isinstance(store, MemoryStore):
                raise self.not_given("removals")
            return local.removals(before)

        def others(self, store, names):
            return local.others(store.directory.path, names)

        def sync_fault(self, store, before):
            if isinstance(store, MemoryStore):
                raise self.not_given("sync_fault")
            return local.syncs(before)

        def away(self, store):
            return being(store, "gone")

        @contextlib.contextmanager
        def replaced(self, store):
            objects, store._objects, store.other = store._objects, {}, True
            yield
            store._objects, store.other = objects, False

        def private(self, store):
            return ["hunter2"]

    return Contract


@contextlib.contextmanager
def failing(store, what, nth):
    setattr(store, what, nth)
    yield
    setattr(store, what, math.inf)


@contextlib.contextmanager
def being(store, what, value=True):
    before = getattr(store, what)
    setattr(store, what, value)
    yield
    setattr(store, what, before)
