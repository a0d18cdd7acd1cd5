"""Writes doc/ims-table.md: every call of Huawei's image service, sent to the application.

``python -m tests.api.ims_table`` writes it, and a test fails when it is stale. The calls are
those of the vendor's SDK and API reference; of OTC's, where they differ, the note says it.
"""

import json
import pathlib
from typing import Any

import webtest

from imsgate.http.request import IDENTITY
from imsgate.testing.gateways import gateway
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import V21, identity
from tests.api.table import DATA as IMAGE_API

DOC = pathlib.Path(__file__).parent.parent.parent / "doc" / "ims-table.md"

HEAD = """\
# Every call of Huawei's image service

Written by `python -m tests.api.ims_table` from a run: a member of a project sends each call, for an
image on which it makes sense, under the profiles `huawei` and `otc`; the statuses are what came
back. *done*: as the vendor documents it. *differs*: as the note says. *not offered*: no such call
here. [ims.md](ims.md) lists what was chosen where the vendor's documents are silent.

| Call | | huawei | otc | Note |
|---|---|---|---|---|
"""

CLOUD = "there are no servers, volumes or backups behind this gateway"
REGION = "one gateway is one region; export and register carry an image elsewhere"
OLD = "deprecated by the vendor in favour of `/v2/images`"

DIFFERS = {
    "POST /v2/images": "`disk_format` is kept as declared; undeclared, it is what the data says",
    "PUT /v2/images/{image_id}/file": "nothing is converted; ISO is taken as well",
    "GET /v2/images/{image_id}/file": "not a call of the vendor's: data goes out as in Glance",
    "GET /v2/cloudimages": "`flavor_id` is ignored; an attribute that is no filter is one here",
    "POST /v2/cloudimages/action": "from an object only; nothing is converted; no `cmk_id`",
    "POST /v2/cloudimages/quickimport/action": "raw needs no bitmap file beside it",
    "POST /v1/cloudimages/{image_id}/file": "`file_format` is that of the image: nothing is "
    "converted",
    "POST /v1/cloudimages/{image_id}/copy": "no `cmk_id`; tags are not copied",
    "PUT /v1/cloudimages/{image_id}/upload": "ISO under `otc` too",
    "GET /v1/cloudimages/os_version": "a list of our own; any version of a known platform is taken",
    "POST /v2.1/cloudimages/action": "as `POST /v2/cloudimages/action`",
    "POST /v2.1/cloudimages/quickimport/action": "as `POST /v2/cloudimages/quickimport/action`",
    "POST /v2.1/cloudimages/{image_id}/file": "as `POST /v1/cloudimages/{image_id}/file`",
    "POST /v2.1/cloudimages/{image_id}/copy": "as `POST /v1/cloudimages/{image_id}/copy`",
    **dict.fromkeys(
        (f"{method} /v1/cloudimages/members" for method in ("POST", "PUT", "DELETE")),
        "done before the answer: the job has ended",
    ),
}

_MORE: dict[str, str] = {
    "POST /v1/cloudimages/wholeimages/action": CLOUD,
    "POST /v1/cloudimages/{image_id}/cross_region_copy": REGION,
    "DELETE /v1/{project_id}/cloudimages/{image_id}/tags/delete": "use `…/tags/action`",
    "HEAD /v1/images/{image_id}": OLD,
    "GET /v1.1/images/detail": OLD,
    "DELETE /v1.1/images/{image_id}": OLD,
}

#: Calls of the Image API that the vendor documents too.
_NATIVE = tuple(
    call
    for call in IMAGE_API
    if not any(
        part in call
        for part in ("stage", "import", "tasks", "stores", "info", "actions", "locations", "task")
    )
    and call != "GET /versions"
)

CALLS = (
    *_NATIVE,
    "PUT /v1/cloudimages/{image_id}/upload",
    "GET /v1/{project_id}/jobs/{job_id}",
    "GET /v1/cloudimages/job/{job_id}",
    "GET /v2/cloudimages",
    "PATCH /v2/cloudimages/{image_id}",
    "POST /v2/cloudimages/action",
    "POST /v2/cloudimages/quickimport/action",
    "POST /v1/cloudimages/dataimages/action",
    "POST /v1/cloudimages/{image_id}/file",
    "POST /v1/cloudimages/{image_id}/copy",
    "POST /v2.1/cloudimages/action",
    "POST /v2.1/cloudimages/quickimport/action",
    "POST /v2.1/cloudimages/dataimages/action",
    "POST /v2.1/cloudimages/{image_id}/file",
    "POST /v2.1/cloudimages/{image_id}/copy",
    "GET /v1/cloudimages/quota",
    "GET /v1/cloudimages/os_version",
    "POST /v1/cloudimages/members",
    "PUT /v1/cloudimages/members",
    "DELETE /v1/cloudimages/members",
    "PUT /v1/cloudimages/tags",
    "GET /v2/{project_id}/images/{image_id}/tags",
    "POST /v2/{project_id}/images/{image_id}/tags",
    "DELETE /v2/{project_id}/images/{image_id}/tags/{tag}",
    "POST /v2/{project_id}/images/{image_id}/tags/action",
    "GET /v2/{project_id}/images/tags",
    "GET /v1/cloudimages/tags",
    "POST /v2/{project_id}/images/resource_instances/action",
    "GET /v1/{project_id}/cloudimages/{image_id}/members",
    "GET /v1/{project_id}/cloudimages/{image_id}/members/{member_id}",
    *_MORE,
)

