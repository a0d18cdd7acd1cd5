"""The store contract: what imsgate asks of a storage driver, and what the driver may rely on.

Terms:

- An *object* is the stored data of one image. A *location* is the text by which the driver
  finds an object again; ``Sink.commit`` returns it and the image record keeps it.
- An *attempt* is one try at writing an object. Each attempt has its own *key*, so two uploads
  of one image never share a key.

A driver may rely on its input:

- imsgate makes the keys: an image id, a dot and a hexadecimal attempt number, at most 100
  ASCII characters.
- Chunks are never empty. Offsets and lengths lie within the object.
- Only one thread uses a sink at a time.

All other concurrency is up to the driver: a store is built once, then many threads and
processes use it at the same time.

Every driver promises:

- Nothing is visible under a location before ``commit`` returns. After that the object is
  visible, complete and durable, even if the power fails at once.
- After ``abort``, an exception or the death of the process, ``discard`` with the same key
  removes everything that is left.
- A failure raises ``errors.StoreFull``, ``errors.StoreUnavailable`` or ``errors.StoreDenied``;
  a missing object raises ``errors.ObjectNotFound``. No error contains credentials or paths.
- ObjectNotFound means that the object is gone, and the caller forgets it. If the medium itself
  is missing, or another one is in its place, every call raises StoreUnavailable instead.

``imsgate.testing.StoreContract`` tests all of this.
"""

import abc
import dataclasses
import re
import types
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar, Self

from oslo_config import cfg

from imsgate.config import Section

#: A valid location in drivers that use the key as the location. The first character is a letter
#: or a digit, so that neither ``..`` nor a temporary name with a leading dot matches.
LOCATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,254}", re.ASCII)

#: The key of an attempt. Other applications may have data in the same place.
ATTEMPT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.[0-9a-f]+", re.ASCII)


class Sink(abc.ABC):
    """An object that is being written.

    It is a context manager: leaving the block without ``commit`` aborts the attempt.
    """

    @abc.abstractmethod
    def write(self, chunk: bytes) -> None:
        """Append ``chunk``.

        Raises StoreFull, StoreUnavailable or StoreDenied. After such a failure ``commit`` fails
        too.
        """

    @abc.abstractmethod
    def commit(self) -> str:
        """Make the object visible, complete and durable, and return its location.

        A second call does nothing and returns the same location. Raises StoreFull,
        StoreUnavailable or StoreDenied; then nothing is visible. It also raises one of them
        after ``abort`` and after the attempt was discarded.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """End the attempt and remove everything that it wrote.

        May be called at any time and any number of times. After ``commit`` it does nothing. It
        never raises.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.abort()


