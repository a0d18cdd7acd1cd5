"""The service is authenticated before it is sent a request."""

import contextlib
import http.server
import ssl
import subprocess
import threading

import pytest

from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.stores.s3.options import OPTS
from imsgate.stores.s3.store import S3Store
from tests.functional.gateway import HOST


class Service(http.server.ThreadingHTTPServer):
    """Supports nothing. ``requests`` has the methods that arrived."""

    block_on_close = True

    def __init__(self, context):
        super().__init__((HOST, 0), Unsupported)
        self.context = context
        self.requests = []

    def finish_request(self, request, client_address):
        # On the thread of the connection: a client that refuses the certificate ends only that.
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as s:
            super().finish_request(s, client_address)


class Unsupported(http.server.BaseHTTPRequestHandler):
    timeout = 60

    def do_GET(self):
        self.server.requests.append(self.command)
        self.send_response(501)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def certificate(tmp_path):
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    name = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*command.split(), *name, *files], check=True, capture_output=True)
    return str(tmp_path / "cert.pem")


@pytest.fixture
def service(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.replace("cert", "key"))
    with Service(context) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def opened(service, name=HOST, **changed):
    values = {opt.dest: opt.default for opt in OPTS} | {
        "s3_store_host": f"https://{name}:{service.server_port}",
        "s3_store_access_key": "access",
        "s3_store_secret_key": "secret",
        "s3_store_bucket": "images",
        "s3_store_bucket_url_format": "path",
        "s3_store_attempts": 1,
    }
    return S3Store("lab", Section(**values | changed))


def test_an_unknown_authority_or_another_name_gets_no_request(service, certificate):
    with pytest.raises(BadConfig):
        opened(service)
    with pytest.raises(BadConfig):
        opened(service, "localhost", s3_store_cacert=certificate)
    assert service.requests == []
    with pytest.raises(BadConfig, match="does not support"):
        opened(service, s3_store_cacert=certificate)
    assert set(service.requests) == {"GET"}
