"""What Linux does for large files, and ``os`` does not: reserve, write back early, leave holes."""

import ctypes
import errno
import os
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)

#: File systems and other kernels that cannot; nothing is lost but speed.
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESPIPE})

# The C library's posix_fallocate, which os has, writes every block of the file
# where the file system cannot reserve (NFS before 4.2, CephFS): each image
# would cross the network twice. This one says so instead.
_fallocate = _LIBC.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)

_fstatfs = _LIBC.fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_long))

#: statfs(2): f_type of files in memory, and words that hold any struct statfs, f_type first.
_TMPFS, _STATFS = 0x01021994, 32

_sync_file_range = _LIBC.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint)

#: Of sync_file_range(2): begin to write, or do so and wait until all of it is written.
_BEGIN, _FINISH = 2, 1 | 2 | 4

#: Bytes between two beginnings of writeback. At most twice as many are left for an fsync,
#: which a slow disk (100 MB/s) writes within a second.
WINDOW = 32 << 20

#: What is looked at for zeros at a time, in bytes; no smaller than the blocks of file systems.
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


def reserve(fd: int, size: int) -> bool:
    """Reserve ``size`` bytes; whether the file system can. Raises OSError, ENOSPC above all.

    One in memory would, page by page: 0.3 s for each GiB, in which nothing is received.
    """
    found = (ctypes.c_long * _STATFS)()
    if _call(_fstatfs, fd, found) and found[0] == _TMPFS:
        return False
    return _call(_fallocate, fd, 0, 0, size)


class Writeback:
    """Has a file written to its disk while it grows, one window behind.

    Without it the kernel keeps as much as a fifth of the memory to itself, and an fsync
    after the last byte takes as long as the disk needs for that.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = 0

    def reached(self, size: int) -> None:
        """The file has ``size`` bytes now. Raises OSError for what the disk refused."""
        while size - self._begun >= WINDOW:
            if self._begun:
                _call(_sync_file_range, self._fd, self._begun - WINDOW, WINDOW, _FINISH)
            _call(_sync_file_range, self._fd, self._begun, WINDOW, _BEGIN)
            self._begun += WINDOW


def write(fd: int, chunk: bytes | memoryview) -> None:
    """Write all of it at the file's position. Raises OSError."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_sparsely(fd: int, chunk: bytes) -> None:
    """As :func:`write`, but step over blocks of zeros; the file has holes there.

    The file ends with its last data: give it its size with ``os.ftruncate``.
    """
    begin = 0
    for at in range(0, len(chunk), _BLOCK):
        size = min(_BLOCK, len(chunk) - at)
        # compares in place, and stops at the first byte that is not zero
        if chunk.startswith(_ZEROS[:size], at):
            write(fd, memoryview(chunk)[begin:at])
            os.lseek(fd, size, os.SEEK_CUR)
            begin = at + size
    write(fd, memoryview(chunk)[begin:])


def _call(function: "ctypes._NamedFuncPointer", *arguments: Any) -> bool:
    """Whether this kernel and file system have such a thing. Raises OSError."""
    while function(*arguments):
        number = ctypes.get_errno()
        if number in _CANNOT:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
