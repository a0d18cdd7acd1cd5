"""Downloads image data by ranges, so that a download continues after any interruption."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import requests
import urllib3.exceptions

from imsgate.client.connection import Connection, failure_of
from imsgate.client.failures import Cut, Failure, TransferInterrupted
from imsgate.client.image import Record, check_digest, path_of
from imsgate.client.progress import ProgressDisplay

_READ_BYTES = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)


class Downloader:
    """The download of one image."""

    def __init__(self, connection: Connection, record: Record, progress: ProgressDisplay) -> None:
        self._connection = connection
        self._record = record
        self._progress = progress
        self._size: int | None = record.get("size")
        self._hash = _hash_of(record)

    def to_file(self, path: str) -> str | None:
        """Download into a file, which appears when its data is complete, verified and durable.

        Until then the data is in ``PATH.IMAGE-ID.part``: the data of an image never changes, so
        whatever such a file contains can be continued. Returns a problem with the verification,
        in words. Raises Failure.
        """
        part = f"{path}.{self._record['id']}.part"
        try:
            with open(part, "ab") as file:
                self._lock(file, part)
                self._resume(part, file)
                self._receive(file)
                problem = self._verify(lambda: os.unlink(part))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            _sync_directory(path)
        except OSError as error:
            raise Failure(f"{error.filename or part}: {error.strerror}") from error
        return problem

    def to_stream(self, stream: BinaryIO) -> str | None:
        """Write the data to a stream, and verify it at the end, as :meth:`to_file`."""
        self._progress.begin("Downloading", self._size)
        self._receive(stream)
        stream.flush()
        return self._verify(lambda: None)

    def _lock(self, file: BinaryIO, part: str) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(f"another process is writing {part}") from None

    def _resume(self, part: str, file: BinaryIO) -> None:
        """Compute the digest of what an earlier process has received."""
        length = os.fstat(file.fileno()).st_size
        if self._size is not None and length > self._size:
            file.truncate(0)
            length = 0
        if length:
            self._progress.begin("Reading", length)
            with open(part, "rb", buffering=0) as received:
                while chunk := received.read(_READ_BYTES):
                    self._hash.feed(chunk)
                    self._progress.update(self._hash.position, 0)
        self._progress.begin("Downloading", self._size, length)

    def _receive(self, stream: BinaryIO) -> None:
        """Write everything after what has been hashed.

        Raises TransferInterrupted, Failure, OSError.
        """
        wire = 0
        while self._size is None or self._hash.position < self._size:
            before = self._hash.position
            try:
                for chunk in self._chunks(before):
                    stream.write(chunk)
                    self._hash.feed(chunk)
                    wire += len(chunk)
                    self._progress.update(self._hash.position, wire)
            except Cut as cut:
                if self._hash.position > before:
                    self._connection.retries.progressed()
                self._connection.retries.wait(str(cut))
            else:
                if self._size is None:
                    break
                if self._hash.position == before:
                    self._connection.retries.wait("the server sent nothing")

    def _chunks(self, offset: int) -> Iterator[bytes]:
        """The data from ``offset`` on. Raises Cut, Failure."""
        response = self._open(path_of(self._record["id"], "/file"), offset)
        with contextlib.closing(response):
            skipped = offset if response.status_code == 200 else 0
            try:
                for received in response.iter_content(_READ_BYTES):
                    chunk = received[skipped:]
                    skipped -= len(received) - len(chunk)
                    if chunk:
                        yield chunk
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise Cut(f"the connection was cut: {error}") from error

    def _open(self, path: str, offset: int) -> requests.Response:
        """A response with the data. Follows redirects to a store, without credentials."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        while True:
            response = self._connection.send("GET", path, headers=headers, stream=True)
            if response.status_code in _REDIRECTS and "://" not in path:
                path = response.headers["Location"]
                continue
            if self._connection.may_be_repeated(response):
                response.close()
                continue
            if response.status_code not in (200, 206):
                with contextlib.closing(response):
                    raise failure_of(response)
            if response.status_code == 206 and not _starts_at(response, offset):
                response.close()
                raise Failure("the server sent another range than the requested one")
            return response

    def _verify(self, on_difference: Callable[[], None]) -> str | None:
        try:
            return check_digest(self._record, self._hash.hexdigest)
        except TransferInterrupted:
            raise
        except Failure:
            on_difference()
            raise


def _starts_at(response: requests.Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


class _Hash:
    """The digest of what has been received."""

    def __init__(self, algorithm: str | None) -> None:
        self._algorithm = algorithm
        self._hash: Any = hashlib.new(algorithm, usedforsecurity=False) if algorithm else None
        self.position = 0

    def feed(self, chunk: bytes) -> None:
        self.position += len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)

    def hexdigest(self, algorithm: str) -> str | None:
        return self._hash.hexdigest() if algorithm == self._algorithm else None


def _hash_of(record: Record) -> _Hash:
    algorithm = record.get("os_hash_algo")
    known = hashlib.algorithms_available
    return _Hash(str(algorithm) if algorithm in known else None)


def _sync_directory(path: str) -> None:
    number = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
