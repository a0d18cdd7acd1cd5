"""Uploads by clients that send very slowly."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence

from targets import Target

#: A client sends 10 bytes every 0.2 seconds, which are 50 bytes per second.
_PIECE, _PAUSE_SECONDS = b"x" * 10, 0.2
_SIZE_BYTES = 1 << 30


@contextlib.contextmanager
def clients(target: Target, paths: Sequence[str], seconds: float) -> Iterator[None]:
    """A slow upload to each image in ``paths``, until the block ends or ``seconds`` have passed."""
    done = threading.Event()
    threads = [threading.Thread(target=_drip, args=(target, path, done)) for path in paths]
    # A request that the slow uploads block must not wait forever.
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
    lines = [f"PUT {path}/file HTTP/1.1", f"Host: {target.host}", f"Content-Length: {_SIZE_BYTES}"]
    lines += ["Content-Type: application/octet-stream", "Connection: close"]
    lines += [f"{name}: {text}" for name, text in target.headers.items()]
    with socket.create_connection((target.host, target.port)) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with contextlib.suppress(
            OSError
        ):  # the server may refuse the upload or close the connection
            while not done.wait(_PAUSE_SECONDS):
                connection.sendall(_PIECE)
