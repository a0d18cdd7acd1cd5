"""Linux calls for large files: reserve space, write back early, make holes, copy."""

import ctypes
import errno
import fcntl
import os
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)

#: Errors of file systems and kernels that lack a call. Working without it only costs speed.
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESPIPE})

# Not os.posix_fallocate: where the file system cannot reserve space (NFS before 4.2, CephFS),
# the C library writes every block of the file instead, so each image would cross the network
# twice. fallocate(2) fails there.
_fallocate = _LIBC.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)

_fstatfs = _LIBC.fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_long))

#: f_type of tmpfs in statfs(2).
_TMPFS_MAGIC = 0x01021994
#: Words that hold struct statfs on any platform. Its first word is f_type.
_STATFS_WORDS = 32

_sync_file_range = _LIBC.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint)

#: Flags of sync_file_range(2): start writing a range; start it and wait until it is written.
_START, _FINISH = 2, 1 | 2 | 4

#: Bytes after which writeback of the next range is started.
WINDOW_BYTES = 8 << 20
#: Windows that are being written at the same time. A disk that pauses does not stop an upload
#: at once, and an fsync has at most one window more left to write: a slow disk (100 MB/s) does
#: that within half a second.
WINDOWS = 4

#: Bytes that are tested for zeros at a time; at least the block size of any file system.
_BLOCK_BYTES = 1 << 16
_ZEROS = bytes(_BLOCK_BYTES)

#: Request of ioctl(2): share the blocks of another file. In linux/fs.h.
_FICLONE = 0x40049409
#: Errors of file systems that do not copy these files. Then their bytes have to be moved.
_NOT_COPIED = _UNSUPPORTED | {errno.EXDEV, errno.ENOTTY, errno.EPERM, errno.ETXTBSY}

#: Flag of fallocate(2): reserve without changing the file's size.
_KEEP_SIZE = 1


def reserve(fd: int, size: int, *, keep_size: bool = False) -> bool:
    """Reserve ``size`` bytes; return False where the file system cannot.

    The file's size becomes ``size`` too, unless ``keep_size`` is true.

    Raises OSError, ENOSPC in particular. Nothing is reserved on tmpfs: it would allocate page by
    page, which takes 0.3 s per GiB during which nothing is received.
    """
    status = (ctypes.c_long * _STATFS_WORDS)()
    if _call(_fstatfs, fd, status) and status[0] == _TMPFS_MAGIC:
        return False
    return _call(_fallocate, fd, _KEEP_SIZE if keep_size else 0, 0, size)


class Writeback:
    """Has the kernel write a growing file to disk, at most a few windows behind the end.

    Otherwise the kernel keeps up to a fifth of the memory as unwritten data, and the fsync after
    the last byte takes as long as the disk needs for that.
    """

    def __init__(self, fd: int, size: int = 0) -> None:
        """``size`` is that of the file now, in bytes; what it has needs no writeback."""
        self._fd = fd
        self._begin = self._started = size

    def reached(self, size: int) -> None:
        """Report that the file has ``size`` bytes. Raises OSError if an earlier write failed."""
        while size - self._started >= WINDOW_BYTES:
            oldest = self._started - WINDOWS * WINDOW_BYTES
            if oldest >= self._begin:
                _call(_sync_file_range, self._fd, oldest, WINDOW_BYTES, _FINISH)
            _call(_sync_file_range, self._fd, self._started, WINDOW_BYTES, _START)
            self._started += WINDOW_BYTES


def write(fd: int, chunk: bytes | memoryview) -> None:
    """Write all of ``chunk`` at the file's position. Raises OSError."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_sparsely(fd: int, chunk: bytes) -> None:
    """Like :func:`write`, but leave a hole in the file in place of each block of zeros.

    A hole at the end does not extend the file: set the file's size with ``os.ftruncate``.
    """
    begin = 0
    for at in range(0, len(chunk), _BLOCK_BYTES):
        size = min(_BLOCK_BYTES, len(chunk) - at)
        # startswith copies nothing and stops at the first byte that is not zero.
        if chunk.startswith(_ZEROS[:size], at):
            write(fd, memoryview(chunk)[begin:at])
            os.lseek(fd, size, os.SEEK_CUR)
            begin = at + size
    write(fd, memoryview(chunk)[begin:])


def clone(fd: int, source: int) -> bool:
    """Let the file have the blocks of ``source`` (a reflink), which takes no space and no time.

    Returns False where the file system cannot. Raises OSError.
    """
    try:
        fcntl.ioctl(fd, _FICLONE, source)
    except OSError as error:
        if error.errno in _NOT_COPIED:
            return False
        raise
    return True


def copy_range(fd: int, source: int, size: int) -> int | None:
    """Have the kernel copy at most ``size`` bytes between the files' positions; return how many.

    None where it cannot. Raises OSError.
    """
    try:
        return os.copy_file_range(source, fd, size)
    except OSError as error:
        if error.errno in _NOT_COPIED:
            return None
        raise


def _call(function: "ctypes._NamedFuncPointer", *arguments: Any) -> bool:
    """Call ``function``; return False if this kernel or file system lacks it. Raises OSError."""
    while function(*arguments):
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
