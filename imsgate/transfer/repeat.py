"""Repeated uploads: a client that has not received the response sends the same data again.

The body is compared with what is stored and never written, so however often an upload is
repeated, there is one object and one record. The record says who uploaded the data and when it
was complete; nobody else's request counts as a repetition.
"""

import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from imsgate import errors
from imsgate.http.body import Tapped
from imsgate.model import READABLE, Identity, Image, Location, Status
from imsgate.stores.enabled import Stores
from imsgate.transfer import lease
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests
from imsgate.transfer.upload import Transition

LOG = logging.getLogger(__name__)


def fields_of_uploader(who: Identity, transition: Transition) -> dict[str, Any]:
    """The fields of a record whose data ``who`` has just sent whole.

    Without a user nothing is recorded, because a repetition could not be recognized.
    """
    uploader = _uploader(who, transition)
    return {"uploaded_by": uploader, "uploaded_at": uploader and time.time()}


def _uploader(who: Identity, transition: Transition) -> str | None:
    """64 characters that identify a user in a project, and the kind of upload: data that was
    staged and then imported is not the data of an upload.

    Databases contain them, so hosts of different releases must compute them alike.
    """
    if who.user_id is None:
        return None
    text = f"{transition.after}\0{who.user_id}\0{who.project_id or ''}"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Answers repeated uploads. ``window`` is how many seconds after an upload it may be repeated;
    0 means never."""

    stores: Stores
    window: int

    def expects(
        self, image: Image, who: Identity, transition: Transition, store_id: str | None
    ) -> bool:
        """Whether ``who`` may be repeating the upload that gave the image its data.

        ``store_id`` is the store that the request names, if any. If that store does not have the
        data, the request is not a repetition.
        """
        places = _places(image)
        return (
            self.window > 0
            and image.status == transition.after
            and image.uploaded_by is not None
            and image.uploaded_by == _uploader(who, transition)
            and image.uploaded_at is not None
            and time.time() < image.uploaded_at + self.window
            and any(store_id in (None, place.store) for place in places)
        )

    def compare(
        self, image: Image, body: Tapped, *, size: int | None, reread: Callable[[], Image]
    ) -> None:
        """Return if the body is the image's data. Nothing of ``body`` may have been read.

        ``size`` is the announced number of bytes, or None. ``reread`` is called after the last
        byte; it returns the record as it is then, and raises what the request would be refused
        with. Signatures and formats were verified when the data was stored.

        Raises DataDiffers: before anything is read if the size differs, otherwise at the first
        chunk that differs. Raises WrongStatus if the image does not have this data any more,
        StoreUnavailable if no store can deliver it (also before anything is read), NotFound if
        all have lost it, and whatever ``reread`` and reading the body raise.
        """
        if size not in (None, image.size):
            raise _differs(image, f"it has {image.size} bytes, not {size}")
        with contextlib.closing(self._stored(image)) as stored:
            try:
                # The first tap: data that differs is refused for that, whatever its content.
                body.join(_Comparison(image, stored), first=True)
                copy(body, None, Digests(()), lambda: None)
            except (errors.StoreUnavailable, errors.NotFound):
                _check_unchanged(image, reread)
                raise
        _check_unchanged(image, reread)

    def _stored(self, image: Image) -> Generator[bytes]:
        """The image's data from the most preferred store. If it fails, the next one goes on."""
        failure: errors.Error = errors.NotFound(what=f"The data of image {image.shown_id}")
        offset = 0
        for place in self.stores.preferred(_places(image)):
            try:
                chunks: Any = self.stores.get(place.store).read(place.url, offset)
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        offset += len(chunk)
                        yield chunk
                return
            except errors.StoreUnavailable as error:
                failure = error
            except errors.ObjectNotFound:
                LOG.error("Store %s has lost the data of image %s", place.store, image.id)
        raise failure


def _places(image: Image) -> tuple[Location, ...]:
    """Where the data of a complete upload is: the image's own, or staged data."""
    return image.copies if image.status in READABLE else image.locations


def _differs(image: Image, problem: str) -> errors.DataDiffers:
    return errors.DataDiffers(image_id=image.shown_id, status=image.status, problem=problem)


def _check_unchanged(image: Image, reread: Callable[[], Image]) -> None:
    """Raises WrongStatus if the image has other data by now, or another status."""
    # Waits out an outage, since all data would have to be sent again.
    now = lease.retry_while_unavailable(
        reread,
        subject=f"The repeated upload of image {image.id}",
        pauses=lease.RETRY_PAUSES_SECONDS,
        wait=time.sleep,
    )
    fields = ("status", "uploaded_by", "uploaded_at")
    if any(getattr(now, field) != getattr(image, field) for field in fields):
        raise errors.WrongStatus(image_id=now.shown_id, status=now.status, needed=Status.QUEUED)


class _Comparison:
    """A tap that compares a body with stored data. Raises DataDiffers."""

    def __init__(self, image: Image, stored: Iterator[bytes]) -> None:
        """Reads the first chunk of ``stored``, so that a store that is away is noticed before the
        body is read."""
        self._image = image
        self._stored = stored
        self._chunk = next(stored, b"")
        self._used = 0  # bytes of that chunk
        self._alike = 0

    def feed(self, chunk: bytes) -> None:
        position = 0
        while position < len(chunk):
            expected = self._next(len(chunk) - position)
            if not expected:
                raise _differs(self._image, f"it has only {self._alike} bytes")
            received = chunk[position : position + len(expected)]
            if received != expected:
                pairs = enumerate(zip(received, expected, strict=True))
                alike = next(number for number, (one, other) in pairs if one != other)
                raise _differs(self._image, f"byte {self._alike + alike} differs")
            position += len(expected)
            self._alike += len(expected)

    def finish(self) -> None:
        if self._next(1):
            raise _differs(self._image, f"it has more than {self._alike} bytes")

    def _next(self, size: int) -> bytes:
        """The next stored bytes, ``size`` at most; none at the end."""
        if self._used == len(self._chunk):
            self._chunk, self._used = next(self._stored, b""), 0
        part = self._chunk[self._used : self._used + size]
        self._used += len(part)
        return part
