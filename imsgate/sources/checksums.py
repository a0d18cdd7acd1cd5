"""Files of digests that publishers of images offer: text in, a digest out. Without side effects.

Three formats are read: GNU (``sha256sum``), BSD (``sha256``, ``sha256sum --tag``, ``openssl dgst``)
and a digest alone in a file that is named after the image. All other lines are ignored, such as
comments and the armor of a signed text.
"""

import dataclasses
import re
from collections.abc import Iterator

from imsgate import hashing
from imsgate.errors import ChecksumUnknown

_HEX = r"[0-9a-fA-F]{32,128}"
_GNU = re.compile(rf"({_HEX})[ \t]+\*?(\S.*)")
_BSD = re.compile(rf"([A-Za-z0-9-]+) ?\((.+)\) ?= ?({_HEX})")
_ALONE = re.compile(_HEX)

#: The algorithm of a digest without a name, by the number of its hexadecimal digits.
_BY_LENGTH = {2 * hashing.digest_size(name): name for name in hashing.DOWNLOAD}


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """The expected digest of a file, in lower-case hexadecimal digits."""

    algorithm: str
    value: str


def digest_of(name: str, text: str, text_name: str) -> Digest:
    """The strongest digest in ``text`` for the file ``name``.

    A line counts if it has exactly this name, with or without ``./`` before it. ``text_name`` is
    the name of the file with the text. Raises ChecksumUnknown.
    """
    found = [digest for line_name, digest in _lines(name, text, text_name) if line_name == name]
    if not found:
        raise ChecksumUnknown(problem=f"{text_name!r} has no digest of {name!r}")
    strongest = max(found, key=lambda digest: hashing.DOWNLOAD.index(digest.algorithm))
    if any(d.algorithm == strongest.algorithm and d != strongest for d in found):
        raise ChecksumUnknown(problem=f"{text_name!r} has different digests of {name!r}")
    return strongest


def _lines(name: str, text: str, text_name: str) -> Iterator[tuple[str, Digest]]:
    """The file name and the digest of each line that has one."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    lines = [line for line in lines if line]
    if len(lines) == 1 and text_name.startswith(f"{name}.") and _ALONE.fullmatch(lines[0]):
        lines = [f"{lines[0]}  {name}"]
    for line in lines:
        if match := _GNU.fullmatch(line):
            value, line_name = match.groups()
            algorithm = _BY_LENGTH.get(len(value))
        elif match := _BSD.fullmatch(line):
            label, line_name, value = match.groups()
            algorithm = _algorithm(label, len(value))
        else:
            continue
        if algorithm is not None:
            yield line_name.removeprefix("./"), Digest(algorithm, value.lower())


def _algorithm(label: str, digits: int) -> str | None:
    """The algorithm that a line names, such as SHA256 or SHA2-256; None if it is not supported, or
    if the digest is not as long as its digests are."""
    name = label.lower().replace("sha2-", "sha").replace("-", "")
    return name if _BY_LENGTH.get(digits) == name else None
