"""An image service that takes an image in one request, on a real socket."""

import contextlib
import hashlib
import http.server
import json
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from typing import Any


class Glance(http.server.ThreadingHTTPServer):
    """Its records and data are dictionaries. ``answers`` are those to the next uploads, in place of
    what it would do: a status and words, or the name of a fault."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records: dict[str, dict[str, Any]] = {}
        self.data: dict[str, bytes] = {}
        self.answers: list[Any] = []
        #: Tokens that are not valid.
        self.expired = {"expired"}
        #: Method, path and headers of each request.
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def create(self, **fields: Any) -> str:
        image_id = str(uuid.uuid4())
        record = {"disk_format": "raw", "container_format": "bare", "owner": "demo"}
        self.records[image_id] = {**record, "id": image_id, "status": "queued", **fields}
        return image_id

    def uploads(self) -> list[dict[str, str]]:
        """The headers of each PUT."""
        return [headers for method, _, headers in self.requests if method == "PUT"]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Glance

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        return True  # asked for when the body is read

    def _begin(self) -> str:
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        return self.path.split("/")[3] if self.path.count("/") > 2 else ""

    def _respond(self, status: int, value: Any = None) -> None:
        content = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if "Expect" in self.headers:
            self.send_response_only(100)
            self.end_headers()
        length = int(self.headers["Content-Length"])
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError
        return data

    def do_GET(self) -> None:
        record = self.server.records.get(self._begin())
        if self.headers["X-Auth-Token"] in self.server.expired:
            self._respond(401, {"message": "expired"})
        elif record is None:
            self._respond(404, {"message": "no such image"})
        else:
            self._respond(200, record)

    def do_POST(self) -> None:
        self._begin()
        image_id = self.server.create(**json.loads(self._body()))
        self._respond(201, self.server.records[image_id])

    def do_DELETE(self) -> None:
        del self.server.records[self._begin()]
        self._respond(204)

    def do_PUT(self) -> None:
        image_id = self._begin()
        answer = self.server.answers.pop(0) if self.server.answers else None
        if answer is None and self.server.records[image_id]["status"] != "queued":
            answer = (409, "it has data")
        if isinstance(answer, tuple):
            self.close_connection = True
            self._respond(answer[0], {"message": answer[1]})
            return
        try:
            data = self._body()
        except ConnectionError:
            self.close_connection = True
            return
        if answer != "lost":
            self.server.data[image_id] = data
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            fields = {"status": "active", "size": len(data), "checksum": md5}
            self.server.records[image_id] |= fields
        if answer in ("lost", "unanswered"):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return
        self._respond(204)


@contextlib.contextmanager
def serving() -> Iterator[Glance]:
    with Glance() as glance:
        thread = threading.Thread(target=glance.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield glance
        finally:
            glance.shutdown()
            thread.join()
