"""The token file: who may come in where there is no Keystone.

One JSON object a line: ``sha256`` (of the token, which itself is nowhere
kept), ``user``, ``project``, ``roles`` and optionally ``expires`` (seconds
since the epoch). A token is 256 random bits, so a plain hash is enough: there
is nothing to guess.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One line of the file."""

    sha256: str
    user: str
    project: str
    roles: tuple[str, ...]
    expires: float | None = None


def load(path: str) -> list[Token]:
    """All tokens of the file. Raises BadConfig for a file that cannot be used."""
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
    """The entry for a presented token, unless it had expired at ``when`` (seconds since the epoch).

    Every entry is compared, each in constant time, so that the time taken
    tells nothing about any of them.
    """
    wanted = jsonl.digest(presented)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, wanted):
            found = token
    if found and found.expires is not None and found.expires <= when:
        return None
    return found


def new() -> str:
    """A token of 256 random bits, in letters and digits: no shell or command takes it for more."""
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
    """Append a new token, or the one ``presented``, and return it; the file does not show it.

    Raises BadConfig, changing nothing, when the file there cannot be used, or could not be
    with this token.
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
