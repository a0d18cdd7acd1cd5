"""The key file: access keys whose owners sign their requests (AK/SK).

One JSON object per line: ``access``, ``sealed`` (the encrypted secret), ``user``, ``projects``
(requests that name no project use the first one), ``roles``, and optionally ``expires`` (seconds
since the epoch) and ``token_sha256`` (the hash of a temporary key's security token). The secret
itself is needed to verify a signature, so a hash of it would not suffice. The Fernet key that
encrypts all secrets is in a separate file that only its owner can read.
"""

import dataclasses
import os
import secrets
import string
from collections.abc import Iterable, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from imsgate.auth import jsonl
from imsgate.errors import BadConfig

_OPTION = "[aksk] key_file"
_SEAL_OPTION = "[aksk] seal_file"
_LETTERS = string.ascii_uppercase + string.digits
_FIELDS = {"access", "sealed", "user", "projects", "roles", "expires", "token_sha256"}


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One line of the file, its secret in the clear."""

    access: str
    secret: str = dataclasses.field(repr=False)
    user: str
    projects: tuple[str, ...]
    roles: tuple[str, ...]
    expires: float | None = None
    token_sha256: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Issued:
    """A new key as its owner receives it. The secret and token cannot be read again."""

    access: str
    secret: str = dataclasses.field(repr=False)
    token: str | None = dataclasses.field(default=None, repr=False)


def load(path: str, seal_path: str) -> dict[str, Key]:
    """All keys by their access key; invalid lines are skipped and logged.

    Raises BadConfig for files that are missing or cannot be used, and for a key file that has
    invalid lines only.
    """
    seal = _seal(seal_path)
    by_access: dict[str, Key] = {}

    def parse(entry: Any) -> Key:
        key = _parse(entry, seal)
        if key.access in by_access:
            raise ValueError(f"the access key {key.access} is in an earlier line already")
        by_access[key.access] = key
        return key

    jsonl.read(path, _OPTION, parse)
    return by_access


def entries(path: str) -> list[dict[str, Any]]:
    """The valid lines of the file, with encrypted secrets. Raises BadConfig as ``load`` does."""

    def parse(entry: Any) -> dict[str, Any]:
        _check(entry)
        return dict(entry)

    return jsonl.read(path, _OPTION, parse)


def _check(entry: Any) -> None:
    """Raises ValueError or KeyError for invalid fields, except for the secret."""
    if unknown := set(entry) - _FIELDS:
        raise ValueError(f"{min(unknown)!r} is not a field")
    for name in ("projects", "roles"):
        if not (isinstance(entry[name], list) and entry[name]):
            raise ValueError(f"{name} is not a list, or is empty")
    jsonl.check_printable(entry["access"], entry["user"], *entry["projects"], *entry["roles"])
    jsonl.check_expiry(entry.get("expires"))
    if entry.get("token_sha256") is not None:
        jsonl.check_digest("token_sha256", entry["token_sha256"])


def _parse(entry: Any, seal: Fernet) -> Key:
    _check(entry)
    try:
        secret = seal.decrypt(entry["sealed"]).decode()
    except InvalidToken:
        raise ValueError("its secret was encrypted with another key") from None
    return Key(
        access=entry["access"],
        secret=secret,
        user=entry["user"],
        projects=tuple(entry["projects"]),
        roles=tuple(entry["roles"]),
        expires=entry.get("expires"),
        token_sha256=entry.get("token_sha256"),
    )


def _seal(path: str) -> Fernet:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
        if mode & 0o077:
            raise BadConfig(
                _SEAL_OPTION, f"{path} must be accessible to its owner only (chmod 600)"
            )
        return Fernet(content.strip())
    except (OSError, ValueError) as error:
        problem = f"{path} cannot be used: {error}; `imsgate key add` creates it"
        raise BadConfig(_SEAL_OPTION, problem) from error


def _make_seal(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(fd, "wb") as file:
            jsonl.give_to_owner_of(fd, os.path.dirname(path) or ".")
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadConfig(_SEAL_OPTION, f"{path} cannot be created: {error.strerror}") from error


def add(
    path: str,
    seal_path: str,
    *,
    user: str,
    projects: Sequence[str],
    roles: Iterable[str],
    expires: float | None = None,
    temporary: bool = False,
    pair: tuple[str, str] | None = None,
) -> Issued:
    """Append a new key and return it.

    ``pair`` is its access key and secret; by default they are random. A ``temporary`` key has a
    security token. ``expires`` is in seconds since the epoch. The first call creates the file of
    the encryption key. Raises BadConfig, changing nothing, for invalid files, for invalid values
    and for an access key that exists already.
    """
    access, secret = pair or (
        _random(20, _LETTERS),
        _random(40, string.ascii_letters + "0123456789"),
    )
    token = secrets.token_hex(48) if temporary else None

    entry = {
        "access": access,
        "user": user,
        "projects": list(projects),
        "roles": list(roles),
        "expires": expires,
        "token_sha256": jsonl.digest(token) if token else None,
    }
    try:
        _check(entry)
    except ValueError as error:
        raise BadConfig("the new key", str(error)) from error

    def edit(old: bytes) -> bytes:
        if not old and not os.path.exists(seal_path):
            _make_seal(seal_path)
        if access in (load(path, seal_path) if old else {}):
            raise BadConfig(_OPTION, f"{path} has the access key {access} already")
        sealed = _seal(seal_path).encrypt(secret.encode()).decode()
        return jsonl.appended(old, {**entry, "sealed": sealed})

    jsonl.change(path, _OPTION, edit)
    return Issued(access, secret, token)


def remove(path: str, access: str) -> bool:
    """Remove a key; return whether it existed.

    Raises BadConfig if the file cannot be read or written.
    """
    return jsonl.remove(path, _OPTION, lambda entry: bool(entry["access"] == access))


def _random(length: int, letters: str) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))
