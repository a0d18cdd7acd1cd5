"""Brings one image to a service: record, data, verification, and going on where it was left."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from imsgate.client import examination, state
from imsgate.client.connection import Connection
from imsgate.client.failures import Failure, NotAllowed, TransferInterrupted, Unreadable
from imsgate.client.image import ImageRecords, Record, check_digest, new_id, path_of
from imsgate.client.progress import ProgressDisplay
from imsgate.client.source import FileSource, StreamSource
from imsgate.client.uploading import PART_BYTES, Uploader, failure_of_reason

#: The formats of a record, which a new one needs.
_FORMATS = ("disk_format", "container_format")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UploadRequest:
    """What the user wants. ``record`` has the attributes of a new image; ``disk_format`` in it is
    None to detect it. ``image_id`` names an image that exists instead."""

    record: Mapping[str, Any]
    image_id: str | None = None
    store: str | None = None
    inspect: bool = True
    part_bytes: int = PART_BYTES
    compress: bool = True


class Delivery:
    """One upload, from the file to the active image."""

    def __init__(
        self,
        connection: Connection,
        journal: state.Journal,
        progress: ProgressDisplay,
        request: UploadRequest,
    ) -> None:
        self._connection = connection
        self._images = ImageRecords(connection)
        self._journal = journal
        self._progress = progress
        self._request = request
        #: The image, as soon as its id is known.
        self.image_id: str | None = request.image_id

    def send_file(self, source: FileSource) -> Record:
        """Upload a file, or continue its upload; return the record of the image.

        Raises Failure. It can be called again after TransferInterrupted, NotAllowed, Unreadable
        and KeyboardInterrupt.
        """
        with self._journal.locked(source, self._connection.endpoint):
            entry, resumed = self._unfinished(source), True
            if entry is None:
                entry, resumed = self._begin(source), False
            self.image_id = entry.image_id
            return self._ended(entry, lambda: self._transfer(source, entry, resumed=resumed))

    def _ended(self, entry: state.UnfinishedUpload, work: Callable[[], Record]) -> Record:
        try:
            record = work()
        except (TransferInterrupted, NotAllowed, Unreadable):
            raise
        except Failure:
            self._journal.remove(entry.image_id)
            if entry.created:
                self._discard(entry.image_id)
            raise
        self._journal.remove(entry.image_id)
        return record

    def send_stream(self, source: StreamSource) -> Record:
        """Upload a stream, which cannot be continued by another process. Raises Failure."""
        record = self._record(source)
        created = self._request.image_id is None
        if created:
            self.image_id = record["id"]
            self._images.create(record)
        try:
            return self._transfer(source, None, resumed=False)
        except (Failure, KeyboardInterrupt) as error:
            if created:
                self._discard(record["id"])
            if isinstance(error, TransferInterrupted):
                raise Failure(f"{error}; {source.label} cannot be continued") from error
            raise

    def _discard(self, image_id: str) -> None:
        """Remove a record that was created for data that did not arrive."""
        with contextlib.suppress(Failure):
            record = self._images.show(image_id)
            if record is not None and record["status"] in ("queued", "saving"):
                self._images.delete(image_id)

    # The record

    def _unfinished(self, source: FileSource) -> state.UnfinishedUpload | None:
        """The upload of this file that an earlier process began; None if there is none, or if the
        file or the image has changed since."""
        entry = self._journal.find(
            path=source.path,
            endpoint=self._connection.endpoint,
            image_id=self._request.image_id,
        )
        if entry is None:
            return None
        shown = self._images.show(entry.image_id)
        if not entry.is_of(source):
            self._progress.note(f"{source.label} has changed since its upload began; starting anew")
        elif shown is not None:
            self._progress.note(f"continuing the upload of image {entry.image_id}")
            return entry
        self._journal.remove(entry.image_id)
        if shown is not None and entry.created:
            self._discard(entry.image_id)
        return None

    def _begin(self, source: FileSource) -> state.UnfinishedUpload:
        record = self._record(source)
        entry = state.UnfinishedUpload(
            image_id=record["id"],
            endpoint=self._connection.endpoint,
            path=source.path,
            size=source.size or 0,
            mtime=source.mtime,
            head=state.head_of(source),
            created=self._request.image_id is None,
            record=record,
        )
        # Before the record exists, so that no death leaves a record that nobody knows of.
        self._journal.save(entry)
        if entry.created:
            try:
                self._images.create(record)
            except TransferInterrupted:
                raise
            except Failure:
                self._journal.remove(entry.image_id)
                raise
        return entry

    def _record(self, source: FileSource | StreamSource) -> Mapping[str, Any]:
        """The record of the image, after the inspection of its data. Raises Refused."""
        given = self._request.record
        if self._request.image_id is not None:
            shown = self._images.get(self._request.image_id)
            self._examined(source, *(shown.get(name) for name in _FORMATS))
            return shown
        found = self._examined(source, given["disk_format"], given["container_format"])
        return {**given, "disk_format": examination.required_format(found), "id": new_id()}

    def _examined(
        self,
        source: FileSource | StreamSource,
        disk_format: str | None,
        container_format: str | None,
    ) -> str | None:
        if not self._request.inspect:
            return disk_format
        return examination.examine(source, disk_format, container_format)

    # The data

    def _transfer(
        self,
        source: FileSource | StreamSource,
        entry: state.UnfinishedUpload | None,
        *,
        resumed: bool,
    ) -> Record:
        assert self.image_id is not None
        upload = Uploader(
            self._connection,
            self.image_id,
            source,
            self._progress,
            part_bytes=self._request.part_bytes,
            compress=self._request.compress,
            store=self._request.store,
        )
        record = self._images.get(self.image_id)
        if record["status"] in ("queued", "saving"):
            self._send(source, upload, is_saving=record["status"] == "saving" and resumed)
        elif not resumed:
            raise Failure(f"image {self.image_id} is {record['status']}, but must be queued")
        return self._verified(source)

    def _send(
        self, source: FileSource | StreamSource, upload: Uploader, *, is_saving: bool
    ) -> None:
        offer = upload.offer()
        offset: int | None = 0
        if offer.resumable and is_saving:
            offset = upload.offset()
        elif not offer.resumable or not upload.create():
            self._progress.begin("Uploading", source.size)
            self._progress.note("the server takes this image in one request only")
            upload.put()
            return
        if offset is None:
            return
        if offset and isinstance(source, FileSource):
            self._catch_up(source, offset)
        self._progress.begin("Uploading", source.size, offset)
        upload.append_all(offset, offer)

    def _catch_up(self, source: FileSource, offset: int) -> None:
        """The digest needs what an earlier process has sent."""
        self._progress.begin("Reading", offset)
        for done in source.catch_up(offset):
            self._progress.update(done, 0)

    def _verified(self, source: FileSource | StreamSource) -> Record:
        """The record once the image is active and its digest is that of the data."""
        assert self.image_id is not None
        record = self._images.verified(self.image_id)
        if record["status"] != "active":
            raise failure_of_reason(self._reason() or f"the image is {record['status']}")
        if problem := check_digest(record, source.digest):
            self._progress.note(problem)
        return record

    def _reason(self) -> str | None:
        assert self.image_id is not None
        path = path_of(self.image_id, "/upload")
        response = self._connection.call("GET", path, expected=range(200, 500))
        return response.json().get("reason") if response.status_code == 200 else None
