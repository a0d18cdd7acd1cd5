"""The token file: users of a gateway without Keystone.

One JSON object per line: ``sha256`` (of the token, which is not stored), ``user``, ``project``,
``roles`` and optionally ``expires`` (seconds since the epoch). A token has 256 random bits and
cannot be guessed, so a hash without salt suffices.
"""

import dataclasses
import hmac
import os
import secrets
from collections.abc import Iterable
from typing import Any

from imsgate.auth import jsonl
from imsgate.errors import BadConfig

_OPTION = "[tokens] token_file"

#: How much of a token's SHA-256 identifies it to an operator.
ID_DIGITS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One line of the file."""

    sha256: str
    user: str
    project: str
    roles: tuple[str, ...]
    expires: float | None = None

    @property
    def id(self) -> str:
        """Names the token in commands, and does not help anybody to use it."""
        return self.sha256[:ID_DIGITS]


def load(path: str) -> list[Token]:
    """All tokens of the file; invalid lines are skipped and logged. Raises BadConfig for a file
    that is missing or cannot be read, or has invalid lines only."""
    return jsonl.read(path, _OPTION, _parse)


def _parse(entry: Any) -> Token:
    if not isinstance(entry["roles"], list):
        raise ValueError("roles is not a list")
    token = Token(**{**entry, "roles": tuple(entry["roles"])})
    jsonl.check_digest("sha256", token.sha256)
    jsonl.check_printable(token.user, token.project, *token.roles)
    jsonl.check_expiry(token.expires)
    return token


def find(tokens: Iterable[Token], presented: str, when: float) -> Token | None:
    """The entry of a presented token, unless it had expired at ``when`` (seconds since the epoch).

    Every entry is compared, each in constant time, so that the time does not depend on them.
    """
    digest = jsonl.digest(presented)
    match = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            match = token
    if match and match.expires is not None and match.expires <= when:
        return None
    return match


def new() -> str:
    """A token of 256 random bits, in letters and digits that need no quoting in a shell."""
    return secrets.token_hex(32)


def add(
    path: str,
    *,
    user: str,
    project: str,
    roles: Iterable[str],
    expires: float | None = None,
    presented: str | None = None,
) -> str:
    """Append a token and return it; it cannot be read from the file.

    ``presented`` is the token; by default it is random. ``expires`` is in seconds since the epoch.
    Raises BadConfig, changing nothing, for an invalid file and for invalid values.
    """
    presented = presented or new()
    token = Token(jsonl.digest(presented), user, project, tuple(roles), expires)
    entry = dataclasses.asdict(token)
    try:
        _parse({**entry, "roles": list(token.roles)})
    except ValueError as error:
        raise BadConfig("the new token", str(error)) from error

    def edit(old: bytes) -> bytes:
        if os.path.exists(path):
            load(path)
        return jsonl.appended(old, entry)

    jsonl.change(path, _OPTION, edit)
    return presented


def remove(path: str, token_id: str) -> bool:
    """Remove the token with this id, or this whole SHA-256; return whether it existed.

    Raises BadConfig if the file cannot be read or written.
    """

    def is_removed(entry: Any) -> bool:
        return len(token_id) >= ID_DIGITS and str(entry["sha256"]).startswith(token_id)

    return jsonl.remove(path, _OPTION, is_removed)
