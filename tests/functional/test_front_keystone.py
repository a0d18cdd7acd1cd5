"""``flavor = front`` with Keystone's filters before it, in front of a service of that Keystone."""

from collections.abc import Iterator

import pytest

from tests.functional.gateway import serving
from tests.functional.keystone import Keystone, StackGateway, config
from tests.functional.test_front import CONFIG, HOSTILE, MIB, Front

FILTERS = "authtoken keystone-identity"


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, _stack: StackGateway, keystone: Keystone
) -> Iterator[Front]:
    section = config(keystone).partition("[keystone_authtoken]")
    conf = CONFIG + "".join(section[1:])
    with serving(Front(tmp_path_factory.mktemp("front"), _stack, conf, FILTERS)) as gateway:
        yield gateway


def test_what_it_refuses_does_not_arrive(front: Front, stack: StackGateway) -> None:
    path = "/v2/images/refused-here"
    for token in (None, "forged"):
        answer = front.call("GET", path, token=token)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")
    forged = {"X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": "demo"}
    assert front.call("GET", path, token=None, headers=forged).status == 401
    assert "refused-here" not in stack.log_text()


def test_both_know_the_user(front: Front, stack: StackGateway, keystone: Keystone) -> None:
    image_id = front.create()
    assert stack.show(image_id)["owner"] == keystone.id("project", "demo")
    hostile, _ = HOSTILE["labeled raw"]
    assert front.upload(image_id, hostile).status == 415
    stack.assert_untouched(image_id)
    assert front.upload(image_id, bytes(MIB), token=front.token("alt")).status == 404
    reader = front.token("demo", ("reader",))
    assert front.upload(image_id, bytes(MIB), token=reader).status == 403  # upstream's answer
    assert front.upload(image_id, bytes(MIB)).status == 204
    assert front.call("DELETE", f"/v2/images/{image_id}").status == 204
