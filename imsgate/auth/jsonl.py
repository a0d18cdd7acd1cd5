"""Files with one JSON object per line, replaced atomically and read again when they change.

Empty lines and lines that begin with ``#`` mean nothing, and neither does a comment after an
object. Lines end with LF, CR LF or CR.
"""

import codecs
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from imsgate.errors import BadConfig

LOG = logging.getLogger(__name__)

T = TypeVar("T")

_YEAR_10000_SECONDS = 253402300800
_DIGEST = re.compile("[0-9a-f]{64}")
_NOT_UTF_8 = "it is not UTF-8 (if the file was saved as UTF-16 or Unicode, save it as UTF-8)"
_DECODER = json.JSONDecoder()


def read(path: str, option: str, parse: Callable[[Any], T]) -> list[T]:
    """The objects of all lines, each converted by ``parse``.

    ``parse`` raises ValueError, TypeError or KeyError for an invalid object. Such a line is
    skipped and logged, so that it shuts out nobody but the one it is about. Raises BadConfig,
    naming ``option``, for a file that is missing or cannot be read, and for one of whose lines
    none is valid.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise BadConfig(option, f"{path} cannot be read: {error}") from error
    entries, problems = [], []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entries += [parse(value) for value in _value(line)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            problems.append(f"{path} line {number}: {_description(error)}")
    if problems and not entries:
        raise BadConfig(option, problems[0])
    for problem in problems:
        LOG.error("%s; the line is skipped (%s)", problem, option)
    return entries


def _value(line: bytes) -> list[Any]:
    """The JSON object of a line; nothing for an empty line and for a comment.

    Raises ValueError, RecursionError.
    """
    # Some editors begin a file with a byte order mark.
    text = line.removeprefix(codecs.BOM_UTF8).strip()
    if not text or text.startswith(b"#"):
        return []
    # Decoded here, because json would also detect UTF-16 and UTF-32.
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(_NOT_UTF_8) from error
    if "\0" in decoded:  # UTF-16 without a byte order mark
        raise ValueError(_NOT_UTF_8)
    value, end = _DECODER.raw_decode(decoded)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    rest = decoded[end:].lstrip()
    if rest and not rest.startswith("#"):
        raise ValueError(f"after the JSON object, there is {rest[:20]!r}")
    return [value]


def _description(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


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
    return (
        old + (b"\n" if old and not old.endswith((b"\n", b"\r")) else b"") + line.encode() + b"\n"
    )


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


def remove(path: str, option: str, is_removed: Callable[[Any], bool]) -> bool:
    """Remove the lines for whose value ``is_removed`` returns true; return whether there were any.

    All other lines, comments and invalid ones too, stay as they are. Raises BadConfig, naming
    ``option``, if the file is missing or cannot be read or written.
    """
    removed = False

    def stays(line: bytes) -> bool:
        nonlocal removed
        try:
            match = any(map(is_removed, _value(line)))
        except (ValueError, TypeError, KeyError, RecursionError):
            return True
        removed = removed or match
        return not match

    def edit(old: bytes) -> bytes:
        read(path, option, lambda value: value)  # reports invalid lines
        return b"".join(line for line in old.splitlines(keepends=True) if stays(line))

    change(path, option, edit)
    return removed


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
        self._lock = threading.Lock()
        # The version is taken before the files are read, so that a change in between is read
        # later. One attribute for both, so that concurrent threads never mix two pairs.
        self._loaded = (self._stat(), load())

    def current(self, broken: Callable[[BadConfig], T]) -> T:
        """The current value; while the files are invalid, what ``broken`` returns."""
        version = self._stat()
        loaded_version, value = self._loaded
        if version != loaded_version:
            # One thread reads, so that each version is read, and its problems are logged, once.
            with self._lock:
                return self._reloaded(broken)
        return value

    def _reloaded(self, broken: Callable[[BadConfig], T]) -> T:
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
