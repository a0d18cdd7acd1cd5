"""Uploads image data by the IETF draft for resumable uploads, or by a plain PUT.

Source: draft-ietf-httpbis-resumable-upload-12, as doc/resumable.md describes it. With compression,
``Upload-Offset`` counts the bytes of the image, and each request is a zstd stream of its own.
"""

import dataclasses
from typing import Any

import requests

from imsgate import errors
from imsgate.client import encoder
from imsgate.client.connection import Connection, failure_of, message_of
from imsgate.client.failures import Cut, Failure, Refused
from imsgate.client.image import ImageRecords, path_of
from imsgate.client.progress import ProgressDisplay
from imsgate.client.source import UploadSource
from imsgate.http import upload_headers as fields

#: The default size of a request's body. Proxies often limit it to 100 MB.
PART_BYTES = 64 << 20
#: A request that is smaller and still fails does not fail because of its size.
_MIN_PART_BYTES = 128 << 10
#: Requests of a reduced size that succeed before the next ones are twice as large.
_SUCCESSES = 8
#: Image bytes in one compressed request, as a multiple of the part size. It bounds how long a
#: request for an empty disk runs, and what is sent again if nothing of it has been stored.
_MAX_RATIO = 16

_OCTETS = {"Content-Type": "application/octet-stream"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """What the server says about uploads: whether they are resumable, whether zstd may be used,
    and the largest body of a request in bytes."""

    resumable: bool
    zstd: bool = False
    max_append: int | None = None


class Uploader:
    """The upload of one source to one image."""

    def __init__(
        self,
        connection: Connection,
        image_id: str,
        source: UploadSource,
        display: ProgressDisplay,
        *,
        part_bytes: int = PART_BYTES,
        compress: bool = True,
        store: str | None = None,
    ) -> None:
        self._connection = connection
        self._images = ImageRecords(connection)
        self._image_id = image_id
        self._source = source
        self._display = display
        #: The largest body of a request, and of the next one, in bytes.
        self._part_limit = self._part_bytes = part_bytes
        #: Requests in a row that have succeeded with this size.
        self._successes = 0
        self._zstd = encoder.zstd() if compress else None
        self._store = {"X-Image-Meta-Store": store} if store else {}
        #: Bytes that were sent, of all requests together.
        self.wire_bytes = 0
        self._offset = 0

    # The resumable upload

    def offer(self) -> Offer:
        """Ask what the server can do."""
        path = path_of(self._image_id, "/upload")
        # 501 from Glance whose pipeline has no filter that answers OPTIONS, such as cors.
        answers = (*range(200, 500), 501)
        response = self._connection.call("OPTIONS", path, expected=answers)
        limits = fields.limits(response.headers.get("Upload-Limit"))
        codings = response.headers.get("Accept-Encoding", "").replace(" ", "").split(",")
        return Offer(
            resumable=response.ok and "Upload-Limit" in response.headers,
            zstd="zstd" in codings,
            max_append=limits.get("max-append-size"),
        )

    def create(self) -> bool:
        """Begin the upload. False if the store of the image takes plain uploads only."""
        length = {} if self._source.size is None else {"Upload-Length": str(self._source.size)}
        response = self._connection.call(
            "PUT",
            path_of(self._image_id, "/file"),
            headers={**_OCTETS, **self._store, **length, "Upload-Complete": "?0"},
            body=b"",
            expected=(201, 409),
        )
        if response.status_code == 409:
            if response.headers.get("X-Imsgate-Reason") != "not_resumable":
                raise failure_of(response)
            return False
        return True

    def offset(self) -> int | None:
        """The number of bytes that the server has stored; None if it has all of them."""
        response = self._connection.call(
            "HEAD", path_of(self._image_id, "/upload"), expected=range(200, 500)
        )
        offset = fields.integer(response.headers.get("Upload-Offset"))
        if not response.ok or offset is None:
            raise self._ended(response)
        if fields.boolean(response.headers.get("Upload-Complete")):
            return None
        return offset

    def _ended(self, response: requests.Response) -> Failure:
        """Why the upload has ended. The response to HEAD has no body, so it is asked for."""
        if response.status_code not in (404, 410):
            return failure_of(response)
        path = path_of(self._image_id, "/upload")
        shown = self._connection.call("GET", path, expected=range(200, 500))
        reason = shown.json().get("reason") if shown.status_code == 200 else None
        return failure_of_reason(reason or message_of(response))

    def append_all(self, offset: int, offer: Offer) -> None:
        """Send everything from ``offset`` on, until the server has all of it.

        Raises Failure if the upload has ended, and TransferInterrupted if nothing succeeds for
        too long.
        """
        if offer.max_append:
            self._part_limit = self._part_bytes = min(self._part_limit, offer.max_append)
        module = self._zstd if offer.zstd else None
        at: int | None = offset
        while at is not None:
            self._source.release(at)
            self._display.update(at, self.wire_bytes)
            at = self._append(at, module)

    def _append(self, offset: int, module: Any | None) -> int | None:
        """Send one request; return the next offset, or None if the server has everything."""
        self._offset = offset
        last = self._source.reaches_end(offset, self._surely_fitting(module))
        body = self._body(offset, module, last)
        headers = {
            "Content-Type": fields.PARTIAL_UPLOAD,
            "Upload-Offset": str(offset),
            "Upload-Complete": fields.boolean_field(last),
            **({"Content-Encoding": "zstd"} if module and body else {}),
        }
        path = path_of(self._image_id, "/upload")
        try:
            response = self._connection.send("PATCH", path, headers=headers, body=body)
        except Cut as cut:
            return self._moved(offset, self.offset(), str(cut))
        finally:
            self._sent(body)
        return self._after(response, offset, body, last)

    def _sent(self, body: encoder.PartBody | bytes) -> None:
        if isinstance(body, encoder.PartBody):
            self.wire_bytes += body.wire_bytes

    def _surely_fitting(self, module: Any | None) -> int:
        """Image bytes that fit into one request, however badly they compress."""
        if module is None:
            return self._part_bytes
        return self._part_bytes - encoder.largest(self._part_bytes) + self._part_bytes

    def _body(self, offset: int, module: Any | None, last: bool) -> encoder.PartBody | bytes:
        limit = self._part_bytes * (_MAX_RATIO if module else 1)
        size = self._source.size
        if size == offset:
            return b""
        pieces = self._source.pieces(offset, limit)
        if module is None and size is not None:
            return encoder.SizedPartBody(pieces, min(limit, size - offset), report=self._report)
        wire_limit = None if last else self._part_bytes
        return encoder.PartBody(pieces, limit=wire_limit, module=module, report=self._report)

    def _report(self, body: encoder.PartBody) -> None:
        self._display.update(self._offset + body.image_bytes, self.wire_bytes + body.wire_bytes)

    def _after(
        self,
        response: requests.Response,
        offset: int,
        body: encoder.PartBody | bytes,
        last: bool,
    ) -> int | None:
        """What follows from a response: the next offset, or None if the server has everything."""
        status = response.status_code
        if response.ok:
            self._connection.accepted()
            self._connection.retries.progressed()
            self._grow()
            complete = fields.boolean(response.headers.get("Upload-Complete"))
            if complete or (last and complete is None):
                return None
            stored = fields.integer(response.headers.get("Upload-Offset"))
            sent = body.image_bytes if isinstance(body, encoder.PartBody) else 0
            return offset + sent if stored is None else stored
        reason = response.headers.get("X-Imsgate-Reason")
        if status == 413 and reason is None and self._part_bytes > _MIN_PART_BYTES:
            # Of a proxy. imsgate itself refuses the size of the image.
            self._limit_parts(message_of(response), body)
            return self.offset()
        if status == 409 and "Upload-Offset" in response.headers:
            return self._moved(offset, self.offset(), message_of(response))
        if self._connection.may_be_repeated(response):
            return self.offset()
        if status == 410 or reason == "completed_upload":
            return self.offset()
        raise failure_of(response)

    def _moved(self, before: int, after: int | None, why: str) -> int | None:
        """Wait if a request that failed has brought nothing."""
        if after is None or after > before:
            self._connection.retries.progressed()
        else:
            # A proxy may have waited for the whole request, and lost patience.
            self._part_bytes = max(_MIN_PART_BYTES, self._part_bytes // 2)
            self._successes = 0
            self._connection.retries.wait(why)
        return after

    def _grow(self) -> None:
        """Try larger requests again, but not after each one that has succeeded."""
        self._successes += 1
        if self._successes >= _SUCCESSES and self._part_bytes < self._part_limit:
            self._part_bytes = min(self._part_limit, self._part_bytes * 2)
            self._successes = 0

    def _limit_parts(self, why: str, body: encoder.PartBody | bytes) -> None:
        """Send half of what a proxy has refused, in this request and all later ones."""
        if isinstance(body, encoder.SizedPartBody):
            sent = len(body)
        else:
            sent = body.wire_bytes if isinstance(body, encoder.PartBody) else 0
        self._part_limit = max(_MIN_PART_BYTES, min(self._part_bytes, sent) // 2)
        self._part_bytes = self._part_limit
        self._display.note(f"{why}; continuing with {self._part_limit >> 10} KiB per request")

    # The plain upload

    def put(self) -> None:
        """Send everything in one request. It is repeated if that can help.

        Raises Failure, and TransferInterrupted for a stream, which cannot be sent again.
        """
        while not self._has_arrived():
            self._source.reaches_end(0, 0)  # detects an empty stream
            size = self._source.size
            self._offset = 0
            body: encoder.PartBody | bytes = b""
            if size != 0:
                pieces = self._source.pieces(0, None)
                body = (
                    encoder.PartBody(pieces, report=self._report)
                    if size is None
                    else encoder.SizedPartBody(pieces, size, report=self._report)
                )
            headers = {**_OCTETS, **self._store}
            path = path_of(self._image_id, "/file")
            # A server may have closed a connection that was not used for a moment. A stream that
            # has been sent into it cannot be sent again.
            self._connection.close()
            try:
                response = self._connection.send("PUT", path, headers=headers, body=body)
            except Cut as cut:
                self._connection.retries.wait(str(cut))
                continue
            finally:
                self._sent(body)
            if response.ok:
                return
            if not self._connection.may_be_repeated(response):
                raise failure_of(response)

    def _has_arrived(self) -> bool:
        """Whether the server has all data, perhaps by a request that got no response.

        If the server is still busy with such a request, wait until the image accepts data again.
        """
        while True:
            record = self._images.get(self._image_id)
            if record["status"] == "queued":
                return False
            if record["status"] != "saving":
                return True
            self._connection.retries.wait("the server is still busy with an interrupted request")


_REFUSAL = errors.BadImage.message.partition("{")[0]


def failure_of_reason(reason: str) -> Failure:
    """The failure of an upload that has ended, from the words of the server."""
    return Refused(reason) if reason.startswith(_REFUSAL) else Failure(reason)
