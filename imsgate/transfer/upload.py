"""How image data comes in: one attempt, from ``queued`` to ``active`` or back.

``copy`` is the only loop that moves image bytes in. :class:`Uploads` wraps it in
the record's steps, each a compare-and-set: ``queued -> saving`` before the first
byte is read, ``saving -> active`` after the store has committed. While an
attempt runs it renews a lease; whoever finds a lease run out cleans up after it.
"""

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from oslo_config import cfg

from imsgate import errors, hashing
from imsgate.model import DELETED, READABLE, Image, Limits, Location, Status
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.stores.base import Sink, Store
from imsgate.stores.loader import Stores
from imsgate.transfer.digests import CHUNK, Digests

LOG = logging.getLogger(__name__)

T = TypeVar("T")

GROUP = "upload"
OPTS = (
    cfg.StrOpt(
        "hashing_algorithm",
        default="sha512",
        choices=list(hashing.OS_HASH),
        help="The algorithm of os_hash_value. sha256 is about twice as fast as sha512 "
        "on processors that support it.",
    ),
    cfg.IntOpt(
        "lease",
        default=60,
        min=1,
        max=10**9,  # added to the time of day it must have a date
        help="Seconds after which an upload whose process died counts as abandoned. "
        "A living upload renews its lease three times in this time, or more often.",
    ),
    cfg.StrOpt(
        "staging_store",
        help="Id of the store that keeps staged data until it is imported; the default store. "
        "An import to the same store need not copy.",
    ),
)

#: The fields of a record that nobody uploads to.
NO_UPLOAD: dict[str, Any] = {
    "upload_store": None,
    "upload_key": None,
    "upload_expires": None,
    "upload_reserved": 0,
}

#: Bytes of the first read: few, so that a bad image is refused in its first bytes. A slow
#: client's are no more later: whatever may end an upload is asked between two reads.
FIRST = 1 << 16
#: Seconds for a read, between which the next one asks for as much.
QUICK, SLOW = 1.0, 4.0
#: Seconds between two renewals of a lease, at most: so long an upload goes on whose image is
#: deleted.
RENEWAL = 5.0
#: Seconds between the tries of a step at the end of an upload while database or Keystone
#: are away. Their restart takes less than this in all. There are none beyond the lease:
#: by then others may have ended the upload.
PAUSES: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16)


def copy(
    read: Callable[[int], bytes], sink: Sink, digests: Digests, check: Callable[[], None]
) -> int:
    """Move a body into a sink and its digests; return the number of bytes.

    ``check`` is called before each chunk and may raise to stop.
    """
    count, step = 0, FIRST
    check()
    began = time.monotonic()
    while chunk := read(step):
        step = _next(step, time.monotonic() - began)
        digests.feed(chunk)
        sink.write(chunk)
        count += len(chunk)
        del chunk  # before the next is received
        check()
        began = time.monotonic()
    return count


