"""One file from several URIs: if one fails, the next goes on."""

import hashlib
import logging
import urllib.parse
from collections.abc import Callable, Sequence

from imsgate.errors import DigestMismatch, Error, SourceFailed, SourceUnavailable, UriRefused
from imsgate.sources.base import ByteStream
from imsgate.sources.checksums import Digest
from imsgate.sources.deadline import Deadline
from imsgate.sources.foreign_page import HEAD_BYTES, page_kind
from imsgate.sources.web_download import WebDownload

LOG = logging.getLogger(__name__)

#: Opens a URI from a byte on: ``open_uri(uri, start, size)``, with the size of the whole file if
#: that is known. Raises SourceFailed, UriRefused.
OpenUri = Callable[[str, int, int | None], WebDownload]


class MirroredDownload:
    """The bytes of a file. ``size`` is None if its server does not announce it.

    With a digest, the next URI continues where the one before failed: the digest shows at the end
    whether all bytes belong to the same file. Without one, only a whole file from one server is
    accepted, so the next URI is used only if nothing was read yet. After that, or if the data has
    another digest, the whole job may try again: ``attempt`` counts from 0 and decides which URI is
    the first.
    """

    def __init__(
        self,
        open_uri: OpenUri,
        uris: Sequence[str],
        digest: Digest | None,
        *,
        attempt: int,
        deadline: Deadline,
    ) -> None:
        """Raises SourceFailed, and UriRefused if that is the reason for the only URI."""
        first = attempt % len(uris)
        self._is_last_attempt = attempt >= len(uris) - 1
        self._open_uri = open_uri
        self._deadline = deadline
        self._waiting = [*uris[first:], *uris[:first]]
        self._is_only = len(uris) == 1
        self._failures: list[str] = []
        self._expected = digest
        self._digest = hashlib.new(digest.algorithm, usedforsecurity=False) if digest else None
        self._received = 0
        self._may_pass = False
        self.size: int | None = None
        self._open_next()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end. Raises as the constructor, and DigestMismatch."""
        while True:
            try:
                chunk = self._stream.read(size)
            except (SourceFailed, UriRefused) as error:
                self._continue_elsewhere(error)
                continue
            self._received += len(chunk)
            if self._digest is not None:
                self._digest.update(chunk)
            if not chunk or self._received == self.size:
                self._check_digest()
            return chunk

    def close(self) -> None:
        self._stream.close()

    def _open_next(self) -> None:
        while self._waiting:
            self._uri = self._waiting.pop(0)
            try:
                self._open()
            except (SourceFailed, UriRefused) as error:
                self._note(error)
            else:
                return
        kind = SourceUnavailable if self._may_pass else SourceFailed
        raise kind(problem="; ".join(self._failures))

    def _open(self) -> None:
        download = self._open_uri(self._uri, self._received, self.size)
        stream = ByteStream(download.read, download.close)
        if not self._received:
            try:
                kind = page_kind(stream.peek(HEAD_BYTES), download.content_type)
                if kind is not None:
                    raise SourceFailed(problem=f"the server sent {kind} instead of the file")
            except BaseException:
                download.close()
                raise
            self.size = download.size
        self._stream = stream

    def _continue_elsewhere(self, error: Error) -> None:
        """Continue at the next URI. Raises ``error`` if that is impossible."""
        self._stream.close()
        self._note(error)
        if self._expected is None:
            raise self._final(error)
        self._open_next()

    def _note(self, error: Error) -> None:
        """Remember why a URI failed. Raises ``error`` if no other one could help."""
        if self._is_only or self._deadline.passed:
            raise error
        host = urllib.parse.urlsplit(self._uri).hostname
        LOG.info("The download from %s failed: %s", host, error)
        self._failures.append(f"{host}: {error.details['problem']}")
        self._may_pass = self._may_pass or isinstance(error, SourceUnavailable)

    def _final(self, error: Error) -> Error:
        """What ends this attempt: temporary, if the next one begins at a URI not yet tried."""
        if self._is_last_attempt:
            return error
        return SourceUnavailable(problem=error.details.get("problem", str(error)))

    def _check_digest(self) -> None:
        if self._expected is None or self._digest is None:
            return
        actual = self._digest.hexdigest()
        if actual != self._expected.value:
            algorithm, expected = self._expected.algorithm, self._expected.value
            error = DigestMismatch(algorithm=algorithm, found=actual, expected=expected)
            raise self._final(error)
