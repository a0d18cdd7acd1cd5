"""Parses request headers: pure functions, each raising a named error.

Each takes the text of the header as in WSGI; ``None`` means that the header is missing.
"""

import dataclasses
import math
import re

from imsgate import errors
from imsgate.http import structured

# RFC 9110 section 8.6: 1*DIGIT, which are ASCII digits. int() would also accept "+5", " 5 ",
# "5_0" and Arabic digits. Numbers of 20 digits may exceed 2**64.
_MAX_COUNT = 2**63 - 1
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_STORE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
# RFC 9110 section 14.1: the name of a range unit is case-insensitive.
_RANGE = re.compile(r"(?i:bytes)[ \t]*=[ \t]*([0-9]{0,19})-([0-9]{0,19})", re.ASCII)
_CONTENT_RANGE = re.compile(
    r"(?i:bytes)[ \t]+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: A key without quotes: many clients send a bare UUID. It has none of the characters by which a
#: structured field is anything but a number or a Token.
_BARE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~+/=:-]*", re.ASCII)
_MAX_KEY_CHARACTERS = 255
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def digits(header: str, text: str | None) -> int | None:
    """A byte count as plain ASCII digits. Raises BadHeader for any other text, and for a count of
    more than 63 bits, which databases cannot store."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > _MAX_COUNT:
        problem = f"it must be plain decimal digits, at most {_MAX_COUNT}"
        raise errors.BadHeader(header=header, problem=problem)
    return int(text)


def framing(content_length: str | None, transfer_encoding: str | None) -> int | None:
    """The length of the body in bytes; None if it is chunked or missing.

    Raises BadHeader for a request with both headers, which can be used to smuggle a second request
    (RFC 9112 section 6.1), and for any transfer coding except a single ``chunked``.
    """
    if transfer_encoding is not None:
        if content_length:
            raise errors.BadHeader(
                header="Transfer-Encoding", problem="it cannot be combined with Content-Length"
            )
        if transfer_encoding.lower() != "chunked":
            raise errors.BadHeader(
                header="Transfer-Encoding", problem='only "chunked" is supported'
            )
    return digits("Content-Length", content_length or None)


def store_id(text: str | None) -> str | None:
    """The value of X-Image-Meta-Store. Raises BadHeader for an invalid store id."""
    if text is None:
        return None
    if not _STORE_ID.fullmatch(text):
        raise errors.BadHeader(
            header="X-Image-Meta-Store",
            problem="a store id consists of letters, digits, dots, dashes and underscores",
        )
    return text


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """A byte range of RFC 9110 section 14.1.2: ``first`` and ``last`` are inclusive.

    Without ``last`` the range extends to the end; without ``first`` it is the last ``last`` bytes.
    """

    first: int | None
    last: int | None

    def within(self, size: int) -> tuple[int, int]:
        """Offset and length in an image of ``size`` bytes. Raises RangeNotSatisfiable."""
        if self.first is None:
            length = min(self.last or 0, size)
            offset = size - length
        else:
            offset = self.first
            end = size if self.last is None else min(self.last + 1, size)
            length = end - offset
        if length <= 0:
            raise errors.RangeNotSatisfiable(
                size=size, headers={"Content-Range": f"bytes */{size}"}
            )
        return offset, length


def byte_range(range_text: str | None, content_range_text: str | None = None) -> Range | None:
    """The range that a request asks for, by Range or, as Glance accepts, by Content-Range.

    As in Glance, raises BadHeader for several ranges, and BadRange for any other invalid text.
    """
    if range_text is not None:
        if "," in range_text:
            raise errors.BadHeader(header="Range", problem="only a single range is supported")
        match = _RANGE.fullmatch(range_text.strip())
        first, last = match.groups() if match else ("", "")
        if not (first or last) or (first and last and int(last) < int(first)):
            raise errors.BadRange(header="Range")
        return Range(int(first) if first else None, int(last) if last else None)
    if content_range_text is not None:
        match = _CONTENT_RANGE.fullmatch(content_range_text.strip())
        if not match or not int(match[1]) <= int(match[2]) < _total(match[3]):
            raise errors.BadRange(header="Content-Range")
        return Range(int(match[1]), int(match[2]))
    return None


def is_whole(content_range_text: str) -> bool:
    """Whether a valid Content-Range covers all bytes."""
    match = _CONTENT_RANGE.fullmatch(content_range_text.strip())
    return match is not None and int(match[1]) == 0 and int(match[2]) + 1 == _total(match[3])


def _total(text: str) -> float:
    return math.inf if text == "*" else int(text)


def has_control(text: str) -> bool:
    """Whether the text contains a control character except tab."""
    return bool(_CONTROL.search(text))


def idempotency_key(text: str | None) -> str | None:
    """The value of Idempotency-Key, with or without quotes. Raises BadIdempotencyKey."""
    if text is None:
        return None
    text = text.strip(" \t")
    try:
        key = text if _BARE_KEY.fullmatch(text) else structured.item(text)
    except ValueError:
        key = None
    if type(key) is not str:
        problem = "it must be one String (RFC 9651): text in double quotes, for example a UUID"
        raise errors.BadIdempotencyKey(header="Idempotency-Key", problem=problem)
    if not 1 <= len(key) <= _MAX_KEY_CHARACTERS:
        problem = f"it must have 1 to {_MAX_KEY_CHARACTERS} characters"
        raise errors.BadIdempotencyKey(header="Idempotency-Key", problem=problem)
    return key


def request_id(text: str | None) -> str | None:
    """The global request id of a client if it is valid (``req-`` and a UUID), else None."""
    return text if text and _REQUEST_ID.fullmatch(text) else None
