"""The driver with a real FTP server on the loopback interface."""

import contextlib
import os
import subprocess
import sys

import pytest
from imsgate_store_ftp import FtpStore

from imsgate import errors
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.testing import StoreContract

PASSWORD = "s3cr3t"  # noqa: S105


#: Prints its port once it listens.
SERVER = """
import logging, sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

root, port, password = sys.argv[1:]
logging.basicConfig(level=logging.ERROR)
FTPHandler.auth_failed_timeout = 0
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user("imsgate", password, root, perm="elradfmwMT")
server = FTPServer(("127.0.0.1", int(port)), FTPHandler)
print(server.address[1], flush=True)
server.serve_forever()
"""


class Server:
    """An FTP server in a process of its own, which keeps its port when it is started again."""

    def __init__(self, root):
        self.root, self.port = root, 0
        self.start()

    def start(self):
        command = [sys.executable, "-W", "ignore", "-c", SERVER, str(self.root), str(self.port)]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, PASSWORD], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("ftp"))
    yield started
    started.stop()


@pytest.fixture
def server(running):
    """The server, with an empty directory. It stays, because pyftpdlib may have changed into it."""
    images = running.root / "images"
    images.mkdir(exist_ok=True)
    yield running
    for path in images.iterdir():
        path.unlink()


def settings(server, **changed):
    given = {
        "ftp_host": "127.0.0.1",
        "ftp_port": server.port,
        "ftp_user": "imsgate",
        "ftp_password": PASSWORD,
        "ftp_directory": "/images",
        "ftp_timeout": 30,
        "ftp_idle_connections": 4,
    }
    return Section(**{**given, **changed})


@pytest.fixture
def store(server):
    made = FtpStore("remote", settings(server))
    yield made
    made.close()


class TestFtpStore(StoreContract):
    SEQUENCES = 4

    @pytest.fixture
    def store(self, store, server):
        self.server, self.directory = server, server.root / "images"
        return store

    def leftovers(self, store):
        return os.listdir(self.directory)

    def private(self, store):
        return [PASSWORD, "/images", str(self.directory)]

    def shown(self, store):
        return ["/images"]

    @contextlib.contextmanager
    def away(self, store):
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"ftp_host": None}, "ftp_host"),
        ({"ftp_host": "127.0.0.1", "ftp_port": 1}, "ftp_host"),
        ({"ftp_password": "wrong"}, "ftp_user"),
        ({"ftp_directory": "/none"}, "ftp_host"),
    ],
)
def test_settings_that_cannot_work(server, changed, option):
    with pytest.raises(BadConfig) as caught:
        FtpStore("remote", settings(server, **changed))
    assert caught.value.key == f"[remote] {option}"
    assert PASSWORD not in str(caught.value)


def test_connections_are_used_again(store):
    sink = store.create("a", None)
    sink.write(b"data")
    assert [b"".join(store.read(sink.commit())) for _ in range(3)] == [b"data"] * 3
    (idle,) = {connection.sock.getsockname() for connection in store.connections._idle[-1:]}
    assert store.size("a") == 4
    assert store.connections._idle[-1].sock.getsockname() == idle
    store.delete("a")


def test_a_connection_that_the_server_has_closed_is_replaced(store, server):
    store.check()
    server.stop()
    server.start()
    store.check()


def test_a_directory_that_is_gone_is_no_missing_object(store, server):
    os.rename(server.root / "images", server.root / "elsewhere")
    try:
        with pytest.raises(errors.StoreUnavailable):
            store.size("a")
    finally:
        os.rename(server.root / "elsewhere", server.root / "images")
