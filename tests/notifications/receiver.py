"""A receiver of webhooks on a real socket."""

import contextlib
import http.server
import threading

from standardwebhooks import Webhook

#: A key as operators write it.
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class Receiver(http.server.ThreadingHTTPServer):
    """Answers each request with the next of ``statuses``, then with 204."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.statuses = []
        self.requests = []
        self.connections = 0
        self.received = threading.Event()
        self.on_request = lambda headers, body: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?token=hush"

    @property
    def ids(self):
        return [headers["Webhook-Id"] for headers, _ in self.requests]

    def verified(self, secret=SECRET):
        """The messages, verified by the library of the specification."""
        return [Webhook(secret).verify(body, dict(headers)) for headers, body in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    response_body = b""

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # a test has killed the sender
            self.close_connection = True
            return
        headers = {name.lower(): text for name, text in self.headers.items()}
        self.server.on_request(headers, body)
        self.server.requests.append((_Folded(headers), body))
        self.server.received.set()
        content = self.response_body  # once: a test may replace it meanwhile
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class _Folded(dict):
    def __getitem__(self, name):
        return super().__getitem__(name.lower())


@contextlib.contextmanager
def receiving(port=0):
    with Receiver(port) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