def _next(step: int, seconds: float) -> int:
    """The size of the next read, by how long the last one took."""
    if seconds < QUICK:
        return min(2 * step, CHUNK)
    return max(step // 2, FIRST) if seconds > SLOW else step


def write(
    store: Store,
    sink: Sink,
    read: Callable[[int], bytes],
    *,
    size: int | None,
    algorithm: str,
    check: Callable[[], None],
    facts: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Fill a sink of ``store`` and commit it; return the fields of a record that has the data.

    ``facts`` is shown size and digests after the last byte; it returns further fields, or
    raises to refuse the whole. ``check`` may raise at any time to stop. Raises SizeMismatch,
    and whatever reading or storing raises; then the store holds nothing.
    """
    with sink:
        digests = Digests((hashing.CHECKSUM, algorithm))
        count = copy(read, sink, digests, check)
        if size is not None and count != size:
            raise errors.SizeMismatch(announced=size, received=count)
        values = digests.values()
        fields: dict[str, Any] = {
            "size": count,
            "checksum": values[hashing.CHECKSUM],
            "os_hash_algo": algorithm,
            "os_hash_value": values[algorithm],
        }
        fields.update(facts(fields))
        check()
        return {**fields, "locations": (Location(store.name, sink.commit()),)}


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """The status of an image while its data comes in, and once it is in."""

    during: Status
    after: Status


UPLOAD = Transition(Status.SAVING, Status.ACTIVE)
#: Staged data waits in ``locations`` until it is imported.
STAGE = Transition(Status.UPLOADING, Status.UPLOADING)


#: What data is judged by as it comes in. Nobody may change that once a request has read it:
#: the record would say of the data what nothing has checked.
_JUDGED = ("disk_format", "container_format", "properties", "owner")


def beats(done: threading.Event, seconds: float) -> Iterator[None]:
    """Again and again, each so many seconds after the last one began, until ``done`` is set.

    What a slow database takes of a lease while it is renewed is not waited for once more.
    """
    pause = seconds
    while not done.wait(pause):
        began = time.monotonic()
        yield
        pause = max(0.0, seconds - (time.monotonic() - began))


class Lease:
    """Keeps an attempt's ``upload_expires`` in the future on a thread of its own.

    A read may block for as long as a client likes, so the upload's own thread
    cannot do it.
    """

    def __init__(self, registry: Registry, image: Image, seconds: float) -> None:
        self._registry = registry
        self._image_id = image.id
        self._was = {"status": image.status, "upload_key": image.upload_key}
        self._seconds = seconds
        self._done = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def check(self) -> None:
        """Raises Conflict once the attempt is no longer ours."""
        if self._lost:
            raise errors.Conflict(problem="this upload was ended by another request")

    def outlast(self, step: Callable[[], T]) -> T:
        """What ``step`` returns or raises, once what it asks is not away: all the data is
        here, and would have to be sent again. Raises Unavailable when that takes too long."""
        deadline = time.monotonic() + self._seconds
        for pause in PAUSES:
            try:
                return step()
            except errors.Unavailable as error:
                if time.monotonic() + pause > deadline:
                    raise
                LOG.warning("The upload of image %s waits: %s", self._image_id, error)
            self._done.wait(pause)
        return step()

    def _renew(self) -> None:
        for _ in beats(self._done, min(RENEWAL, self._seconds / 3)):
            try:
                self._registry.change(
                    self._image_id, self._was, upload_expires=time.time() + self._seconds
                )
            except (errors.Conflict, errors.NotFound):
                self._lost = True
                return
            except Exception:
                # The database may come back before the lease runs out; whether it
                # did is decided by the compare-and-set at the end.
                LOG.warning("The lease of image %s could not be renewed", self._image_id)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@dataclasses.dataclass(frozen=True, slots=True)
class Uploads:
    """Receives image data, and clears up after uploads that died."""

    registry: Registry
    stores: Stores
    settings: Any
    quotas: quota.Quotas = quota.NONE

    def receive(
        self,
        image: Image,
        read: Callable[[int], bytes],
        *,
        store: Store,
        size: int | None,
        facts: Callable[[], Mapping[str, Any]] = dict,
        recheck: Callable[[], object] = lambda: None,
        way: Transition = UPLOAD,
    ) -> Image:
        """Store the data of a queued image and return the record, then ``active``
        (``uploading`` by the way STAGE).

        ``read`` returns up to so many bytes and ends with ``b""``; ``size`` is
        what was announced, or None. ``facts`` is asked after the last byte for
        further fields of the record. ``recheck`` is called after the last byte
        and before the store commits, and raises what the request is to be refused
        with after all, such as Forbidden. Raises WrongStatus when the image is not queued or
        another upload began, Conflict when what the data is judged by has changed,
        SizeMismatch, Gone when it was deleted meanwhile, OverLimit, before anything is
        read where ``size`` is known, and whatever reading or storing raises. After any error
        the image is ``queued`` again, or gone, and the store holds nothing of this attempt;
        where store or registry cannot be reached for that, the sweep sees to it
        once the lease has run out.
        """

        def settle(_: Mapping[str, Any]) -> Mapping[str, Any]:
            found = facts()
            lease.check()
            lease.outlast(recheck)
            return found

        def reserve(count: int) -> None:
            lease.outlast(lambda: self._reserve(image, limits, count))

        limits = self.quotas.of(image.owner)
        image = self._begin(image, store, way, size, limits)
        meter = quota.Meter(read, size, reserve)
        with Lease(self.registry, image, self.settings.lease) as lease:
            sink = self._create(image, store, size)
            try:
                fields = write(
                    store,
                    sink,
                    meter.read,
                    size=size,
                    algorithm=self.settings.hashing_algorithm,
                    check=lease.check,
                    facts=settle,
                )
            except BaseException as error:
                # Leaving the sink has aborted it. But a store that went away may
                # hold parts still, or even the object, its answer being lost.
                if self._discard(image, store):
                    self._release(image)
                self._raise_if_gone(image, error)
                raise
            return self._finish(image, store, fields, way, lease)

    def _begin(
        self,
        image: Image,
        store: Store,
        way: Transition = UPLOAD,
        size: int | None = None,
        limits: Limits | None = None,
    ) -> Image:
        try:
            return self.registry.change(
                image.id,
                {"status": Status.QUEUED, "updated_at": image.updated_at},
                limits,
                status=way.during,
                upload_store=store.name,
                upload_key=f"{image.id}.{secrets.token_hex(4)}",
                upload_expires=time.time() + self.settings.lease,
                upload_reserved=quota.FIRST if size is None else size,
            )
        except errors.Conflict as error:
            found = self.registry.get(image.id)
            if found.status != Status.QUEUED:
                raise errors.WrongStatus(
                    image_id=image.id, status=found.status, needed=Status.QUEUED
                ) from error
            judged = (getattr(found, field) == getattr(image, field) for field in _JUDGED)
            if found.updated_at == image.updated_at or not all(judged):
                raise
            return self._begin(found, store, way, size, limits)

    def _reserve(self, image: Image, limits: Limits | None, count: int) -> None:
        """What grows without limits need not be recorded before it is there."""
        if limits is not None:
            was = {"status": image.status, "upload_key": image.upload_key}
            self.registry.change(image.id, was, limits, upload_reserved=count)

    def _create(self, image: Image, store: Store, size: int | None) -> Sink:
        """The sink. A store that is down and began nothing does not keep the image for itself."""
        try:
            return store.create(str(image.upload_key), size)
        except BaseException:
            self._release(image)
            raise

    def _finish(
        self, image: Image, store: Store, fields: dict[str, Any], way: Transition, lease: Lease
    ) -> Image:
        """The step that makes the stored object the image's data.

        Only a refusal proves that the record does not point at the object. After
        any other failure, such as a lost connection, it may: then the object
        stays, and the sweep decides by the record once the lease has run out.
        """
        try:
            return lease.outlast(lambda: self._point(image, fields, way))
        except errors.Conflict as error:
            if self._discard(image, store):
                self._release(image)
            self._raise_if_gone(image, error)
            raise

    def _point(self, image: Image, fields: dict[str, Any], way: Transition) -> Image:
        """May be repeated. Raises Conflict when the record does not point at the object, and
        never will."""
        was = {"status": way.during, "upload_key": image.upload_key}
        try:
            return self.registry.change(image.id, was, status=way.after, **fields, **NO_UPLOAD)
        except errors.Conflict:
            # The database may have done it before, and its answer was lost.
            with contextlib.suppress(errors.NotFound):
                found = self.registry.get(image.id)
                if set(fields["locations"]) <= set(found.locations):  # copies may have joined it
                    return found
            raise

    def _discard(self, image: Image, store: Store) -> bool:
        """Remove what the attempt left; if that cannot be, say so, and leave it to the sweep."""
        try:
            store.discard(str(image.upload_key))
        except errors.Error as error:
            LOG.warning("Image %s stays as it is until its lease runs out: %s", image.id, error)
            return False
        return True

    def _release(self, image: Image) -> None:
        """Let the record go after a failure: back to ``queued`` if it is still this attempt's."""
        steps = ((image.status, Status.QUEUED), *((status, status) for status in DELETED))
        for was, to in steps:
            with contextlib.suppress(errors.Conflict):
                try:
                    self.registry.change(
                        image.id,
                        {"status": was, "upload_key": image.upload_key},
                        status=to,
                        **NO_UPLOAD,
                    )
                except errors.Unavailable:
                    LOG.warning("Image %s stays as it is until its lease runs out", image.id)
                return

    def _raise_if_gone(self, image: Image, cause: BaseException) -> None:
        if not isinstance(cause, errors.Conflict | errors.NotFound):
            return
        try:
            self.registry.get(image.id)
        except errors.NotFound:
            raise errors.Gone(image_id=image.id) from cause

    def sweep(self) -> int:
        """Clear up after uploads and deletions that were abandoned; return how many."""
        swept = 0
        for image in self.registry.expired(time.time()):
            try:
                self._clear(image)
                swept += 1
            except errors.Error as error:
                LOG.warning("Image %s could not be cleared up yet: %s", image.id, error)
            except Exception:
                # One that fails for good must keep none behind it waiting.
                LOG.exception("Image %s could not be cleared up", image.id)
        return swept

    def _clear(self, image: Image) -> None:
        if image.upload_key and image.upload_store:
            # "killed" fences the attempt off before its data goes: were it still
            # alive, its commit would otherwise point the record at nothing.
            running = image.status in (UPLOAD.during, STAGE.during)
            status = Status.KILLED if running else image.status
            taken = self.registry.change(
                image.id,
                {"status": image.status, "upload_expires": image.upload_expires},
                status=status,
                upload_expires=time.time() + self.settings.lease,
            )
            if status in READABLE:
                for copy in taken.removed:
                    self._delete(copy)
                self._forget_copy(taken)
                return
            self.stores.get(image.upload_store).discard(image.upload_key)
            to = {"status": Status.QUEUED} if status == Status.KILLED else {}
            self.registry.change(
                image.id, {"status": status, "upload_key": image.upload_key}, **to, **NO_UPLOAD
            )
            LOG.info("Image %s: an abandoned upload was cleared up", image.id)
        if image.status == Status.PENDING_DELETE:
            # Many others may have been cleared up since the record was read: what was
            # there has perhaps gone, and something else may have been put in its place.
            found = self.registry.recall(image.id)
            if found.status == Status.PENDING_DELETE:
                self.erase(found)

    def erase(self, image: Image) -> None:
        """Remove the data of an image in ``pending_delete`` and mark it ``deleted``.

        Raises StoreUnavailable; the image then stays for the next sweep.
        """
        for location in image.locations:
            self._delete(location)
        self.registry.change(
            image.id, {"status": Status.PENDING_DELETE}, status=Status.DELETED, locations=()
        )

    def _delete(self, location: Location) -> None:
        """Remove an object, which may be gone already."""
        with contextlib.suppress(errors.ObjectNotFound):
            self.stores.get(location.store).delete(location.url)

    def remove_copy(self, image: Image, copy: Location) -> None:
        """Remove one of the copies of an active image.

        The record has it until it has gone, with a lease: whoever dies meanwhile leaves it to
        the sweep. Raises Conflict when the record has changed since it was read, or another copy
        is being removed, and what the store raises; then the copy stays.
        """
        image = self.registry.change(
            image.id,
            {"status": image.status, "updated_at": image.updated_at, "upload_key": None},
            upload_store=copy.store,
            upload_key=copy.place,
            upload_expires=time.time() + self.settings.lease,
        )
        try:
            self._delete(copy)
        except BaseException:
            # Where the image was deleted or the sweep is at it, it goes after all.
            with contextlib.suppress(errors.Error):
                self.registry.change(image.id, _held(image), **NO_UPLOAD)
            raise
        self._forget_copy(image)

    def _forget_copy(self, image: Image) -> None:
        """Let the record go of a copy that was removed."""
        self.registry.change(image.id, _held(image), locations=image.copies, **NO_UPLOAD)


def _held(image: Image) -> dict[str, Any]:
    """What is compared by whoever holds the lease of an image."""
    return {name: getattr(image, name) for name in ("status", "upload_key", "upload_expires")}


def sweep_forever(sweep: Callable[[], object], seconds: float) -> None:
    """Sweep now and then every ``seconds``; the work of a daemon thread."""
    while True:
        try:
            sweep()
        except errors.Unavailable as error:
            LOG.warning("The sweep waits: %s", error)
        except Exception:
            LOG.exception("The sweep failed; it will be tried again")
        time.sleep(seconds)
