"""Request headers to values: pure functions, each raising a named error.

Every function takes the header's text as WSGI gives it (``None`` when absent).
"""

import dataclasses
import math
import re

from imsgate import errors

# RFC 9110 section 8.6: 1*DIGIT, and these are ASCII digits. int() would take
# "+5", " 5 ", "5_0" and Arabic digits. Twenty digits pass 2**64.
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_STORE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
# RFC 9110 section 14.1: the name of a range unit is case-insensitive.
_RANGE = re.compile(r"(?i:bytes)[ \t]*=[ \t]*([0-9]{0,19})-([0-9]{0,19})", re.ASCII)
_CONTENT_RANGE = re.compile(
    r"(?i:bytes)[ \t]+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def digits(header: str, text: str | None) -> int | None:
    """A byte count as plain ASCII digits. Raises BadHeader for any other text."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        raise errors.BadHeader(header=header, problem="it must be plain decimal digits")
    return int(text)


def framing(content_length: str | None, transfer_encoding: str | None) -> int | None:
    """The length of the body in bytes, or None when it is chunked or there is none.

    RFC 9112 section 6.1: a message with both Transfer-Encoding and
    Content-Length is how requests are smuggled, and any coding but a single
    ``chunked`` is not understood here. Raises BadHeader.
    """
    if transfer_encoding is not None:
        if content_length:
            raise errors.BadHeader(
                header="Transfer-Encoding", problem="it cannot stand beside Content-Length"
            )
        if transfer_encoding.lower() != "chunked":
            raise errors.BadHeader(
                header="Transfer-Encoding", problem='only exactly "chunked" is understood'
            )
    return digits("Content-Length", content_length or None)


def store_id(text: str | None) -> str | None:
    """The value of X-Image-Meta-Store. Raises BadHeader for characters no store id has."""
    if text is None:
        return None
    if not _STORE_ID.fullmatch(text):
        raise errors.BadHeader(
            header="X-Image-Meta-Store",
            problem="a store id is letters, digits, dots, dashes and underscores",
        )
    return text


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """One range of RFC 9110 section 14.1.2: ``first`` and ``last`` inclusive.

    Without ``last`` it runs to the end; without ``first`` it is the final
    ``last`` bytes.
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
    """The range asked for by Range, or by Content-Range as Glance accepts it in requests.

    As in Glance, more than one range is BadHeader; any other text that is not
    a range is BadRange.
    """
    if range_text is not None:
        if "," in range_text:
            raise errors.BadHeader(header="Range", problem="only a single range is served")
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


def _total(text: str) -> float:
    return math.inf if text == "*" else int(text)


def has_control(text: str) -> bool:
    """Whether the text holds a control character other than tab."""
    return bool(_CONTROL.search(text))


def request_id(text: str | None) -> str | None:
    """An inbound global request id when it is well formed (``req-`` and a UUID), else None."""
    return text if text and _REQUEST_ID.fullmatch(text) else None
