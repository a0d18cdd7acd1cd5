"""The interim response 104, for clients that understand it."""

import socket

import pytest

from imsgate.http.interim import send_upload_resumption

HEADERS = {"Location": "http://x/upload", "Upload-Limit": "max-size=1"}


def sent(**environ):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/1.1", **environ}
        send_upload_resumption(environ, HEADERS)
        ours.shutdown(socket.SHUT_WR)
        return theirs.recv(4096)


@pytest.mark.parametrize("version", ["6", "7", "8", "9"])
def test_it_names_the_upload(version):
    assert sent(HTTP_UPLOAD_DRAFT_INTEROP_VERSION=version) == (
        b"HTTP/1.1 104 Upload Resumption Supported\r\n"
        b"Upload-Draft-Interop-Version: " + version.encode() + b"\r\n"
        b"Location: http://x/upload\r\nUpload-Limit: max-size=1\r\n\r\n"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "5"},
        {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "10"},
        {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "nine"},
        {"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "9", "SERVER_PROTOCOL": "HTTP/1.0"},
    ],
)
def test_other_clients_get_none(environ):
    assert sent(**environ) == b""


def test_other_servers_send_none():
    send_upload_resumption({"HTTP_UPLOAD_DRAFT_INTEROP_VERSION": "9"}, HEADERS)
