"""Files of one JSON object a line, replaced whole and noticed when they change."""

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

_YEAR_10000 = 253402300800
_DIGEST = re.compile("[0-9a-f]{64}")


def read(path: str, option: str, parse: Callable[[Any], T]) -> list[T]:
    """Every line's object, parsed; ``parse`` raises ValueError, TypeError or KeyError.

    Raises BadConfig, naming the option, for a file that cannot be used.
    """
    found = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_parsed(line, f"{path} line {number}", option, parse))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(option, f"{path} cannot be read: {error}") from error
    return found


def _parsed(line: str, place: str, option: str, parse: Callable[[Any], T]) -> T:
    try:
        return parse(json.loads(line))
    except (ValueError, TypeError, KeyError) as error:
        raise BadConfig(option, f"{place}: {error}") from error


def check_printable(*texts: Any) -> None:
    """Raises ValueError for what is no text, or could not stand in a header."""
    for text in texts:
        if not (isinstance(text, str) and text.isprintable()):
            raise ValueError(f"{text!r} is not printable text")


def digest(token: str) -> str:
    """What a file keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def check_digest(name: str, kept: Any) -> None:
    """Raises ValueError, naming the field, for what no :func:`digest` is."""
    if not (isinstance(kept, str) and _DIGEST.fullmatch(kept)):
        raise ValueError(f"{name} is not 64 lower-case hexadecimal digits")


def check_expiry(expires: Any) -> None:
    """Raises ValueError for what is neither absent nor a time, in seconds since the epoch."""
    # NaN is never reached, and what comes after the year 9999 has no date.
    if expires is not None and not (
        isinstance(expires, int | float) and 0 <= expires < _YEAR_10000
    ):
        raise ValueError("expires is not a number of seconds since 1970, before the year 10000")


def appended(old: bytes, entry: dict[str, Any]) -> bytes:
    """The content of a file with one line more; what is None is left out."""
    line = json.dumps({key: value for key, value in entry.items() if value is not None})
    return old + (b"\n" if old and not old.endswith(b"\n") else b"") + line.encode() + b"\n"


def change(path: str, option: str, edit: Callable[[bytes], bytes]) -> None:
    """Replace a file's content by what ``edit`` makes of it (``b""`` where there is none).

    The file is replaced whole, so that a reader never sees half of it; two writers wait for one
    another. A new one gets mode 0600; one that is there stays its owner's, and readable for its
    group where it was. Raises BadConfig, naming the option, where that cannot be.
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
    # Of whoever may write in that directory: not a link of theirs to a file of root's.
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        give(fd, os.path.dirname(path) or ".")
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
            give(fd, path)
            os.fchmod(fd, 0o600 | (os.stat(path).st_mode & stat.S_IRGRP))
        else:
            give(fd, os.path.dirname(path) or ".")
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def give(fd: int, owners: str) -> None:
    """Make the open file one of whom the file or directory ``owners`` belongs to.

    An operator is root, and the service that must read what the operator's command wrote most
    often is not. Nobody but root can give a file away, or needs to.
    """
    owner = os.stat(owners)
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


class WatchedFile(Generic[T]):
    """What files say, read again whenever one of them changes."""

    def __init__(self, paths: Sequence[str], load: Callable[[], T]) -> None:
        """Raises BadConfig when ``load`` does."""
        self._paths = paths
        self._load = load
        # Looked at before it is read: what changes in between is read once more. Both in one
        # attribute: threads that read at the same time leave a pair that belongs together.
        self._known = (self._stat(), load())

    def current(self, broken: Callable[[BadConfig], T]) -> T:
        """What they say now; ``broken`` says what counts while they cannot be used."""
        version = self._stat()
        known, value = self._known
        if version != known:
            try:
                value = self._load()
            except BadConfig as problem:
                value = broken(problem)
                if isinstance(problem.__cause__, OSError):
                    # It may pass without a change of the file.
                    return value
            self._known = (version, value)
        return value

    def _stat(self) -> list[tuple[int, ...] | None]:
        return [_version(path) for path in self._paths]


def _version(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
