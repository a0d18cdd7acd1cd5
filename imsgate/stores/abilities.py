"""What a store may be able to do besides: a part of the store contract, which ``base`` introduces.

A driver has an ability if its class derives from the class here. imsgate asks with ``isinstance``.
"""

import abc
import dataclasses
from collections.abc import Callable, Hashable
from typing import BinaryIO

from imsgate.stores.sinks import ResumableSink, Sink


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """Bytes of the medium of a store; None where the driver cannot tell.

    ``reserved`` bytes were announced by attempts in progress and are not written yet.
    """

    total: int | None = None
    free: int | None = None
    reserved: int | None = None


class Resumable(abc.ABC):
    """Optional ability: an attempt can be suspended, and continued by any process on any host.

    Each process that takes an attempt over has a higher *epoch* than the one before. With that
    it *fences off* all sinks of lower epochs: their later calls change nothing that counts. An
    epoch below the newest that the store knows raises StoreUnavailable. One epoch has one sink
    at a time. ``size`` is always the value that was given to ``begin``.

    ``Store.discard`` removes everything of such an attempt, and ``Sweeps.sweep`` finds it.
    """

    @abc.abstractmethod
    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        """Begin an object as ``Store.create`` does, in an attempt that can be suspended."""

    @abc.abstractmethod
    def durable(self, key: str, size: int | None, epoch: int) -> int:
        """Take the attempt over and return how many of its bytes are durable.

        That is at least what ``suspend`` or ``durable`` returned last, and at most what any
        sink has written. For a committed attempt it is the size of the object. Raises
        ObjectNotFound if nothing is there, StoreFull, StoreUnavailable or StoreDenied.
        """

    @abc.abstractmethod
    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        """Take the attempt over and continue it at ``offset``, dropping what lies beyond.

        ``offset`` is what ``suspend`` or ``durable`` returned last. The attempt may have been
        committed already, by a process that died before it could record that. Then ``offset``
        is the object's size, ``commit`` returns the location, ``suspend`` returns the size,
        ``write`` fails and ``abort`` does nothing. Raises ObjectNotFound if nothing is there.
        After StoreFull, StoreUnavailable or StoreDenied the attempt can still be resumed.
        """


class LocalFiles(abc.ABC):
    """Optional ability: objects are files on this host, which a server can send by itself."""

    @abc.abstractmethod
    def open(self, location: str) -> BinaryIO:
        """Open the object's file for reading, unbuffered. Raises ObjectNotFound."""


class DirectUrls(abc.ABC):
    """Optional ability: clients can download an object directly from the storage service."""

    @abc.abstractmethod
    def direct_url(self, location: str) -> str | None:
        """A URL from which anyone can GET the object, with Range, for a limited time.

        None unless the operator has enabled this. Raises ObjectNotFound.
        """


class Addressed(abc.ABC):
    """Optional ability: objects have URLs by which other services know them.

    These URLs contain no credentials and never name a file on this host.
    """

    @abc.abstractmethod
    def url(self, location: str) -> str | None:
        """The object's URL, or None if it has none. Makes no request to the storage service."""

    @abc.abstractmethod
    def locate(self, url: str) -> str | None:
        """The location that ``url`` names, whether or not an object exists there.

        None if the URL names no place in this store, or contains more than that, such as a user
        name or a query. Makes no request to the storage service.
        """


class Adopts(abc.ABC):
    """Optional ability: objects that Glance has put in the same place can be used as they are."""

    @abc.abstractmethod
    def glance_location(self, url: str) -> str | None:
        """The location of the object that Glance records as ``url``, whether or not it exists.

        None if the URL names another place. Credentials in the URL are ignored: many of Glance's
        drivers write them there. Makes no request to the storage service.
        """


def without_credentials(url: str) -> str:
    """A URL of Glance's without what precedes the host.

    Secret keys were written there as they are, so they may contain slashes.
    """
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


@dataclasses.dataclass(frozen=True, slots=True)
class CopySource:
    """An object that the storage service may copy as long as its ETag is ``etag``.

    ``service`` is equal in two drivers that use the same storage service.
    """

    service: Hashable
    bucket: str
    key: str
    etag: str


#: Deprecated name of CopySource; it will be removed in a later release.
Origin = CopySource


class Copies(abc.ABC):
    """Optional ability: the storage service itself copies objects from its other buckets, or the
    file system from its other directories."""

    def copy_source(self, location: str) -> CopySource | None:
        """The object, for ``copy`` of another store; None if no other store can copy it.

        Raises ObjectNotFound and StoreUnavailable.
        """
        return None

    def copies_from(self, source: CopySource) -> bool:
        """Whether ``copy`` is worth trying. Makes no request to the storage service."""
        return True

    @abc.abstractmethod
    def copy(
        self, key: str, source: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """Begin an object as ``create`` does and fill it with the ``size`` bytes of ``source``.

        The returned sink already has all data and only needs ``commit``. Returns None, with
        nothing left behind, if ``source`` belongs to another service or the service refuses to
        copy it. ``check`` is called from time to time and may raise to stop the copy. Raises
        SourceFailed if ``source`` was replaced or has another size, and everything that
        ``create`` and a sink raise. The data passes by imsgate unseen: to inspect it, the caller
        reads the copy.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed: the number of attempts, and their size in bytes."""

    attempts: int
    bytes: int


class Sweeps(abc.ABC):
    """Optional ability: the driver finds orphaned attempts that no record refers to."""

    @abc.abstractmethod
    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """Remove what unfinished attempts left that began at least ``age`` seconds ago.

        ``living(key)`` returns whether the attempt with this key may still be running; those
        are skipped. Committed objects and data of other applications are never removed.
        """

    def sweep_objects(self, orphaned: Callable[[str], bool]) -> Swept:
        """Remove the committed objects for whose keys ``orphaned(key)`` is true.

        Such an object may stay when a stale process commits its attempt and then dies. A driver
        that cannot list its objects does nothing.
        """
        return Swept(0, 0)
