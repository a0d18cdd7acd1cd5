"""What imsgate asks of the server."""

import dataclasses
import http.client
import re
from typing import Any

from imsgate import errors
from imsgate.stores.http import failures, listing
from imsgate.stores.http.connections import Connections
from imsgate.stores.http.listing import ListedFile
from imsgate.stores.http.put_request import PutRequest

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_LENGTH = re.compile(r"[0-9]{1,19}")
_READ_BYTES = 1024 * 1024

#: More than the list of 100,000 files. A longer one ends early, which makes it unreadable.
_MAX_LISTING_BYTES = 64 * 1024 * 1024

#: A name that is never written, to ask whether MOVE is supported.
_PROBE = ".imsgate-probe"


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Bytes of a file of ``size`` bytes. ``etag`` is empty if the server sends none."""

    chunks: list[bytes]
    size: int
    etag: str


class RemoteFiles:
    """The files under one URL, by their names.

    All methods raise StoreFull, StoreUnavailable or StoreDenied, and ``failures.FileMissing`` if
    there is no such file.
    """

    def __init__(self, connections: Connections) -> None:
        self.store = connections.store
        self._connections = connections

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def upload(self, name: str, size: int | None) -> PutRequest:
        """Begin a PUT."""
        return PutRequest(self._connections, name, size)

    def put(self, name: str, data: bytes) -> None:
        """Store a small file. Raises FileExists if the server knows conditional writes."""
        upload = self.upload(name, len(data))
        try:
            upload.write(data)
            upload.finish()
        finally:
            upload.close()

    def size(self, name: str) -> int:
        """The size of a file in bytes."""
        with self._connections.request("HEAD", name) as response:
            if response.status != http.client.OK:
                raise self._refusal("HEAD", response)
            length = response.headers.get("Content-Length")
            if length is not None and _LENGTH.fullmatch(length):
                return int(length)
        if length is None:
            return self._size_by_range(name)
        problem = "it does not report the size of files"
        raise errors.StoreUnavailable(store=self.store, problem=problem)

    def _size_by_range(self, name: str) -> int:
        """Apache leaves ``Content-Length: 0`` out of its answers to HEAD."""
        try:
            return self.get(name, 0, 1).size
        except failures.BeyondEnd:
            return 0

    def get(self, name: str, start: int, end: int) -> Block:
        """The bytes from ``start`` up to, but not including, ``end`` or the end of the file.

        Asks a second time if the connection breaks. Raises BeyondEnd if there are none.
        """
        try:
            return self._get(name, start, end)
        except failures.NoResponse:
            return self._get(name, start, end)

    def _get(self, name: str, start: int, end: int) -> Block:
        wanted = {"Range": f"bytes={start}-{end - 1}"}
        with self._connections.request("GET", name, wanted) as response:
            if response.status == http.client.PARTIAL_CONTENT:
                first, last, size = self._content_range(response.headers)
                if first != start or last >= end or last != min(end, size) - 1:
                    raise self._wrong("another range than was requested")
            elif response.status == http.client.OK:
                # The answer to a range of an empty file, or of one that the range covers.
                size = self._whole(response.headers, start, end)
                if not size:
                    raise failures.BeyondEnd(store=self.store, problem="the file is empty")
            else:
                raise self._refusal("GET", response)
            expected = min(end, size) - start
            chunks, received = [], 0
            while received < expected:
                chunk = response.read(min(_READ_BYTES, expected - received))
                if not chunk:
                    raise failures.NoResponse(store=self.store, problem="the connection broke")
                chunks.append(chunk)
                received += len(chunk)
            return Block(chunks, size, response.headers.get("ETag", ""))

    def _whole(self, headers: Any, start: int, end: int) -> int:
        length = headers.get("Content-Length", "")
        if start or not _LENGTH.fullmatch(length) or int(length) > end:
            raise self._wrong("the whole file where a range was requested")
        return int(length)

    def _content_range(self, headers: Any) -> tuple[int, int, int]:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None:
            raise self._wrong("a range without its position")
        first, last, size = map(int, match.groups())
        return first, last, size

    def content(self, name: str, limit: int) -> bytes:
        """The first ``limit`` bytes of a small file."""
        with self._connections.request("GET", name) as response:
            if response.status != http.client.OK:
                raise self._refusal("GET", response)
            return bytes(response.read(limit))

    def delete(self, name: str) -> None:
        """Remove a file. A file that was removed before may raise FileMissing or not."""
        with self._connections.request("DELETE", name) as response:
            if response.status not in failures.DONE:
                raise self._refusal("DELETE", response)

    def move(self, name: str, to: str) -> None:
        """Rename a file. Raises FileExists if there is a file ``to``."""
        headers = {"Destination": self._connections.base.url_of(to), "Overwrite": "F"}
        with self._connections.request("MOVE", name, headers) as response:
            if response.status not in failures.DONE:
                raise self._refusal("MOVE", response)

    def can_move(self) -> bool:
        """Whether the server supports MOVE.

        OPTIONS alone does not tell: nginx's DAV module does not answer it, and with its extension
        it announces MOVE even where dav_methods disables it. So a file that does not exist is
        renamed, which is answered with 404.
        """
        with self._connections.request("OPTIONS", "") as response:
            allowed = response.headers.get("Allow", "").upper()
            if response.status in (200, 204) and "MOVE" not in re.findall(r"[A-Z]+", allowed):
                return False
        try:
            self.move(_PROBE, _PROBE + "-moved")
        except failures.FileMissing:
            return True
        except (failures.NoResponse, failures.Overloaded):
            raise
        except errors.StoreUnavailable:
            return False
        return True

    def listed(self) -> list[ListedFile]:
        """The files of the collection. Raises Unsupported where the server does not list them."""
        headers = {"Depth": "1", "Content-Type": "application/xml"}
        with self._connections.request("PROPFIND", "", headers, listing.QUESTION) as response:
            if response.status != http.client.MULTI_STATUS:
                raise self._refusal("PROPFIND", response)
            document = response.read(_MAX_LISTING_BYTES)
            try:
                return list(listing.parse(document, response.headers.get("Date", "")))
            except ValueError:
                problem = "its list of files cannot be read"
                raise errors.StoreUnavailable(store=self.store, problem=problem) from None

    def _refusal(self, method: str, response: Any) -> errors.Error:
        status, headers = response.status, response.headers
        return failures.refusal(self.store, method, status, headers.get("Retry-After", ""))

    def _wrong(self, what: str) -> errors.Error:
        problem = f"it sends {what}: it does not support ranges"
        return errors.StoreUnavailable(store=self.store, problem=problem)
