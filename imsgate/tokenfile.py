"""The token file: who may come in where there is no Keystone.

One JSON object a line: ``sha256`` (of the token, which itself is nowhere
kept), ``user``, ``project``, ``roles`` and optionally ``expires`` (seconds
since the epoch). A token is 256 random bits, so a plain hash is enough: there
is nothing to guess.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator

from imsgate.errors import BadConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One line of the file."""

    sha256: str
    user: str
    project: str
    roles: tuple[str, ...]
    expires: float | None = None


def digest(token: str) -> str:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def load(path: str) -> list[Token]:
    """All tokens of the file. Raises BadConfig for a file that cannot be used."""
    try:
        with open(path, encoding="utf-8") as file:
            return [
                _parse(path, number, line) for number, line in enumerate(file, 1) if line.strip()
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig("[tokens] token_file", f"{path} cannot be read: {error}") from error


def _parse(path: str, number: int, line: str) -> Token:
    try:
        entry = json.loads(line)
        if not isinstance(entry["roles"], list):
            raise ValueError("roles is not a list")
        token = Token(**{**entry, "roles": tuple(entry["roles"])})
        if len(bytes.fromhex(token.sha256)) != hashlib.sha256().digest_size:
            raise ValueError("sha256 is not 64 hexadecimal digits")
        for text in (token.user, token.project, *token.roles):
            if not (isinstance(text, str) and text.isprintable()):
                raise ValueError(f"{text!r} is not printable text")
        if not isinstance(token.expires, int | float | None):
            raise ValueError("expires is not a number of seconds")
    except (ValueError, TypeError, KeyError) as error:
        raise BadConfig("[tokens] token_file", f"{path} line {number}: {error}") from error
    return token


def find(tokens: Iterable[Token], presented: str, when: float) -> Token | None:
    """The entry for a presented token, unless it had expired at ``when`` (seconds since the epoch).

    Every entry is compared, each in constant time, so that the time taken
    tells nothing about any of them.
    """
    wanted = digest(presented)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, wanted):
            found = token
    if found and found.expires is not None and found.expires <= when:
        return None
    return found


def new() -> str:
    """A token of 256 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(32)


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

    The file is made with mode 0600 and is replaced whole, so that a reader
    never sees half of it; two writers wait for one another.
    """
    presented = presented or new()
    token = Token(digest(presented), user, project, tuple(roles), expires)
    entry = {key: value for key, value in dataclasses.asdict(token).items() if value is not None}
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    with _locked(path + ".lock"):
        old = b""
        if os.path.exists(path):
            load(path)
            with open(path, "rb") as file:
                old = file.read()
            if old and not old.endswith(b"\n"):
                old += b"\n"
        _replace(path, old + json.dumps(entry).encode() + b"\n")
    return presented


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: str, content: bytes) -> None:
    temporary = path + ".new"
    fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
