"""The C library's allocator, tuned for 1 MiB buffers that are freed with every chunk."""

import contextlib
import ctypes

#: Parameters of mallopt(3): freed memory to keep, the size above which a block is mapped by
#: itself, and the number of arenas.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def reuse_large_buffers() -> None:
    """Let this process reuse large buffers instead of returning each to the kernel.

    Otherwise the kernel maps and zeroes the same pages again and again, which took 3 percent
    of the CPU time of an upload. There is one arena, so that freed memory is kept once and not
    once per thread. Does nothing if the C library is not glibc.
    """
    with contextlib.suppress(AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 128 << 20)
        mallopt(_ARENA_MAX, 1)
