"""Stage, import, and look how far it is."""

import os

from tests.functional.gateway import eventually

BODY = os.urandom(3 << 20)


def stage(gateway, image_id, body=BODY):
    headers = {"Content-Type": "application/octet-stream"}
    return gateway.call("PUT", f"/v2/images/{image_id}/stage", body, headers=headers)


def begin(gateway, image_id, name, token="", **more):
    method = {"name": name, **{key: more.pop(key) for key in ("uri", "digest") if key in more}}
    return gateway.call(
        "POST", f"/v2/images/{image_id}/import", {"method": method, **more}, token=token
    )


def task(gateway, image_id):
    answer = gateway.call("GET", f"/v2/images/{image_id}/tasks", token=gateway.admin)
    assert answer.status == 200, answer.body
    return answer.json["tasks"][-1]


def ended(gateway, image_id):
    """The last task of an image, once it has ended."""
    done = ("success", "failure")
    eventually(lambda: task(gateway, image_id)["status"] in done, f"{image_id} is imported")
    return task(gateway, image_id)


def slow(body, ready, go_on):
    """Half of the body, and the rest when ``go_on`` is set."""

    def route(handler):
        handler.answer(200, {"Content-Length": str(len(body))}, body[: len(body) // 2])
        ready.set()
        go_on.wait(60)
        handler.wfile.write(body[len(body) // 2 :])

    return route
