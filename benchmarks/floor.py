"""The floor: what an upload costs with nothing but reading, two digests and writing.

A WSGI application for the server that imsgate runs on, set up the same way. PUT writes
the body to a file of that name in ``$FLOOR``, GET sends it, DELETE removes it. The digests
are md5 and ``$FLOOR_ALGORITHM``.
"""

import hashlib
import os
import queue
import threading
from typing import Any

CHUNK = 1 << 20


def _digest(digest: Any, chunks: queue.Queue[bytes | None]) -> None:
    while (chunk := chunks.get()) is not None:
        digest.update(chunk)


def _receive(read: Any, path: str) -> None:
    queues: list[queue.Queue[bytes | None]] = [queue.Queue(4), queue.Queue(4)]
    digests = (hashlib.md5(), hashlib.new(os.environ["FLOOR_ALGORITHM"]))
    threads = [
        threading.Thread(target=_digest, args=pair) for pair in zip(digests, queues, strict=True)
    ]
    for thread in threads:
        thread.start()
    with open(path, "wb", buffering=0) as file:
        while chunk := read(CHUNK):
            for one in queues:
                one.put(chunk)
            file.write(chunk)
        for one in queues:
            one.put(None)
        for thread in threads:
            thread.join()
        os.fsync(file.fileno())


def app(environ: dict[str, Any], start_response: Any) -> Any:
    path = os.path.join(os.environ["FLOOR"], environ["PATH_INFO"].replace("/", "_"))
    match environ["REQUEST_METHOD"]:
        case "PUT":
            _receive(environ["wsgi.input"].read, path)
        case "DELETE":
            os.unlink(path)
        case "GET":
            return _send(environ, start_response, path)
    start_response("204 No Content", [])
    return []


def _send(environ: dict[str, Any], start_response: Any, path: str) -> Any:
    file = open(path, "rb")  # noqa: SIM115 - the server closes it
    size = os.fstat(file.fileno()).st_size
    first = int(environ.get("HTTP_RANGE", "bytes=0-").removeprefix("bytes=").split("-")[0])
    file.seek(first)
    length = str(size - first)
    start_response("206 Partial Content" if first else "200 OK", [("Content-Length", length)])
    return environ["wsgi.file_wrapper"](file, CHUNK)
