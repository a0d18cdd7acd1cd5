"""The body of a URI as one stream, which continues after the connection was cut."""

import errno
import hashlib
import http.client
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from imsgate import errors, hashing
from imsgate.errors import SourceFailed, SourceUnavailable
from imsgate.sources.deadline import Deadline
from imsgate.sources.head import ResponseHead
from imsgate.sources.uris import DownloadTarget

#: Exceptions that a connection in use may raise.
CONNECTION_ERRORS = (OSError, http.client.HTTPException)

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_MAX_PAUSE_SECONDS = 30.0


#: What servers send as the Content-Encoding of data that is not encoded, and of files that are
#: compressed themselves. As with curl, the latter stay compressed: inspection recognizes them.
_CODINGS = frozenset({"", "identity", "none", "binary", "8bit", "aws-chunked", "gzip", "x-gzip"})


def unfolded(value: str | None) -> str:
    """The value of a header without line folding (RFC 9112 section 5.2)."""
    return re.sub(r"[ \t]*\r?\n[ \t]+", " ", value or "").strip(" \t\r\n")


class FinalResponse(http.client.HTTPResponse):
    """The response after all interim ones, such as 103. http.client only skips 100."""

    def begin(self) -> None:
        body, head = self.fp, ResponseHead(self.fp)
        self.fp = cast(Any, head)
        try:
            super().begin()
            while 100 <= self.status < 200 and self.status != 101:
                self.headers = self.msg = None  # type: ignore[assignment]
                super().begin()
        finally:
            if self.fp is cast(Any, head):  # else it was closed
                self.fp = body
        codings = unfolded(self.headers["Transfer-Encoding"]).lower()
        if codings not in ("", "identity", "chunked"):
            raise SourceFailed(problem="the server uses an unknown Transfer-Encoding")
        if not self.chunked:
            self.length = self._announced()

    def _announced(self) -> int | None:
        """The Content-Length, which may be sent several times if all are equal (RFC 9110
        section 8.6)."""
        lines = self.headers.get_all("Content-Length", [])
        values = {value.strip() for line in lines for value in unfolded(line).split(",")}
        if not values:
            return None
        (value, *others) = values
        if others or not re.fullmatch("[0-9]{1,18}", value):
            raise SourceFailed(problem="the server sends an invalid Content-Length")
        return int(value)


