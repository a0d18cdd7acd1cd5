"""Links to upstream in its responses, which must lead clients to this service instead."""

import re
from collections.abc import Sequence

from imsgate.forward.fields import Fields

#: The members of the Image API's and IMS's documents that are links, and of the list of versions.
_MEMBERS = "self|file|schema|first|next|href"
_JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
#: Space between a member's name and its value. No service sends more.
_MAX_SPACE = 8


class Links:
    """Replaces the URLs of upstream, given as regular expressions."""

    def __init__(self, names: Sequence[str]) -> None:
        urls = "|".join(f"(?:{name})" for name in names)
        self._location = re.compile(rf"(?:{urls})(?=[/?#]|\Z)", re.IGNORECASE)
        # JSON may spell a slash as "\/".
        escaped = urls.replace("/", r"\\?/")
        space = rf"\s{{0,{_MAX_SPACE}}}"
        self._member = re.compile(
            rf'("(?:{_MEMBERS})"{space}:{space}")(?:{escaped})(?=[/?#"\\])'.encode(), re.IGNORECASE
        )
        # Each character of a URL may be an escaped slash.
        self._longest = 2 * max(map(len, names)) + 2 * _MAX_SPACE + 16

    def in_fields(self, fields: Fields, public_url: str) -> Fields:
        """``fields`` with the public URL in Location and Content-Location."""

        def public(text: str) -> str:
            match = self._location.match(text)
            return public_url + text[match.end() :] if match else text

        names = ("location", "content-location")
        return [(name, public(text) if name.lower() in names else text) for name, text in fields]

    def rewriter(self, public_url: str) -> "JsonLinks":
        return JsonLinks(self._member, self._longest, public_url)


class JsonLinks:
    """Replaces the links in one JSON document, which arrives in pieces of any size."""

    def __init__(self, member: re.Pattern[bytes], longest: int, public_url: str) -> None:
        """``longest`` is the size of the longest match in bytes, with what follows it."""
        self._member = member
        self._longest = longest
        self._public = public_url.encode()
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be sent once ``chunk`` has arrived: all but a possible beginning of a link."""
        return self._rewritten(chunk, self._longest)

    def finish(self) -> bytes:
        return self._rewritten(b"", 0)

    def _rewritten(self, chunk: bytes, keep: int) -> bytes:
        content, done, pieces = self._rest + chunk, 0, []
        end = max(len(content) - keep, 0)
        for match in self._member.finditer(content):
            # A later piece might make it longer, or show that it is not one.
            if keep and match.start() >= end:
                break
            pieces += [content[done : match.end(1)], self._public]
            done = match.end()
        end = max(end, done)
        self._rest = content[end:]
        return b"".join([*pieces, content[done:end]])


def has_links(fields: Fields) -> bool:
    """Whether the body is a JSON document that is sent as it is."""
    values = {name.lower(): text.strip() for name, text in fields}
    if values.get("content-encoding", "identity").lower() != "identity":
        return False
    is_json = _JSON.fullmatch(values.get("content-type", ""))
    return bool(is_json) and "content-range" not in values
