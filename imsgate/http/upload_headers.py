"""Headers of resumable uploads and of digests: structured fields (RFC 9651), parsed and written.

Sources: draft-ietf-httpbis-resumable-upload, sections 4.1 and 4.2 for ``Upload-*``, and RFC 9530
for digests. Both say that a field of another type is ignored, as if the client had not sent it.
"""

import base64
from collections.abc import Mapping
from typing import Any

from imsgate import hashing
from imsgate.http import structured

PARTIAL_UPLOAD = "application/partial-upload"


def boolean(text: str | None) -> bool | None:
    """The Boolean of an Item; None for anything else."""
    value = _item(text)
    return value if isinstance(value, bool) else None


def integer(text: str | None) -> int | None:
    """The non-negative Integer of an Item; None for anything else."""
    value = _item(text)
    return value if type(value) is int and value >= 0 else None


def digests(text: str | None) -> dict[str, bytes]:
    """The digests of Repr-Digest or Content-Digest by the names that hashlib has for them.

    Unknown algorithms are left out; there are none if the field is malformed.
    """
    members = _members(text, bytes)
    known = {name: value for name, value in members.items() if name in hashing.FIELDS}
    return {hashing.FIELDS[name]: value for name, value in known.items()}


def wanted_digest(text: str | None) -> str | None:
    """hashlib's name of the algorithm that Want-Repr-Digest prefers among those that imsgate
    knows; None if there is none, or the field is malformed."""
    members = _members(text, int)
    known = {name: weight for name, weight in members.items() if name in hashing.FIELDS and weight}
    best = max(known, key=lambda name: known[name], default=None)
    return None if best is None else hashing.FIELDS[best]


def digest_field(digest_by_algorithm: Mapping[str, bytes]) -> str:
    """Repr-Digest or Content-Digest with these digests, by hashlib's names."""
    names = {algorithm: name for name, algorithm in hashing.FIELDS.items()}
    return ", ".join(
        f"{names[algorithm]}=:{base64.b64encode(value).decode('ascii')}:"
        for algorithm, value in digest_by_algorithm.items()
    )


def limits(text: str | None) -> dict[str, int]:
    """The members of Upload-Limit; none if it is malformed."""
    return _members(text, int)


def limits_field(members: Mapping[str, int]) -> str:
    """Upload-Limit with these members."""
    return structured.serialized(dict(members))


def boolean_field(value: bool) -> str:
    """An Item with this Boolean."""
    return "?1" if value else "?0"


def _item(text: str | None) -> Any:
    try:
        return None if text is None else structured.item(text)
    except ValueError:
        return None


def _members(text: str | None, kind: type) -> dict[str, Any]:
    """The members of a Dictionary whose values all have this type; none if one has another."""
    try:
        members = {} if text is None else structured.dictionary(text)
    except ValueError:
        return {}
    return members if all(type(value) is kind for value in members.values()) else {}
