"""A spool in memory in front of a service that takes an image in one request."""

import contextlib
import dataclasses

import pytest

from imsgate.api import receiver
from imsgate.config import Config
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.http.request import IDENTITY
from imsgate.spool.application import Spooling
from imsgate.spool.services import Spool, load_spool
from imsgate.testing import servers
from tests.spool import glance

CONFIG = """
[DEFAULT]
public_endpoint = http://front.example
enabled_backends = {backends}
[glance_store]
default_backend = spool
[whole]
glance_store_driver = file
filesystem_store_datadir = $state_path
[registry]
driver = memory
[jobs]
{jobs}
"""
OCTETS = "application/octet-stream"
PARTIAL = "application/partial-upload"


@dataclasses.dataclass
class Front:
    app: Spooling
    upstream: glance.Glance

    @property
    def spool(self) -> Spool:
        return self.app.spool

    def ask(self, method, path, body=b"", *, token="token", identity=None, **headers):
        entries = {f"HTTP_{name.upper()}": text for name, text in headers.items()}
        if token:
            entries["HTTP_X_AUTH_TOKEN"] = token
        if "HTTP_CONTENT_TYPE" in entries:
            entries["CONTENT_TYPE"] = entries.pop("HTTP_CONTENT_TYPE")
        if identity:
            entries[IDENTITY] = identity
        chunked = entries.pop("HTTP_TRANSFER_ENCODING", None) is not None
        request = {"REQUEST_METHOD": method, "PATH_INFO": path}
        environ = servers.environ(body, chunked=chunked, **request, **entries)
        return servers.serve(self.app, environ)

    def begin(self, image_id, data, complete="?0", **more):
        more = {"content_type": OCTETS, "upload_complete": complete, **more}
        return self.ask("PUT", f"/v2/images/{image_id}/file", data, **more)

    def append(self, image_id, offset, data, complete="?1", **more):
        more = {"content_type": PARTIAL, "upload_complete": complete, **more}
        path = f"/v2/images/{image_id}/upload"
        return self.ask("PATCH", path, data, upload_offset=str(offset), **more)

    def progress(self, image_id, method="GET", **more):
        return self.ask(method, f"/v2/images/{image_id}/upload", **more)

    def run(self):
        """Do the next job."""
        assert self.spool.engine.run_one()

    def assert_empty(self, image_id):
        """Nothing of the upload is left here."""
        record = self.spool.registry.get(image_id)
        assert (record.status, record.upload_key) == ("queued", None)
        assert self.spool.registry.usage("spool").image_size_total == 0
        assert self.spool.stores.get("spool").held() == []


@pytest.fixture
def fronts(tmp_path, monkeypatch):
    """Builds fronts. Jobs run when a test says so, and their requests do not wait for them."""
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(receiver, "_QUIET_SECONDS", 0)
    with contextlib.ExitStack() as stack:

        def build(jobs="", backends="spool:memory", **options):
            upstream = stack.enter_context(glance.serving())
            file = tmp_path / "imsgate.conf"
            file.write_text(CONFIG.format(jobs=jobs, backends=backends))
            conf = Config([str(file)], str(tmp_path))
            values = {
                "upstream": upstream.url,
                "spool_store": "spool",
                "spool_seal_file": str(tmp_path / "seal"),
            }
            settings = ForwardSettings(**values | options)
            forward = Forward(settings, "http://front.example")
            stack.callback(forward.pool.close)
            return Front(Spooling(load_spool(conf, settings, forward)), upstream)

        yield build


@pytest.fixture
def front(fronts):
    return fronts()
