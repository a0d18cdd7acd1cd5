"""Uploads whose clients send almost nothing."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

from targets import Target

#: Bytes, and seconds between two of them: 50 a second.
_STEP, _PAUSE = b"x" * 10, 0.2
_SIZE = 1 << 30


@contextlib.contextmanager
def clients(target: Target, paths: Sequence[str], seconds: float) -> Iterator[None]:
    """One that uploads to each image, while the block lasts or for so many seconds."""
    done = threading.Event()
    threads = [threading.Thread(target=_drip, args=(target, one, done)) for one in paths]
    # Whoever they keep waiting is let go in the end.
    timer = threading.Timer(seconds, done.set)
    for thread in (*threads, timer):
        thread.start()
    try:
        yield
    finally:
        timer.cancel()
        done.set()
        for thread in threads:
            thread.join()


def _drip(target: Target, path: str, done: threading.Event) -> None:
    lines = [f"PUT {path}/file HTTP/1.1", f"Host: {target.host}", f"Content-Length: {_SIZE}"]
    lines += ["Content-Type: application/octet-stream", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in target.headers.items()]
    with socket.create_connection((target.host, target.port)) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with contextlib.suppress(OSError):  # refused, or cut off
            while not done.wait(_PAUSE):
                connection.sendall(_STEP)