_OBJECT = {"image_url": "bkt:a.raw"}
_NEW = {**_OBJECT, "name": "n", "min_disk": 40, "os_version": "CentOS 7.9 64bit"}
_TAG = {"key": "k", "value": "v"}

BODIES: dict[str, Any] = {
    "POST /v2/images": {"name": "new"},
    "PATCH /v2/images/{image_id}": [{"op": "replace", "path": "/name", "value": "n"}],
    "PUT /v2/images/{image_id}/file": b"data",
    "POST /v2/images/{image_id}/members": {"member": "third"},
    "PUT /v2/images/{image_id}/members/{member_id}": {"status": "accepted"},
    "PUT /v1/cloudimages/{image_id}/upload": _OBJECT,
    "PATCH /v2/cloudimages/{image_id}": [{"op": "replace", "path": "/name", "value": "n"}],
    "POST /v2/cloudimages/action": _NEW,
    "POST /v2/cloudimages/quickimport/action": _NEW,
    "POST /v1/cloudimages/dataimages/action": _NEW,
    "POST /v1/cloudimages/{image_id}/file": {"bucket_url": "bkt:b.raw", "file_format": "raw"},
    "POST /v1/cloudimages/{image_id}/copy": {"name": "copy"},
    "POST /v2.1/cloudimages/action": _NEW,
    "POST /v2.1/cloudimages/quickimport/action": _NEW,
    "POST /v2.1/cloudimages/dataimages/action": _NEW,
    "POST /v2.1/cloudimages/{image_id}/file": {"bucket_url": "bkt:b.raw", "file_format": "raw"},
    "POST /v2.1/cloudimages/{image_id}/copy": {"name": "copy"},
    "POST /v2/{project_id}/images/{image_id}/tags": {"tag": _TAG},
    "POST /v2/{project_id}/images/resource_instances/action": {"action": "filter", "tags": []},
    "POST /v2/{project_id}/images/{image_id}/tags/action": {"action": "create", "tags": [_TAG]},
}

#: Calls for an image that has no data yet.
_QUEUED = {"PUT /v2/images/{image_id}/file", "PUT /v1/cloudimages/{image_id}/upload"}
#: What another project asks.
_OTHERS = {"PUT /v2/images/{image_id}/members/{member_id}", "PUT /v1/cloudimages/members"}


class Cloud:
    """A gateway under one profile."""

    def __init__(self, profile: str) -> None:
        buckets = MemoryBuckets()
        buckets.objects["bkt", "a.raw"] = b"data" * 128
        self._parts = gateway(buckets=buckets, further=options(profile, "p:bkt"))

    def ask(self, project: str, call: str, body: Any = None) -> Any:
        who = identity(project, "member", "reader")
        app = webtest.TestApp(self._parts.app, extra_environ={IDENTITY: who})
        method, _, path = call.partition(" ")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/json"
        if path.startswith("/v2/images/"):
            kind = V21 if method == "PATCH" else kind
            kind = "application/octet-stream" if path.endswith("/file") else kind
        return app.request(
            path,
            method=method,
            body=b"" if body is None else data,
            headers={"Content-Type": kind},
            expect_errors=True,
        )

    def status(self, call: str) -> int:
        """What comes of a call, for an image that was made for it."""
        image_id = self.ask("p", "POST /v2/images", {"name": "n", "tags": ["t"]}).json["id"]
        upload = f"PUT /v1/cloudimages/{image_id}/upload"
        self.ask("p", f"POST /v2/images/{image_id}/members", {"member": "other"})
        names = {"image_id": image_id, "tag": "t", "member_id": "other", "project_id": "p"}
        if call not in _QUEUED:
            names["job_id"] = self.ask("p", upload, _OBJECT).json["job_id"]
            while self._parts.engine.run_one():
                pass
        bodies = {
            "/v1/cloudimages/tags": {"image_id": image_id, "image_tag": _TAG},
            "/v1/cloudimages/members": {
                "images": [image_id],
                "projects": ["other"],
                "project_id": "other",
                "status": "accepted",
            },
        }
        by_path = None if call.startswith("GET") else bodies.get(call.partition(" ")[2])
        body = by_path or BODIES.get(call)
        answer = self.ask("other" if call in _OTHERS else "p", call.format(**names), body)
        return int(answer.status_int)


def row(clouds: tuple[Cloud, ...], call: str) -> str:
    """One line of the table."""
    statuses = [cloud.status(call) for cloud in clouds]
    cells = " | ".join(map(str, statuses))
    if call in _MORE:
        what, note = "not offered", _MORE[call]
    else:
        assert all(status < 400 for status in statuses), (call, statuses)
        what, note = ("differs", DIFFERS[call]) if call in DIFFERS else ("done", "")
    return f"| `{call}` | {what} | {cells} | {note} |\n"


def text() -> str:
    """The whole document."""
    clouds = tuple(map(Cloud, ("huawei", "otc")))
    return HEAD + "".join(row(clouds, call) for call in CALLS)


if __name__ == "__main__":
    DOC.write_text(text())
