"""The store contract.

A driver may trust its input: keys are made by imsgate (an image id, a dot and
a hexadecimal attempt number; at most 100 ASCII characters), chunks are never
empty, offsets and lengths lie inside the object, and a sink has one user.
Everything else about concurrency is the driver's: a store is built once and
used by many threads and processes at the same time.

What every driver promises:

- Nothing is visible under a location before ``commit`` returned, and what is
  visible then is whole and durable: power may fail right after.
- ``abort``, an exception, or the death of the process leave nothing that
  ``discard`` of the same key does not remove.
- Failures are ``errors.StoreFull``, ``errors.StoreUnavailable`` or
  ``errors.StoreDenied``, and ``errors.ObjectNotFound`` where nothing is at a
  location. Credentials and paths appear in none of them.

``imsgate.testing.StoreContract`` checks all of this.
"""

import abc
import dataclasses
import re
import types
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar, Self

from oslo_config import cfg

#: What a location can be where it is the key itself. It begins with a letter or digit, so that
#: no temporary name with a dot and no ``..`` passes.
LOCATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,254}", re.ASCII)


class Sink(abc.ABC):
    """One object being written.

    A context manager: leaving the block without ``commit`` aborts.
    """

    @abc.abstractmethod
    def write(self, chunk: bytes) -> None:
        """Append ``chunk``.

        Raises StoreFull, StoreUnavailable or StoreDenied; ``commit`` then
        fails as well.
        """

    @abc.abstractmethod
    def commit(self) -> str:
        """Make the object visible, whole and durable; return its location.

        Called again, it returns the same location and does nothing. Raises
        StoreFull, StoreUnavailable or StoreDenied, also after ``abort`` and
        after the attempt was discarded; then nothing is visible.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Leave nothing behind. May be called at any time and any number of times.

        After ``commit`` it does nothing; it never raises.
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
    """A place for image data."""

    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    @classmethod
    def further_opts(cls, name: str, settings: Any) -> Sequence[cfg.Opt]:
        """Options of the same section that the values of OPTS decide, such as a wrapped driver's.

        Asked again with the values of these, until it names no new ones. Raises BadConfig.
        """
        return ()

    def __init__(self, name: str, settings: Any) -> None:
        """``name`` is the store's id, ``settings`` the record of its own section.

        Raises BadConfig, naming the option, when the store could not work.
        """
        self.name = name
        self.settings = settings

    @abc.abstractmethod
    def create(self, key: str, size: int | None) -> Sink:
        """Begin an object of ``size`` bytes, or of unknown size when it is None.

        Raises StoreFull at once when ``size`` can be seen not to fit beside what is there
        and what others have announced, and
        StoreUnavailable or StoreDenied; whatever it raises, nothing is left. Where
        another number of bytes is written in the end, ``commit`` either keeps
        exactly these bytes or fails.
        """

    @abc.abstractmethod
    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from ``offset`` on, ``length`` of them or all the rest.

        Raises ObjectNotFound at the call when nothing is there, and
        StoreUnavailable rather than ending early. The iterator has ``close``,
        which frees whatever it holds even if no chunk was ever taken.
        """

    @abc.abstractmethod
    def size(self, location: str) -> int:
        """The object's size in bytes. Raises ObjectNotFound."""

    @abc.abstractmethod
    def delete(self, location: str) -> None:
        """Remove the object. Raises ObjectNotFound when there is none."""

    @abc.abstractmethod
    def discard(self, key: str) -> None:
        """Remove whatever an attempt under ``key`` left, committed or not.

        Does nothing when there is nothing, but raises StoreUnavailable or StoreDenied where
        that cannot be seen. Called for attempts of processes that died, possibly while a
        stale one still writes. That one's ``commit`` then fails where it is of the same
        process; of another, where the medium can tell. What it commits all the same, a
        later ``discard`` removes.
        """

    def check(self) -> None:  # noqa: B027 - most stores have nothing cheap to ask
        """Look whether the store can be used now; cheap, since health checks ask often.

        Raises StoreUnavailable or StoreDenied.
        """

    def free_space(self) -> int | None:
        """Bytes still free, or None where that cannot be known."""
        return None

    def place(self) -> Hashable:
        """What no other enabled store may share, such as a directory or a bucket; None for nothing.

        Two ids of one place would make the deletion of a copy delete the original.
        """
        return None

    def properties(self) -> Mapping[str, Any]:
        """What administrators see of this store in ``/v2/info/stores/detail``; no secrets."""
        return {}


class LocalFiles(abc.ABC):
    """An optional ability: objects are files of this host, which a server can send itself."""

    @abc.abstractmethod
    def open(self, location: str) -> BinaryIO:
        """The object's file, opened unbuffered for reading. Raises ObjectNotFound."""


class DirectUrls(abc.ABC):
    """An optional ability: clients can fetch an object from where it lies."""

    @abc.abstractmethod
    def direct_url(self, location: str) -> str | None:
        """A URL that answers GET, Range included, to anyone for a while.

        None while the operator has not switched this on. Raises ObjectNotFound.
        """


class Addressed(abc.ABC):
    """An optional ability: objects have URLs by which other services know them.

    No such URL holds credentials, or leads to a file of this host.
    """

    @abc.abstractmethod
    def url(self, location: str) -> str | None:
        """The object's URL; None where it has none. Nothing is asked of the store."""

    @abc.abstractmethod
    def locate(self, url: str) -> str | None:
        """The location that this URL names, whether or not an object is there.

        None when it names no place of this store, or holds more than that (a user's
        name, a query). Nothing is asked of the store.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class CopySource:
    """An object that may be copied where it lies, while its ETag is ``etag``.

    ``service`` is equal for two drivers that speak to the same one.
    """

    service: Hashable
    bucket: str
    key: str
    etag: str


class Copies(abc.ABC):
    """An optional ability: the service behind the store copies from its other buckets itself."""

    @abc.abstractmethod
    def copy(
        self, key: str, origin: CopySource, size: int, check: Callable[[], object]
    ) -> Sink | None:
        """Begin an object as ``create`` does, of the ``size`` bytes of ``origin``.

        The sink has them already, and need only be committed. None when ``origin`` lies in
        another service, or this one does not copy it; then nothing is left. ``check`` is
        called now and then and may raise to stop. Raises SourceFailed when ``origin`` was
        replaced, and what ``create`` and a sink raise. Nobody has looked at the bytes: who
        asked for them reads them where they are then.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed: that of so many attempts, and so many bytes."""

    attempts: int
    bytes: int


class Sweeps(abc.ABC):
    """An optional ability: residue can be found even where no record leads to it any more."""

    @abc.abstractmethod
    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """Remove what unfinished attempts have left that began ``age`` seconds ago or earlier.

        ``living`` is asked for each whether its key is that of an attempt that
        may still be going on. Objects are never removed, nor what is not an
        attempt's.
        """
