"""What property protections do to requests, as in Glance."""

import html

import pytest

from tests.api.conftest import starting
from tests.api.stack import ADMIN, MEMBER, Stack, who

RULES = """
[^open]
create = @
read = @
update = @
delete = @
[^create_only]
create = member
read = member
update = admin
delete = admin
[^admin_only]
create = admin
read = admin
update = admin
delete = admin
[^written_blindly]
create = @
read = admin
update = @
delete = @
[^deletable]
create = admin
read = @
update = admin
delete = member
[^__]
create = @
read = @
update = @
delete = @
"""
ALL = {
    "open": "1",
    "create_only": "2",
    "admin_only": "3",
    "written_blindly": "4",
    "deletable": "5",
}
SHOWN = {name: ALL[name] for name in ("open", "create_only", "deletable")}
ROOT = who("p", "admin member reader")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    directory = tmp_path_factory.mktemp("protected")
    (directory / "protections.conf").write_text(RULES)
    return starting(directory)(
        config=f"[DEFAULT]\nproperty_protection_file = {directory}/protections.conf\n"
    )


@pytest.fixture
def path(stack: Stack):
    """An image of the member's project with all properties."""
    return stack.create(ROOT, visibility="community", **ALL)


def properties(record):
    return {name: value for name, value in record.items() if name in ALL}


@pytest.mark.parametrize(("asker", "expected"), [(MEMBER, SHOWN), (ROOT, ALL), (ADMIN, ALL)])
def test_what_is_shown(stack, path, asker, expected):
    assert properties(stack.call(asker, "GET", path).json) == expected
    listed = stack.call(asker, "GET", "/v2/images?visibility=community").json["images"]
    [shown] = [image for image in listed if image["self"] == path]
    assert properties(shown) == expected
    change = [{"op": "replace", "path": "/open", "value": "1"}]
    assert properties(stack.call(asker, "PATCH", path, change).json) == expected


@pytest.mark.parametrize(
    ("asker", "query", "found"),
    [
        (MEMBER, "open=1", True),
        (MEMBER, "admin_only=3", False),
        (MEMBER, "open=1&admin_only=3", False),
        (ROOT, "open=1&admin_only=3", True),
    ],
)
def test_a_filter_does_not_tell_what_is_hidden(stack, path, asker, query, found):
    answer = stack.call(asker, "GET", f"/v2/images?visibility=community&{query}")
    assert (path in [image["self"] for image in answer.json["images"]]) is found


@pytest.mark.parametrize(
    ("asker", "name", "status"),
    [
        (MEMBER, "open", 201),
        (MEMBER, "create_only", 201),
        (MEMBER, "written_blindly", 201),
        (MEMBER, "admin_only", 403),
        (MEMBER, "matches_no_section", 403),
        (ADMIN, "admin_only", 201),
        (ADMIN, "matches_no_section", 403),
        (who("p", "admin"), "create_only", 403),
    ],
)
def test_create(stack, asker, name, status):
    answer = stack.call(asker, "POST", "/v2/images", {name: "value"})
    assert answer.status_int == status
    if status == 403:
        assert f"Attribute '{name}' is reserved." in html.unescape(answer.text)
        assert answer.headers["X-Imsgate-Reason"] == "reserved"


CHANGES = {
    "add-new": (MEMBER, "add", "open2", 200),
    "add-existing": (MEMBER, "add", "open", 200),
    "replace": (MEMBER, "replace", "open", 200),
    "remove": (MEMBER, "remove", "open", 200),
    "create": (MEMBER, "add", "create_only2", 200),
    "update-by-add": (MEMBER, "add", "create_only", 403),
    "update": (MEMBER, "replace", "create_only", 403),
    "delete": (MEMBER, "remove", "create_only", 403),
    "hidden-add": (MEMBER, "add", "admin_only", 403),
    "hidden-add-new": (MEMBER, "add", "admin_only2", 403),
    "hidden-replace": (MEMBER, "replace", "admin_only", 409),
    "hidden-remove": (MEMBER, "remove", "admin_only", 409),
    "blind-add": (MEMBER, "add", "written_blindly", 403),
    "blind-add-new": (MEMBER, "add", "written_blindly2", 200),
    "blind-replace": (MEMBER, "replace", "written_blindly", 409),
    "delete-only": (MEMBER, "remove", "deletable", 200),
    "not-update": (MEMBER, "replace", "deletable", 403),
    "no-section": (MEMBER, "add", "unmatched", 403),
    "admin": (ROOT, "replace", "admin_only", 200),
    "admin-no-section": (ROOT, "add", "unmatched", 403),
    "attribute": (MEMBER, "replace", "name", 200),
}


@pytest.mark.parametrize(("asker", "op", "name", "status"), CHANGES.values(), ids=CHANGES)
def test_change(stack, path, asker, op, name, status):
    change = {"op": op, "path": f"/{name}", **({"value": "new"} if op != "remove" else {})}
    answer = stack.call(asker, "PATCH", path, [change])
    assert answer.status_int == status
    stored = properties(stack.call(ADMIN, "GET", path).json)
    expected = dict(ALL)
    if status == 200 and op == "remove":
        del expected[name]
    elif status == 200 and name in ALL:
        expected[name] = "new"
    assert stored == expected  # what is hidden stays, too


def test_operations_in_a_row(stack, path):
    """A property that is removed and added again is created."""
    remove = {"op": "remove", "path": "/deletable"}
    add = {"op": "add", "path": "/deletable", "value": "new"}
    assert stack.call(MEMBER, "PATCH", path, [remove, add]).status_int == 403
    assert stack.call(MEMBER, "PATCH", path, [remove]).status_int == 200
    assert stack.call(MEMBER, "PATCH", path, [add]).status_int == 403
    assert stack.call(ROOT, "PATCH", path, [add]).status_int == 200


def test_the_calls_of_ims(stack, path):
    assert stack.call(ROOT, "PUT", f"{path}/file", b"data").status_int == 204
    listed = stack.call(MEMBER, "GET", "/v2/cloudimages?visibility=community").json["images"]
    [shown] = [image for image in listed if image["self"] == path]
    assert properties(shown) == SHOWN
    image = path.replace("/v2/images", "/v2/cloudimages")
    for name, status in (("open", 200), ("create_only", 403), ("admin_only", 400)):
        change = [{"op": "replace", "path": f"/{name}", "value": "new"}]
        answer = stack.call(MEMBER, "PATCH", image, change)
        assert answer.status_int == status
        if status == 200:
            assert properties(answer.json) == {**SHOWN, "open": "new"}


def test_imports_show_their_progress(stack):
    """The service's own properties are in no section."""
    path = stack.create()
    body = {"method": {"name": "web-download", "uri": "https://mirror.example/disk"}}
    assert stack.call(MEMBER, "POST", f"{path}/import", body).status_int == 202
    shown = stack.call(MEMBER, "GET", path).json
    assert shown["os_glance_importing_to_stores"] == "fast"
