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

A store is a :class:`Store`. What some stores can do besides is in ``imsgate.stores.abilities``, and
an object that is being written in ``imsgate.stores.sinks``. Import all of it from here.
``imsgate.testing.StoreContract`` tests all of this.
"""

import abc
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from oslo_config import cfg

from imsgate.config import Section
from imsgate.stores.abilities import (
    Addressed,
    Adopts,
    Copies,
    CopySource,
    DirectUrls,
    LocalFiles,
    Origin,
    Resumable,
    Room,
    Sweeps,
    Swept,
)
from imsgate.stores.sinks import ResumableSink, Sink

__all__ = [
    "ATTEMPT",
    "LOCATION",
    "Addressed",
    "Adopts",
    "Copies",
    "CopySource",
    "DirectUrls",
    "LocalFiles",
    "Origin",
    "Resumable",
    "ResumableSink",
    "Room",
    "Sink",
    "Store",
    "Sweeps",
    "Swept",
]

#: A valid location in drivers that use the key as the location. The first character is a letter
#: or a digit, so that neither ``..`` nor a temporary name with a leading dot matches.
LOCATION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,254}", re.ASCII)

#: The key of an attempt. Other applications may have data in the same place.
ATTEMPT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\.[0-9a-f]+", re.ASCII)


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
        StoreUnavailable or StoreDenied. After any exception nothing is left behind. If the key
        already has an object, this, ``write`` or ``commit`` raises StoreUnavailable, and the
        object stays; only a service that always replaces objects may do that. If the
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

    def room(self) -> Room:
        """What ``imsgate stores list`` shows besides ``free_space``. Never raises."""
        return Room(free=self.free_space())

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