class WebResponse:
    """A response whose body has not been read yet."""

    def __init__(
        self,
        target: DownloadTarget,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.target = target
        self.status = response.status
        self.headers = response.headers
        self.length = None if response.chunked else response.length
        self.has_end = response.chunked or response.length is not None
        self.read = response.read1
        self._response = response
        self._connection = connection

    @property
    def etag(self) -> str | None:
        """The ETag, if equal ones mean equal bytes (RFC 9110 section 8.8.3)."""
        etag = self.headers["ETag"]
        return etag if etag and etag.startswith('"') else None

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class Follow(Protocol):
    """Requests a URI with these header fields, and follows redirects.

    Raises UriRefused, SourceFailed, and any of CONNECTION_ERRORS.
    """

    def __call__(self, uri: str, fields: Mapping[str, str], deadline: Deadline) -> WebResponse: ...


class WebDownload:
    """The bytes of a URI. ``size`` is None if the server does not announce it."""

    def __init__(
        self,
        follow: Follow,
        uri: str,
        digest: tuple[str, str] | None,
        *,
        deadline: Deadline,
        wait: Callable[[float], None],
        max_resumes: int,
    ) -> None:
        """``digest`` is an algorithm and the expected value; ``wait`` lets seconds pass."""
        self._follow = follow
        self._deadline = deadline
        self._wait = wait
        self._max_resumes = max_resumes
        self._expected = digest
        self._digest = hashlib.new(digest[0], usedforsecurity=False) if digest else None
        self._received = 0
        self._resumes = 0
        try:
            self._response = follow(uri, {}, deadline)
        except CONNECTION_ERRORS as error:
            raise self._failure(error) from error
        self.size = self._response.length
        self._etag = self._response.etag
        try:
            self._check_response()
        except BaseException:
            self._response.close()
            raise

    def _check_response(self) -> None:
        if self._response.status not in (200, 203):
            raise _answered(self._response.status)
        if not self._response.has_end and self._expected is None:
            raise SourceFailed(problem="the server announces neither length nor end")
        if unfolded(self._response.headers["Content-Encoding"]).lower() not in _CODINGS:
            raise SourceFailed(problem="the server sends it with a Content-Encoding")

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end. Raises SourceFailed, DigestMismatch.

        A socket returns less at a time, and each chunk costs hand-overs between the threads that
        compute digests.
        """
        piece = self._read_piece(size)
        if not piece or len(piece) == size:
            return piece
        pieces, count = [piece], len(piece)
        while count < size and (piece := self._read_piece(size - count)):
            pieces.append(piece)
            count += len(piece)
        return b"".join(pieces)

    def _read_piece(self, size: int) -> bytes:
        """What has arrived, at most ``size`` bytes; none at the end."""
        while True:
            try:
                chunk = self._response.read(size)
                if not chunk and self.size is not None and self._received < self.size:
                    raise OSError("the connection was closed")
            except CONNECTION_ERRORS as error:
                self._resume(error)
                continue
            self._received += len(chunk)
            if self._digest is not None:
                self._digest.update(chunk)
            if not chunk or self._received == self.size:
                self._check_digest()
            return chunk

    def _check_digest(self) -> None:
        if self._expected and self._digest and self._digest.hexdigest() != self._expected[1]:
            algorithm, expected = self._expected
            actual = self._digest.hexdigest()
            raise errors.DigestMismatch(algorithm=algorithm, found=actual, expected=expected)

    def _resume(self, cause: Exception) -> None:
        """Continue where the connection was cut, if the server still has the same data."""
        self._response.close()
        while True:
            if self._etag is None or self._resumes >= self._max_resumes or self._deadline.passed:
                raise self._failure(cause) from cause
            if self._resumes:
                self._wait(min(2.0**self._resumes, _MAX_PAUSE_SECONDS))
            self._resumes += 1
            fields = {"Range": f"bytes={self._received}-", "If-Range": self._etag}
            try:
                self._response = self._follow(self._response.target.uri, fields, self._deadline)
            except CONNECTION_ERRORS as error:
                cause = error
                continue
            if self._response.status >= 500 and self._resumes < self._max_resumes:
                self._response.close()
                continue
            if self._is_same_data_again():
                try:
                    self._skip_received()
                except CONNECTION_ERRORS as error:
                    cause = error
                    self._response.close()
                    continue
            else:
                self._check_same_data()
            return

    def _is_same_data_again(self) -> bool:
        """Whether the server, which ignores Range, sends the same data from the start."""
        return (
            self._response.status == 200
            and self._response.etag == self._etag
            and self._response.has_end
            and self._response.length == self.size
        )

    def _skip_received(self) -> None:
        left = self._received
        while left:
            chunk = self._response.read(min(left, 1 << 20))
            if not chunk:
                raise OSError("the connection was closed")
            left -= len(chunk)

    def _check_same_data(self) -> None:
        content_range = _CONTENT_RANGE.fullmatch(self._response.headers["Content-Range"] or "")
        same = (
            self._response.status == 206
            and self._response.etag in (None, self._etag)
            and self._response.has_end
            and content_range is not None
            and int(content_range[1]) == self._received
            and int(content_range[2]) + 1 == int(content_range[3])
            and self.size in (None, int(content_range[3]))
        )
        if not same:
            self._response.close()
            problem = f"it was cut after {self._received} bytes and could not be resumed there"
            raise SourceUnavailable(problem=problem)

    def _failure(self, cause: Exception) -> errors.Error:
        if self._deadline.passed:
            return SourceFailed(problem="it takes longer than is allowed")
        problem = f"after {self._received} bytes {_what_happened(cause)}"
        return (
            SourceUnavailable(problem=problem)
            if _may_pass(cause)
            else SourceFailed(problem=problem)
        )

    def close(self) -> None:
        self._response.close()


#: Statuses other than 5xx that say: try again later (RFC 9110, 6585, 8470).
_LATER = frozenset({408, 425, 429})


def _answered(status: int) -> SourceFailed:
    kind = SourceUnavailable if status >= 500 or status in _LATER else SourceFailed
    return kind(problem=f"the server answered {status}")


_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL})


def _what_happened(cause: Exception) -> str:
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return "the server refused the connection"
    if isinstance(cause, ssl.SSLError):
        return f"the TLS connection failed: {cause.reason or type(cause).__name__}"
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return "the server cannot be reached"
    if isinstance(cause, OSError | http.client.IncompleteRead | http.client.RemoteDisconnected):
        return "the connection was cut"
    return f"the server's response was not valid HTTP ({type(cause).__name__})"


def _may_pass(cause: Exception) -> bool:
    """Whether a connection that failed like this may succeed later."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return False
    return isinstance(cause, OSError | http.client.IncompleteRead)


def parse_digest(text: str | None) -> tuple[str, str] | None:
    """``sha256:HEX`` as algorithm and digest. Raises BadRequest."""
    if text is None:
        return None
    algorithm, _, digest = text.lower().partition(":")
    if algorithm in hashing.DOWNLOAD:
        length = 2 * hashing.digest_size(algorithm)
        if re.fullmatch(f"[0-9a-f]{{{length}}}", digest):
            return algorithm, digest
    problem = f"digest must be ALGORITHM:HEX with one of {', '.join(hashing.DOWNLOAD)}"
    raise errors.BadRequest(problem=problem)
