"""A real nginx as WebDAV server, and as one that has only PUT and DELETE."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from imsgate.config import Section
from imsgate.stores.http.store import HttpStore
from imsgate.stores.mark import MARK
from tests import markers
from tests.functional.gateway import HOST, eventually, free_port

USER, PASSWORD, TOKEN = "image-writer", "not-to-be-seen-anywhere", "a.bearer.token"

#: Bytes that one upload to SMALL may have.
SMALL_BYTES = 300 * 1024

MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")

#: What makes the server a WebDAV server, by its kind.
METHODS = {
    "webdav": "dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS;",
    "move without options": "dav_methods PUT DELETE MOVE;",
    "options without move": "dav_methods PUT DELETE; dav_ext_methods PROPFIND OPTIONS;",
    "put only": "dav_methods PUT DELETE;",
}

CONFIG = """
daemon off; master_process off; pid {home}/pid; error_log stderr; {module}
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/bodies; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    lingering_close always;
    server {{
        listen {host}:{port}{tls};
        root {home}/root;
        client_max_body_size 0;
        {methods}
        create_full_put_path off;
        location /images/ {{ auth_basic images; auth_basic_user_file {home}/users; }}
        location /small/ {{ client_max_body_size {small}; }}
        location /bearer/ {{ if ($http_authorization != "Bearer {token}") {{ return 401; }} }}
        location /readonly/ {{ limit_except GET {{ deny all; }} }}
        location /moved/ {{ return 302 /images/; }}
    }}
}}
"""


def _needed(present: object, what: str) -> None:
    if not present:
        if os.environ.get("CI") == "true":
            pytest.fail(f"this machine lacks {what}")
        pytest.skip(f"needs {what}")


class Nginx:
    """A running server. ``tls`` are more directives for HTTPS, with ``ssl`` in ``listen``."""

    def __init__(self, home: pathlib.Path, kind: str, tls: str = "") -> None:
        program = shutil.which("nginx")
        _needed(program and MODULE.exists(), "nginx with libnginx-mod-http-dav-ext")
        self.kind, self.home, self.port = kind, home, free_port()
        self.scheme = "https" if tls else "http"
        for name in ("images", "small", "bearer", "readonly"):
            (home / "root" / name).mkdir(parents=True)
        (home / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        ext = "dav_ext" in METHODS[kind]
        text = CONFIG.format(
            **{"home": home, "host": HOST, "port": self.port, "small": SMALL_BYTES},
            **{"methods": METHODS[kind] + tls, "token": TOKEN, "tls": " ssl" if tls else ""},
            module=f"load_module {MODULE};" if ext else "",
        )
        (home / "nginx.conf").write_text(text)
        self._command = [str(program), "-c", str(home / "nginx.conf"), "-p", str(home)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        markers.require("nginx")
        with open(self.home / "output", "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        eventually(self._listens, "nginx listens")

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=10):
            return True
        return False

    def url(self, place: str = "images") -> str:
        return f"{self.scheme}://{HOST}:{self.port}/{place}"

    def store(self, place: str = "images", **changed: object) -> HttpStore:
        values = {opt.dest: opt.default for opt in HttpStore.OPTS}
        values |= {"http_store_url": self.url(place)}
        if place == "images":
            values |= {"http_store_user": USER, "http_store_password": PASSWORD}
        return HttpStore("web", Section(**{**values, **changed}))

    def files(self, place: str) -> list[str]:
        names = os.listdir(self.home / "root" / place)
        return [name for name in names if name != MARK]


@contextlib.contextmanager
def running(home: pathlib.Path, kind: str, tls: str = "") -> Iterator[Nginx]:
    server = Nginx(home, kind, tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()
