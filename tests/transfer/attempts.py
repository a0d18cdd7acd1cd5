"""An upload whose every step can be interfered with."""

import hashlib
import io
import itertools
import os
import types
import uuid
from time import sleep

from imsgate import errors, model
from imsgate.http.body import Tapped
from imsgate.model import Image, Status
from imsgate.registry.memory import MemoryRegistry
from imsgate.stores.base import Store
from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing.gateways import gateway
from imsgate.transfer import cleanup, lease, residue, upload


class Boom(Exception):
    """Something no part of this knows."""


FULL = errors.StoreFull(store="fast")
AWAY = errors.StoreUnavailable(store="fast", problem="away")
CUT = errors.BodyCut(received=5)

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


def pass_time(monkeypatch, clock):
    for module in (upload, lease, cleanup, residue):
        monkeypatch.setattr(module, "time", clock)


def held(store):
    """Everything in a store, whole or not."""
    if isinstance(store, FilesystemStore):
        root = store.settings.filesystem_store_datadir
        return sorted(
            os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
        )
    return store.held()


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
