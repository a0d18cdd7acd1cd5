"""The answer to WebDAV's PROPFIND: which files a collection has (RFC 4918, section 9.1)."""

import contextlib
import dataclasses
import datetime
import email.utils
import urllib.parse
from collections.abc import Iterator
from xml.parsers import expat

#: The properties that are asked for.
QUESTION = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop>'
    b"<getcontentlength/><getlastmodified/></prop></propfind>"
)

_PREFIX = "DAV: "


@dataclasses.dataclass(frozen=True, slots=True)
class ListedFile:
    """A file. ``age`` is the time since its last write in seconds, by the server's clock."""

    name: str
    size: int
    age: float


def parse(document: bytes, date: str) -> Iterator[ListedFile]:
    """The files of an answer with the header ``Date``, except those without a size or a time.

    Raises ValueError.
    """
    now = _time(date)
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except expat.ExpatError:
        raise ValueError("no XML") from None
    for values in reader.responses:
        path = urllib.parse.urlsplit(values.get("href", "").strip()).path
        with contextlib.suppress(ValueError):
            age = (now - _time(values.get("getlastmodified", ""))).total_seconds()
            size = int(values.get("getcontentlength", ""))
            yield ListedFile(urllib.parse.unquote(path.rpartition("/")[2]), size, age)


class _Reader:
    """Collects the texts in each ``response``, by the names of their elements."""

    def __init__(self) -> None:
        self.responses: list[dict[str, str]] = []
        self._open = ""
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse(self, *_: object) -> None:
        """A declaration can define entities that expand to gigabytes."""
        raise ValueError("a document type declaration")

    def _start(self, name: str, _: object) -> None:
        self._open = name.removeprefix(_PREFIX)
        if self._open == "response":
            self.responses.append({})

    def _end(self, _: str) -> None:
        self._open = ""

    def _text(self, text: str) -> None:
        if self._open and self.responses:
            values = self.responses[-1]
            values[self._open] = values.get(self._open, "") + text


def _time(text: str) -> datetime.datetime:
    """A date of HTTP. Raises ValueError."""
    time = email.utils.parsedate_to_datetime(text)
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
