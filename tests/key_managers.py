"""Key managers that castellan loads: its own one for tests, and its Vault driver's server."""

import contextlib
import http.server
import threading
from typing import Any, ClassVar

from castellan.common import exception
from castellan.tests.unit.key_manager import mock_key_manager


class UsersKeys(mock_key_manager.MockKeyManager):
    """castellan's key manager in memory, for those who have the token ``user's``. The keys are
    those of the test, as each instance has none of its own."""

    of_the_test: ClassVar[dict[str, Any]] = {}

    def __init__(self, configuration=None):
        super().__init__(configuration)
        self.keys = self.of_the_test

    def delete(self, context, managed_object_id, force=False):
        if context.auth_token == "broken":
            raise RuntimeError("the key manager has a bug")
        if context.auth_token != "user's":
            raise exception.Forbidden
        super().delete(context, managed_object_id, force)


class Vault(http.server.ThreadingHTTPServer):
    """The one call of Vault by which castellan deletes a key; ``keys`` has the paths of keys."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _VaultHandler)
        self.keys = set()
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _VaultHandler(http.server.BaseHTTPRequestHandler):
    def do_DELETE(self):
        self.server.seen.append((self.path, self.headers["X-Vault-Token"]))
        self.send_response(204 if self.path in self.server.keys else 404)
        self.server.keys.discard(self.path)
        self.end_headers()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def vault():
    server = Vault()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
