"""The unfinished uploads of this user, so that another process can continue them.

One JSON file for each, in ``$XDG_STATE_HOME/imsgate-client/uploads``. It contains no credentials.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imsgate.client.failures import Failure
from imsgate.client.source import FileSource

_HEAD_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnfinishedUpload:
    """One upload. ``size`` is in bytes, ``mtime`` in nanoseconds; ``head`` is the SHA-256 of the
    first MiB. ``created`` says whether the upload also created the image, with the attributes in
    ``record``; ``store`` is the store that the user named, or None.
    """

    image_id: str
    endpoint: str
    path: str
    size: int
    mtime: int
    head: str
    created: bool
    record: Mapping[str, Any]
    store: str | None

    def is_of(self, source: FileSource) -> bool:
        """Whether the file has not changed since the upload began."""
        return (self.size, self.mtime, self.head) == (source.size, source.mtime, head_of(source))


def head_of(source: FileSource) -> str:
    """The SHA-256 of the first MiB of a file."""
    return hashlib.sha256(os.pread(source.file.fileno(), _HEAD_BYTES, 0)).hexdigest()


def directory(environ: Mapping[str, str] = os.environ) -> pathlib.Path:
    """Where the files are."""
    home = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return pathlib.Path(home, "imsgate-client", "uploads")


class Journal:
    """The unfinished uploads in a directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def entries(self) -> list[UnfinishedUpload]:
        """All of them, by file name; a file that cannot be read is left out."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(UnfinishedUpload(**json.loads(path.read_text())))
        return sorted(found, key=lambda entry: entry.path)

    def find(
        self, path: str, endpoint: str, same: Callable[[UnfinishedUpload], bool]
    ) -> UnfinishedUpload | None:
        """The upload of this file to this service that ``same`` accepts."""
        for entry in self.entries():
            if (entry.path, entry.endpoint) == (path, endpoint) and same(entry):
                return entry
        return None

    def get(self, image_id: str) -> UnfinishedUpload | None:
        return next((entry for entry in self.entries() if entry.image_id == image_id), None)

    def save(self, entry: UnfinishedUpload) -> None:
        """Durably, because the server may outlive a crash of this machine. Raises Failure."""
        path = self._path(entry.image_id)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            with open(new, "w", encoding="utf-8") as file:
                json.dump(dataclasses.asdict(entry), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}") from error

    def remove(self, image_id: str) -> None:
        self._path(image_id).unlink(missing_ok=True)

    def _path(self, image_id: str) -> pathlib.Path:
        return self._directory / f"{hashlib.sha256(image_id.encode()).hexdigest()[:32]}.json"

    @contextlib.contextmanager
    def locked(self, source: FileSource, endpoint: str) -> Iterator[None]:
        """Keep other processes from uploading the same file to the same service.

        Raises Failure if one does.
        """
        # One byte of one file for each, so that no file is left. The lock ends with the process.
        key = hashlib.sha256(f"{endpoint}\n{source.path}".encode()).digest()
        position = int.from_bytes(key[:7], "big")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = open(self._directory / "lock", "ab")  # noqa: SIM115
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}") from error
        with lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)
            except OSError:
                raise Failure(f"another process is uploading {source.path}") from None
            yield
