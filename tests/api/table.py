"""Writes doc/image-api-table.md: every call of the Image API v2, sent to the application.

``python -m tests.api.table`` writes it, and a test fails when it is stale. The calls are those
of the Image API v2 reference and of Glance's router; what is said of one that is answered
comes from its answer, and only the reasons are written here.
"""

import pathlib
import uuid
from typing import Any

from imsgate.model import Location
from imsgate.testing.gateways import Gateway, gateway, memory_store
from imsgate.testing.records import job
from tests.api.stack import MEMBER, Stack, who

DOC = pathlib.Path(__file__).parent.parent.parent / "doc" / "image-api-table.md"

HEAD = """\
# Every call of the Image API v2

Written by `python -m tests.api.table` from a run: an administrator, who is a service too, sends
each call to an image on which it makes sense; the status is what came back. *done*: as in Glance.
*differs*: as the note says. *not ours* and *missing*: 404 in Glance's form. Who may do what:
`etc/policy.yaml.sample`.

| Call | | Status | Note |
|---|---|---|---|
"""

METADEFS = "metadata definitions stay with Glance; records and data do not need them"
CACHE = "no cache to manage: data is sent from the store that has it"
LEGACY = "imports are asked for at the image"
LATER = "not yet"

SERVANT = who("admins", "admin service member reader")

#: Calls that are answered, but not quite as in Glance.
DIFFERS = {
    "GET /v2/images": "`deleted` is ignored: no list holds deleted images, not even for admins",
    "PATCH /v2/images/{image_id}": "`locations` are invisible, as in Glance by default; "
    "setting `owner` to what it is changes nothing and is not refused",
    "POST /v2/images/{image_id}/members": "a member that is no text of 1 to 255 characters is 400",
    "GET /v2/images/{image_id}/locations": "only those of stores whose objects have URLs",
    "POST /v2/images/{image_id}/locations": "only by services, of stores that `[locations] stores` "
    "names; never `file:` or `http:`",
    "DELETE /v2/stores/{store_id}/{image_id}": "an unknown store is 400",
    "POST /v2/images/{image_id}/import": "an unknown store is 400; `method.digest` is compared",
    "GET /v2/tasks": "newest first; filters and sort keys are ignored",
}

DATA = (
    "GET /",
    "GET /versions",
    "GET /v2/images",
    "POST /v2/images",
    "GET /v2/images/{image_id}",
    "PATCH /v2/images/{image_id}",
    "DELETE /v2/images/{image_id}",
    "POST /v2/images/{image_id}/actions/deactivate",
    "POST /v2/images/{image_id}/actions/reactivate",
    "PUT /v2/images/{image_id}/file",
    "GET /v2/images/{image_id}/file",
    "PUT /v2/images/{image_id}/stage",
    "POST /v2/images/{image_id}/import",
    "GET /v2/images/{image_id}/tasks",
    "GET /v2/images/{image_id}/locations",
    "POST /v2/images/{image_id}/locations",
    "PUT /v2/images/{image_id}/tags/{tag}",
    "DELETE /v2/images/{image_id}/tags/{tag}",
    "GET /v2/images/{image_id}/members",
    "POST /v2/images/{image_id}/members",
    "GET /v2/images/{image_id}/members/{member_id}",
    "PUT /v2/images/{image_id}/members/{member_id}",
    "DELETE /v2/images/{image_id}/members/{member_id}",
    "DELETE /v2/stores/{store_id}/{image_id}",
    "GET /v2/info/import",
    "GET /v2/info/stores",
    "GET /v2/info/stores/detail",
    "GET /v2/info/usage",
    "GET /v2/tasks",
    "GET /v2/tasks/{task_id}",
    *(
        f"GET /v2/schemas/{name}"
        for name in ("image", "images", "member", "members", "task", "tasks")
    ),
)
TASKS = ("POST /v2/tasks", "DELETE /v2/tasks/{task_id}")
CACHED = (
    "GET /v2/cache",
    "DELETE /v2/cache",
    "GET /v2/cache/nodes/{image_id}",
    "PUT /v2/cache/{image_id}",
    "DELETE /v2/cache/{image_id}",
)
_SPACE = "/v2/metadefs/namespaces"
_ONE = _SPACE + "/{namespace}"
METADEF = (
    *(
        f"GET /v2/schemas/metadefs/{name}{plural}"
        for name in ("namespace", "resource_type", "object", "tag")
        for plural in ("", "s")
    ),
    "GET /v2/schemas/metadefs/property",
    "GET /v2/schemas/metadefs/properties",
    f"GET {_SPACE}",
    f"POST {_SPACE}",
    *(f"{method} {_ONE}" for method in ("GET", "PUT", "DELETE")),
    "GET /v2/metadefs/resource_types",
    f"GET {_ONE}/resource_types",
    f"POST {_ONE}/resource_types",
    f"DELETE {_ONE}/resource_types/{{name}}",
    *(
        f"{method} {_ONE}/{kind}{one}"
        for kind in ("objects", "properties", "tags")
        for one, methods in (("", "GET POST DELETE"), ("/{name}", "GET PUT DELETE"))
        for method in methods.split()
    ),
    f"POST {_ONE}/tags/{{name}}",
)

