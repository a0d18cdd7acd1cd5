"""Files with one JSON object per line, replaced atomically and read again when they change."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from imsgate.errors import BadConfig

T = TypeVar("T")

_YEAR_10000_SECONDS = 253402300800
_DIGEST = re.compile("[0-9a-f]{64}")


def read(path: str, option: str, parse: Callable[[Any], T]) -> list[T]:
    """The objects of all lines, each converted by ``parse``.

    ``parse`` raises ValueError, TypeError or KeyError for an invalid object. Raises BadConfig,
    naming ``option``, for a missing or invalid file.
    """
    entries = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    entries.append(_parsed(line, f"{path} line {number}", option, parse))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(option, f"{path} cannot be read: {error}") from error
    return entries


def _parsed(line: str, place: str, option: str, parse: Callable[[Any], T]) -> T:
    try:
        return parse(json.loads(line))
    except (ValueError, TypeError, KeyError) as error:
        raise BadConfig(option, f"{place}: {error}") from error


def check_printable(*texts: Any) -> None:
    """Raises ValueError for anything but text that is valid in a header."""
    for text in texts:
        if not (isinstance(text, str) and text.isprintable()):
            raise ValueError(f"{text!r} is not printable text")


def digest(token: str) -> str:
    """The form in which files store a token: its SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def check_digest(name: str, value: Any) -> None:
    """Raises ValueError, naming the field, unless the value looks like a :func:`digest`."""
    if not (isinstance(value, str) and _DIGEST.fullmatch(value)):
        raise ValueError(f"{name} is not 64 lower-case hexadecimal digits")


def check_expiry(expires: Any) -> None:
    """Raises ValueError unless this is None or a time in seconds since the epoch."""
    # NaN would never expire, and datetime ends with the year 9999.
    if expires is not None and not (
        isinstance(expires, int | float) and 0 <= expires < _YEAR_10000_SECONDS
    ):
        raise ValueError("expires is not a number of seconds since 1970, before the year 10000")


def appended(old: bytes, entry: dict[str, Any]) -> bytes:
    """The content of a file with one more line, without members that are None."""
    line = json.dumps({key: value for key, value in entry.items() if value is not None})
    return old + (b"\n" if old and not old.endswith(b"\n") else b"") + line.encode() + b"\n"


def change(path: str, option: str, edit: Callable[[bytes], bytes]) -> None:
    """Replace a file's content with what ``edit`` returns for it (``b""`` for a new file).

    The replacement is atomic, and writers wait for one another. A new file gets mode 0600. An
    existing one keeps its owner, and stays readable by its group if it was. Raises BadConfig,
    naming ``option``, if the file cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with _locked(path + ".lock"):
            old = b""
            if os.path.exists(path):
                with open(path, "rb") as file:
                    old = file.read()
            _replace(path, edit(old))
    except OSError as error:
        raise BadConfig(option, f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    # Others may be able to write in that directory: do not follow their link to root's file.
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        give_to_owner_of(fd, os.path.dirname(path) or ".")
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: str, content: bytes) -> None:
    temporary = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(fd, "wb") as file:
        if os.path.exists(path):
            give_to_owner_of(fd, path)
            os.fchmod(fd, 0o600 | (os.stat(path).st_mode & stat.S_IRGRP))
        else:
            give_to_owner_of(fd, os.path.dirname(path) or ".")
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def give_to_owner_of(fd: int, path: str) -> None:
    """Change the owner of an open file to that of the file or directory ``path``.

    The operator who runs a command is often root, and the service that reads the file is not.
    Only root can change an owner; for others this does nothing.
    """
    owner = os.stat(path)
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


class WatchedFile(Generic[T]):
    """A value read from files, and read again after one of them has changed."""

    def __init__(self, paths: Sequence[str], load: Callable[[], T]) -> None:
        """``load`` reads the files. Raises BadConfig if it does."""
        self._paths = paths
        self._load = load
        # The version is taken before the files are read, so that a change in between is read
        # later. One attribute for both, so that concurrent threads never mix two pairs.
        self._loaded = (self._stat(), load())

    def current(self, broken: Callable[[BadConfig], T]) -> T:
        """The current value; while the files are invalid, what ``broken`` returns."""
        version = self._stat()
        loaded_version, value = self._loaded
        if version != loaded_version:
            try:
                value = self._load()
            except BadConfig as problem:
                value = broken(problem)
                if isinstance(problem.__cause__, OSError):
                    # A file that cannot be read now may become readable without a change.
                    return value
            self._loaded = (version, value)
        return value

    def _stat(self) -> list[tuple[int, ...] | None]:
        return [_version(path) for path in self._paths]


def _version(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
