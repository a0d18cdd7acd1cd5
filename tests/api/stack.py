"""The application without its filters, asked by whoever a test says."""

import dataclasses
import json
from typing import Any

import webob

from imsgate import app
from imsgate.http.request import IDENTITY
from imsgate.model import Identity

CONFIG = """
[DEFAULT]
enabled_backends = fast:memory, slow:memory
[glance_store]
default_backend = fast
[registry]
driver = memory
[jobs]
threads = 0
"""

PATCH = "application/openstack-images-v2.1-json-patch"


def who(project: str | None = "p", roles: str = "member reader", **more: Any) -> Identity:
    return Identity(user_id="u", project_id=project, roles=frozenset(roles.split()), **more)


MEMBER = who()
READER = who(roles="reader")
ADMIN = who("admins", "admin member reader")
OTHER = who("other")


@dataclasses.dataclass(frozen=True)
class Stack:
    gate: app.Application

    def call(
        self, identity: Identity | None, method: str, path: str, body: Any = None, **headers: str
    ) -> Any:
        request = webob.Request.blank(path, method=method)
        if identity is not None:
            request.environ[IDENTITY] = identity
        if body is not None:
            request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.content_type = PATCH if method == "PATCH" else "application/json"
        for name, text in headers.items():
            request.headers[name.replace("_", "-")] = text
        return request.get_response(self.gate)

    def create(self, identity: Identity = MEMBER, **fields: Any) -> str:
        """A new image's path."""
        record = {"disk_format": "raw", "container_format": "bare", **fields}
        answer = self.call(identity, "POST", "/v2/images", record)
        assert answer.status_int == 201, answer.text
        return f"/v2/images/{answer.json['id']}"

    def share(self, path: str, project: str = "other", status: str = "pending") -> str:
        """Share an image of ``MEMBER``; the member's path."""
        added = self.call(MEMBER, "POST", f"{path}/members", {"member": project})
        assert added.status_int == 200, added.text
        member = f"{path}/members/{project}"
        if status != "pending":
            answer = self.call(who(project), "PUT", member, {"status": status})
            assert answer.status_int == 200, answer.text
        return member
