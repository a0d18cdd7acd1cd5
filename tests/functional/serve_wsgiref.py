"""The pipeline on the standard library's server, which leaves chunked bodies as they are."""

import signal
import socketserver
import sys
from typing import Any
from wsgiref import simple_server

from imsgate.wsgi_app import application


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


def main() -> None:
    server = Server(("127.0.0.1", int(sys.argv[1])), simple_server.WSGIRequestHandler)
    server.set_app(application)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
