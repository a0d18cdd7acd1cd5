"""The C library's allocator, set up for buffers of a MiB that come and go with every chunk."""

import contextlib
import ctypes

#: mallopt(3): freed memory to keep, the size from which a block is mapped, arenas.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep() -> None:
    """Have this process reuse large buffers rather than give each back to the kernel.

    Otherwise the kernel zeroes and maps the same pages over and over: 3 percent of the CPU
    of an upload. One arena, so that what is kept is kept once and not by every thread.
    """
    with contextlib.suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 128 << 20)
        mallopt(_ARENA_MAX, 1)
