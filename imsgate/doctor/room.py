"""Room: the free space of each store and of the state directory, and their free inodes."""

import os
from collections.abc import Iterator

from imsgate import errors
from imsgate.doctor.diagnosis import Diagnosis, Severity, counted
from imsgate.doctor.installation import Installation
from imsgate.stores.base import Room

_GIB = 1 << 30

#: Less than this share of a medium is little, if it is also less than this number of bytes, which
#: is that of the alert in etc/prometheus-rules.yaml.
_LITTLE_SHARE = 0.05
_LITTLE_BYTES = 20e9
#: With less than this, the next upload or the next write of the database may fail.
_NOTHING_BYTES = 64 << 20
#: The same for files.
_NOTHING_FILES = 100

_ADVICE = "Delete images that nobody needs, enlarge the medium, or add a store."
_ADVICE_FILES = (
    "Delete files on this file system, or create it again with more inodes (mkfs.ext4 -i)."
)


def check(installation: Installation) -> Iterator[Diagnosis]:
    """Findings for each store and for the state directory."""
    if installation.has_records:
        for backend in installation.backends:
            name = f"room.{backend.id}"
            try:
                store = backend.store
            except errors.StoreUnavailable as error:
                yield Diagnosis(check=name, severity=Severity.SKIPPED, message=f"{error}.")
                continue
            if store.read_only:
                message = "Nothing is written to this store."
                yield Diagnosis(check=name, severity=Severity.SKIPPED, message=message)
                continue
            yield judge(name, store.room())
            yield from _files(name, store.properties().get("data_dir"))
    state = installation.conf.state_path
    if os.path.isdir(state):
        status = os.statvfs(state)
        room = Room(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
        yield judge("room.state", room if status.f_blocks else Room())
        yield from _files("room.state", state)


def judge(name: str, room: Room) -> Diagnosis:
    """Whether the room, without what running uploads have announced, is enough."""
    if room.free is None:
        message = "The driver cannot tell how much space is free."
        return Diagnosis(check=name, severity=Severity.SKIPPED, message=message)
    free = room.free - (room.reserved or 0)
    message = f"{max(free, 0) / _GIB:.1f} GiB are free"
    if room.total:
        message += f" of {room.total / _GIB:.1f} GiB"
    if room.reserved:
        message += f", without {room.reserved / _GIB:.1f} GiB that running uploads will need"
    severity = _severity(free, room.total)
    if severity is Severity.OK:
        return Diagnosis(check=name, severity=severity, message=f"{message}.")
    return Diagnosis(check=name, severity=severity, message=f"Only {message}.", advice=_ADVICE)


def _severity(free: int, total: int | None) -> Severity:
    if free < _NOTHING_BYTES:
        return Severity.ERROR
    little = min(_LITTLE_BYTES, _LITTLE_SHARE * total) if total else _LITTLE_BYTES
    return Severity.WARNING if free < little else Severity.OK


def _files(name: str, directory: str | None) -> Iterator[Diagnosis]:
    """The inodes of a local directory."""
    if directory is None:
        return
    try:
        status = os.statvfs(directory)
    except OSError:  # the check of the stores reports it
        return
    yield judge_files(f"{name}.inodes", status.f_favail, status.f_files)


def judge_files(name: str, free: int, total: int) -> Diagnosis:
    """Whether enough files can be created. ``total`` is 0 on file systems without a limit."""
    message = f"{counted(free, 'more file')} can be created"
    if not total:
        severity, message = Severity.OK, "The file system does not limit the number of files"
    elif free < _NOTHING_FILES:
        severity = Severity.ERROR
    else:
        severity = Severity.WARNING if free < _LITTLE_SHARE * total else Severity.OK
    advice = "" if severity == Severity.OK else _ADVICE_FILES
    return Diagnosis(check=name, severity=severity, message=f"{message}.", advice=advice)
