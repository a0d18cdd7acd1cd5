"""The head of a response, for http.client.

http.client fails at more than 100 fields and at a line of 64 KiB. Servers send such heads, with
cookies and policies for browsers, and clients such as curl accept them. So http.client receives
only the fields that a download needs. The socket limits the whole head; see ``deadline``.
"""

from typing import BinaryIO

_NEEDED = frozenset(
    (b"location", b"etag", b"content-length", b"content-encoding", b"content-range")
).union((b"content-type", b"transfer-encoding", b"connection"))


class ResponseHead:
    """Reads lines from ``file``, without the fields that no download needs.

    It begins at a status line, and again after each empty line, since further interim responses
    may follow.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at_status = True
        self._at_line_start = True
        self._is_needed = True

    def readline(self, limit: int = -1) -> bytes:
        """The next line, or its first ``limit`` bytes; empty at the end. Raises OSError."""
        while line := self._file.readline(limit):
            if self._at_line_start:
                self._begin_line(line)
            self._at_line_start = line.endswith(b"\n")
            if self._is_needed:
                return line
        return b""

    def close(self) -> None:
        self._file.close()

    def _begin_line(self, line: bytes) -> None:
        if self._at_status:
            self._at_status, self._is_needed = False, True
        elif line in (b"\r\n", b"\n"):
            self._at_status, self._is_needed = True, True
        elif not line.startswith((b" ", b"\t")):  # else it continues the field before it
            self._is_needed = line.partition(b":")[0].strip().lower() in _NEEDED