BODIES = {
    "POST /v2/images": {"name": "new"},
    "PATCH /v2/images/{image_id}": [{"op": "replace", "path": "/name", "value": "n"}],
    "POST /v2/images/{image_id}/members": {"member": "third"},
    "PUT /v2/images/{image_id}/members/{member_id}": {"status": "accepted"},
    "PUT /v2/images/{image_id}/file": b"data",
    "PUT /v2/images/{image_id}/stage": b"data",
    "POST /v2/images/{image_id}/import": {"method": {"name": "glance-direct"}},
    "POST /v2/images/{image_id}/locations": {"url": "memory://slow/copy"},
}
#: Calls for an image that has no data yet.
QUEUED = frozenset(BODIES) - {"PATCH /v2/images/{image_id}"}


def row(parts: Gateway, call: str, missing: str) -> str:
    """One line of the table; ``missing`` is said of a call that no route takes."""
    stack = Stack(parts.app)
    method, _, template = call.partition(" ")
    image = stack.create(tags=["tag"])
    member = stack.share(image).rpartition("/")[2]
    if call not in QUEUED:
        assert stack.call(MEMBER, "PUT", f"{image}/file", b"data").status_int == 204
    image_id = image.rpartition("/")[2]
    if "{store_id}" in call:
        _copy(parts, image_id)
    if call == "POST /v2/images/{image_id}/locations":
        put(parts)
    names = {"image_id": image_id, "tag": "tag", "member_id": member}
    if call == "POST /v2/images/{image_id}/import":
        staged = stack.call(MEMBER, "PUT", f"{image}/stage", b"data")
        assert staged.status_int == 204, staged
    if call == "GET /v2/tasks/{task_id}":
        parts.registry.add_job(job(image_id, id="x"))
    more = dict.fromkeys(("task_id", "namespace", "name"), "x")
    path = template.format(store_id="fast", **names, **more)
    answer = stack.call(SERVANT, method, path, BODIES.get(call))
    status, note = _said(call, answer, missing)
    return f"| `{call}` | {status} | {answer.status_int} | {note} |\n"


def _copy(parts: Gateway, image_id: str) -> None:
    """Let the image have its data in the store ``slow`` as well."""
    image = parts.registry.get(image_id)
    parts.registry.change(image_id, {}, locations=(*image.locations, put(parts)))


def put(parts: Gateway) -> Location:
    """An object that is no image's data yet, in the store ``slow``."""
    with parts.stores.get("slow").create(f"copy-{uuid.uuid4()}", 4) as sink:
        sink.write(b"data")
        return Location("slow", sink.commit())


def _said(call: str, answer: Any, missing: str) -> tuple[str, str]:
    if answer.status_int in (404, 405):
        return ("missing" if missing == LATER else "not ours"), missing
    assert answer.status_int < 500, answer
    if call in DIFFERS:
        return "differs", DIFFERS[call]
    return "done", ""


def text() -> str:
    """The whole document."""
    stores = [memory_store("fast"), memory_store("slow")]
    parts = gateway(stores=stores, further={"locations": {"stores": ["slow"]}})
    kinds = ((DATA, LATER), (TASKS, LEGACY), (CACHED, CACHE), (METADEF, METADEFS))
    return HEAD + "".join(row(parts, call, missing) for calls, missing in kinds for call in calls)


if __name__ == "__main__":
    DOC.write_text(text())
