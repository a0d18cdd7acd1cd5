"""The body of a URI as one stream, which continues after the connection was cut."""

import errno
import http.client
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from imsgate import errors
from imsgate.errors import SourceFailed, SourceUnavailable, UriRefused
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
        *,
        deadline: Deadline,
        wait: Callable[[float], None],
        max_resumes: int,
        start: int = 0,
        size: int | None = None,
        has_digest: bool = False,
    ) -> None:
        """The body from the byte ``start`` on; ``size`` is that of the whole, if known.

        ``wait`` lets seconds pass. With ``has_digest``, the end of the body need not be announced.
        """
        self._follow = follow
        self._deadline = deadline
        self._wait = wait
        self._max_resumes = max_resumes
        self._has_digest = has_digest
        self._received = start
        self._resumes = 0
        self._failed: SourceFailed | UriRefused | None = None
        try:
            self._response = follow(uri, {"Range": f"bytes={start}-"} if start else {}, deadline)
        except CONNECTION_ERRORS as error:
            raise self._failure(error) from error
        self._etag = self._response.etag
        try:
            self.size = self._checked_size(size)
            if start and self._response.status != 206:
                self._skip_received()
        except CONNECTION_ERRORS as error:
            self._response.close()
            raise self._failure(error) from error
        except BaseException:
            self._response.close()
            raise

    @property
    def content_type(self) -> str:
        """What the server calls the data; empty if it does not say."""
        return unfolded(self._response.headers["Content-Type"])

    def _checked_size(self, known: int | None) -> int | None:
        """The size of the whole that the response announces. Raises SourceFailed."""
        response = self._response
        if unfolded(response.headers["Content-Encoding"]).lower() not in _CODINGS:
            raise SourceFailed(problem="the server sends it with a Content-Encoding")
        if self._received and response.status == 206:
            size = self._whole_of_range()
            if size is None:
                raise SourceFailed(problem="the server sends another range than was requested")
        elif response.status in (200, 203):
            size = response.length
        else:
            raise _answered(response.status)
        if not response.has_end and not self._has_digest:
            raise SourceFailed(problem="the server announces neither length nor end")
        if known is not None and size not in (None, known):
            raise SourceFailed(problem=f"the file there has {size} bytes, not {known}")
        return size if known is None else known

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end. Raises SourceFailed.

        A socket returns less at a time, and each chunk costs hand-overs between the threads that
        compute digests.
        """
        if self._failed is not None:
            raise self._failed
        pieces: list[bytes] = []
        missing = size
        while missing:
            try:
                piece = self._read_piece(missing)
            except (SourceFailed, UriRefused) as error:
                if not pieces:
                    raise
                self._failed = error  # for the next call, so that nothing has to be read twice
                break
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

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
            return chunk

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
        whole = self._whole_of_range()
        same = (
            self._response.status == 206
            and self._response.etag in (None, self._etag)
            and self._response.has_end
            and whole is not None
            and self.size in (None, whole)
        )
        if not same:
            self._response.close()
            problem = f"it was cut after {self._received} bytes and could not be resumed there"
            raise SourceUnavailable(problem=problem)

    def _whole_of_range(self) -> int | None:
        """The size of the whole, if the response is all that is still missing of it."""
        match = _CONTENT_RANGE.fullmatch(self._response.headers["Content-Range"] or "")
        if match is None:
            return None
        first, last, size = map(int, match.groups())
        return size if first == self._received and last + 1 == size else None

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
