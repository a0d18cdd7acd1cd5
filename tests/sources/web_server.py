"""A real HTTP server that misbehaves as a test says."""

import contextlib
import http.server
import socket
import threading

DATA = bytes(range(256)) * 4096  # 1 MiB
ETAG = '"v1"'


class Server(http.server.ThreadingHTTPServer):
    """``routes`` maps a path to a function of the handler; ``seen`` has every request."""

    daemon_threads = True
    block_on_close = True

    def __init__(self, address="127.0.0.1"):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 0), Handler)
        self.routes = {}
        self.seen = []

    @property
    def port(self):
        return self.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers.items())))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.server.routes.get(self.path.partition("?")[0], missing)(self)

    def log_message(self, *args):
        pass

    def answer(self, status=200, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def missing(handler):
    handler.answer(404, {"Content-Length": "0"})


def redirect(location, status=302):
    return lambda handler: handler.answer(status, {"Location": location, "Content-Length": "0"})


def whole(data=DATA, **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(200, {"Content-Length": str(len(data)), **fields}, data)


def chunked(data=DATA):
    def route(handler):
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        for at in range(0, len(data), 100_000):
            part = data[at : at + 100_000]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")

    return route


def cut(*ends, data=DATA, etag=ETAG, later_etag=None, ignore_range=False):
    """Ends the n-th answer before byte ``ends[n]``; answers ranges in between."""
    calls = iter([*ends, len(data)])

    def route(handler):
        end, start = next(calls), 0
        wanted = handler.headers["Range"]
        tag = {"ETag": etag} if etag else {}
        if wanted and not ignore_range and handler.headers["If-Range"] == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            tag = {"ETag": later_etag or etag}
            head = {"Content-Length": str(len(data) - start), "Content-Range": span, **tag}
            handler.answer(206, head, data[start:end])
        else:
            handler.answer(200, {"Content-Length": str(len(data)), **tag}, data[:end])

    return route


@contextlib.contextmanager
def serving(address="127.0.0.1"):
    server = Server(address)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