class Store(abc.ABC):
    """A place where image data is stored."""

    #: The driver's options. They are read from the section that has the store's id as its name.
    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    @classmethod
    def further_opts(cls, name: str, settings: Section) -> Sequence[cfg.Opt]:
        """More options of the same section, depending on the values of OPTS.

        A driver that wraps another driver returns that driver's options here. The loader calls
        this again, with the values of the new options added, until it returns no option that
        is new. Raises BadConfig.
        """
        return ()

    def __init__(self, name: str, settings: Section) -> None:
        """Build the store with the id ``name`` and the option values of its section.

        Raises BadConfig, naming the option, if the store cannot work with these settings. A
        driver can declare a typed record of its options and fill it from ``settings``
        (``imsgate.settings``).
        """
        self.name = name
        self.settings = settings

    @abc.abstractmethod
    def create(self, key: str, size: int | None) -> Sink:
        """Begin an object of ``size`` bytes; the size is unknown if ``size`` is None.

        Raises StoreFull at once if the driver can tell that ``size`` bytes do not fit beside
        the stored objects and the announced sizes of other attempts. Also raises
        StoreUnavailable or StoreDenied. After any exception nothing is left behind. If the
        number of bytes written differs from ``size``, ``commit`` either stores exactly the
        bytes written or fails.
        """

    @abc.abstractmethod
    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read ``length`` bytes from ``offset``, or up to the end if ``length`` is None.

        Raises ObjectNotFound from the call itself, not from the first ``next``. The iterator
        raises StoreUnavailable rather than end early. Its ``close`` method releases all
        resources, even if no chunk was ever requested.
        """

    @abc.abstractmethod
    def size(self, location: str) -> int:
        """The object's size in bytes. Raises ObjectNotFound."""

    @abc.abstractmethod
    def delete(self, location: str) -> None:
        """Remove the object. Raises ObjectNotFound if it does not exist."""

    @abc.abstractmethod
    def discard(self, key: str) -> None:
        """Remove everything that the attempt with this key left, committed or not.

        Does nothing if nothing is left. Raises StoreUnavailable or StoreDenied if the driver
        cannot find out. imsgate calls this for attempts of dead processes, sometimes while a
        stale process still writes. After ``discard`` the ``commit`` of an attempt in this
        process fails; in another process it fails if the medium makes that possible. If such
        an attempt is committed anyway, a later ``discard`` removes it.
        """

    def check(self) -> None:  # noqa: B027 - most stores have no cheap check
        """Check that the store can be used now. This must be cheap: health checks call it often.

        Raises StoreUnavailable or StoreDenied.
        """

    def free_space(self) -> int | None:
        """Free space in bytes, or None if the driver cannot tell."""
        return None

    def place(self) -> Hashable:
        """An identifier of the directory, bucket or other place where the objects are stored.

        Two enabled stores must not have the same place: deleting a copy in one of them would
        delete the original in the other. None disables this check.
        """
        return None

    @property
    def read_only(self) -> bool:
        """Whether nothing can ever be written to this store or deleted from it.

        Then imsgate calls only ``read``, ``size``, ``check`` and what describes the store.
        """
        return False

    def unmarked(self) -> str | None:
        """The option that names a place which this store has never marked as its own.

        None if the place has the store's mark, or if it cannot be mistaken for another one. An
        unmarked place is new, or it is not the one that held the objects: a mount point without
        its volume, for example. The server starts with it only if no record refers to an object
        in this store, or if one of these objects is there.
        """
        return None

    def mark(self) -> None:  # noqa: B027 - most stores need no mark
        """Mark the place as this store's. Does nothing if it is marked.

        Raises StoreFull, StoreUnavailable or StoreDenied.
        """

    def properties(self) -> Mapping[str, Any]:
        """What administrators see of this store in ``/v2/info/stores/detail``; no secrets."""
        return {}


class ResumableSink(Sink):
    """A sink whose attempt can go on later, in any process: see ``Resumable``.

    Leaving the block without ``commit`` or ``suspend`` aborts the attempt. A failed ``write``
    does not: ``suspend`` may follow and keeps what was written before. If the sink is fenced
    off, ``suspend`` and ``commit`` raise StoreUnavailable and ``abort`` does nothing. ``write``
    raises it too, unless it only collects bytes in memory.
    """

    @abc.abstractmethod
    def suspend(self) -> int:
        """Make everything written durable, end this sink, and return the durable size in bytes.

        The attempt stays, and ``Resumable.resume`` continues it. The sink has ended even if this
        raises: ``write``, ``commit`` and ``suspend`` fail, and ``abort`` does nothing. May keep
        fewer bytes than were written and then returns that number, but never fewer than the
        offset at which this sink began. Raises StoreFull, StoreUnavailable or StoreDenied; then
        ``Resumable.durable`` tells what is there. Also raises one of them after ``abort``, after
        ``commit``, and after the attempt was discarded.
        """


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
    """Optional ability: the storage service itself copies objects from its other buckets."""

    @abc.abstractmethod
    def copy(
        self, key: str, source: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """Begin an object as ``create`` does and fill it with the ``size`` bytes of ``source``.

        The returned sink already has all data and only needs ``commit``. Returns None, with
        nothing left behind, if ``source`` belongs to another service or the service refuses to
        copy it. ``check`` is called from time to time and may raise to stop the copy. Raises
        SourceFailed if ``source`` was replaced, and everything that ``create`` and a sink
        raise. The data passes by imsgate unseen: to inspect it, the caller reads the copy.
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
