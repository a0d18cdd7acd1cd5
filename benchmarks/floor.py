"""The floor: the least that an upload can cost, which is reading, the digests and writing.

A WSGI application that runs on the same server as imsgate, set up the same way. PUT writes the
request body to a file in the directory ``$FLOOR``, GET sends the file, DELETE removes it. The
digests are those that ``$FLOOR_DIGESTS`` names.
"""

import hashlib
import os
import queue
import threading
from typing import Any

CHUNK_BYTES = 1 << 20
QUEUED_CHUNKS = 4


def _digest(digest: Any, chunks: queue.Queue[bytes | None]) -> None:
    while (chunk := chunks.get()) is not None:
        digest.update(chunk)


def _receive(read: Any, path: str) -> None:
    digests = [hashlib.new(name) for name in os.environ["FLOOR_DIGESTS"].split()]
    queues: list[queue.Queue[bytes | None]] = [queue.Queue(QUEUED_CHUNKS) for _ in digests]
    threads = [
        threading.Thread(target=_digest, args=pair) for pair in zip(digests, queues, strict=True)
    ]
    for thread in threads:
        thread.start()
    with open(path, "wb", buffering=0) as file:
        while chunk := read(CHUNK_BYTES):
            for chunks in queues:
                chunks.put(chunk)
            file.write(chunk)
        for chunks in queues:
            chunks.put(None)
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
    return environ["wsgi.file_wrapper"](file, CHUNK_BYTES)
