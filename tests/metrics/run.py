"""A run of a gateway in which every metric gets a number."""

import contextlib
import functools
import json
import pathlib
import tempfile
import types
from typing import Any

from paste.deploy import loadwsgi
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from webtest import TestApp

from imsgate import app, config
from imsgate.api.metrics import report
from imsgate.auth import keystone, token_file
from imsgate.filters.metrics import MetricsSettings
from imsgate.metrics import values
from imsgate.model import Location, Status
from imsgate.registry.sql import schema
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.server import gunicorn
from imsgate.services import Services, load_services
from imsgate.testing.records import image, job
from imsgate.transfer import orphans
from imsgate.verification.checking import Verifier
from tests.functional.images import BACKING_FILE

CONFIG = """
[DEFAULT]
enabled_backends = fast:file, archive:file
[glance_store]
default_backend = fast
[fast]
filesystem_store_datadir = $state_path/fast
[archive]
filesystem_store_datadir = $state_path/archive
"""

#: The filters of the shipped pipeline that this run needs, innermost first.
FILTERS = "sniff sizelimit headers identity tokens metrics faults".split()

TOKEN = "an administrator's token"
DATA = b"data" * 1000


@functools.cache
def families() -> list[Metric]:
    """All metrics at the end of the run."""
    with tempfile.TemporaryDirectory() as state:
        path = pathlib.Path(state, "imsgate.conf")
        path.write_text(CONFIG)
        global_conf = {"config_file": str(path), "state_path": state}
        token_file.add(f"{state}/tokens", user="u", project="p", roles=["admin"], presented=TOKEN)
        conf = config.load(global_conf)
        schema.upgrade(conf.read(DatabaseSettings))
        values.end()
        try:
            services = load_services(conf)
            with contextlib.closing(services.registry):
                made = app.make_application(services, conf)
                for name in FILTERS:
                    made = loadwsgi.loadfilter("egg:imsgate", name, global_conf=global_conf)(made)
                _Run(TestApp(made), services).all()
                gunicorn.Server(
                    *(lambda: made, lambda: None),
                    **{"bind": "127.0.0.1:0", "workers": 1, "threads": 8, "grace": 1, "conf": conf},
                ).load()
                text = report(conf.read(MetricsSettings), services.registry, services.stores)
        finally:
            values.end()
    return list(text_string_to_metric_families(text.decode()))


class _Run:
    def __init__(self, client: TestApp, services: Services) -> None:
        self._client = client
        self._services = services
        self._registry = services.registry

    def all(self) -> None:
        self.upload_and_download()
        self.refusals()
        self.jobs()
        self.resumable_uploads()
        self.abandoned_work()
        self.keystone()
        self.verification()

    def ask(self, method: str, path: str, body: Any = b"", **headers: str) -> Any:
        headers = {"X-Auth-Token": TOKEN, **{n.replace("_", "-"): t for n, t in headers.items()}}
        if not isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        return self._client.request(
            path, method=method, body=body, headers=headers, expect_errors=True
        )

    def create(self, disk_format: str = "raw") -> str:
        record = {"disk_format": disk_format, "container_format": "bare"}
        path: str = self.ask("POST", "/v2/images", record).json["self"]
        return path

    def put(self, path: str, data: bytes, **headers: str) -> int:
        status: int = self.ask(
            "PUT", path, data, Content_Type="application/octet-stream", **headers
        ).status_int
        return status

    def upload_and_download(self) -> None:
        path = self.create()
        assert self.put(f"{path}/file", DATA) == 204
        assert self.ask("GET", f"{path}/file").body == DATA
        assert self.ask("DELETE", path).status_int == 204

    def refusals(self) -> None:
        assert self.put(f"{self.create('qcow2')}/file", BACKING_FILE) == 415
        assert self.ask("GET", "/v2/images", X_Auth_Token="wrong").status_int == 401

    def jobs(self) -> None:
        """One ends and one waits."""
        self._services.engine.share_threads(2)
        for _ in range(2):
            path = self.create()
            assert self.put(f"{path}/stage", DATA) == 204
            how = {"method": {"name": "glance-direct"}}
            assert self.ask("POST", f"{path}/import", how).status_int == 202
        assert self._services.engine.run_one()

    def resumable_uploads(self) -> None:
        """One waits for its client."""
        assert self.put(f"{self.create()}/file", DATA, Upload_Complete="?0") == 201

    def abandoned_work(self) -> None:
        dead = image(status=Status.SAVING, upload_store="fast", upload_key="x", upload_expires=1.0)
        self._registry.add(dead)
        self._registry.add_job(job(kind="residue", arguments={"store": "fast", "key": "y"}))
        self._services.cleanup.sweep()
        list(orphans.sweep(self._registry, self._services.stores))

    def keystone(self) -> None:
        server = types.SimpleNamespace(verify_token=lambda token: {})
        keystone._observe(server)
        server.verify_token("token")

    def verification(self) -> None:
        """One copy is good, and one is missing."""
        path = self.create()
        assert self.put(f"{path}/file", DATA) == 204
        image_id = path.rpartition("/")[2]
        good, lost = self._registry.get(image_id).locations[0], Location("archive", "lost")
        self._registry.change(image_id, {}, locations=(good, lost))
        verifier = Verifier(self._registry, self._services.stores)
        assert len(list(verifier.verify([(image_id, good), (image_id, lost)]))) == 2
