"""Who asks, and how."""

import json

import webtest

from imsgate.http.request import IDENTITY
from imsgate.model import Identity

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"


def identity(project, *roles):
    return Identity(user_id=f"user of {project}", project_id=project, roles=frozenset(roles))


#: The images of these tests belong to p1; they are shared, if at all, with p3.
PEOPLE = {
    "owner": identity("p1", "member", "reader"),
    "reader": identity("p1", "reader"),
    "other": identity("p2", "member", "reader"),
    "sharer": identity("p3", "member", "reader"),
    "admin": identity("p0", "admin"),
    "nobody": None,
}


class Person:
    """One client of a gateway, whose every answer is looked at."""

    def __init__(self, app, who):
        self._app = webtest.TestApp(app, extra_environ={IDENTITY: who} if who else {})

    def ask(self, method, path, body=b"", **headers):
        """``body`` may be bytes or a document; names of headers are given with underscores."""
        if not isinstance(body, bytes):
            headers.setdefault("Content_Type", "application/json")
            body = json.dumps(body).encode()
        headers = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = self._app.request(
            path, method=method, body=body, headers=headers, expect_errors=True
        )
        assert answer.status_int < 500 or answer.headers.get("X-Imsgate-Reason"), answer
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body=b"", **headers):
        return self.ask("POST", path, body, **headers)

    def put(self, path, body=b"", **headers):
        return self.ask("PUT", path, body, **headers)

    def delete(self, path):
        return self.ask("DELETE", path)

    def patch(self, path, *operations, kind=V21):
        return self.ask("PATCH", path, list(operations), Content_Type=kind)

    def create(self, **fields):
        """The path of a new image."""
        answer = self.post("/v2/images", fields)
        assert answer.status_int == 201, answer
        return answer.json["self"]

    def upload(self, path, data=b"data"):
        answer = self.put(f"{path}/file", data, Content_Type="application/octet-stream")
        assert answer.status_int == 204, answer


def reason(answer):
    return answer.status_int, answer.headers.get("X-Imsgate-Reason")


def add(name, value):
    return {"op": "add", "path": f"/{name}", "value": value}


def replace(name, value):
    return {"op": "replace", "path": f"/{name}", "value": value}


def remove(name):
    return {"op": "remove", "path": f"/{name}"}
