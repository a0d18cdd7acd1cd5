"""Records over the wire: who sees what, changes in both PATCH forms, members, tags, lists."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.gateway import Answer, Gateway, eventually

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
FORMATS = {"disk_format": "raw", "container_format": "bare"}


def patch(
    gateway: Gateway, image_id: str, *operations: dict[str, Any], form: str = V21, token: str = ""
) -> Answer:
    headers = {"Content-Type": form}
    body = json.dumps(list(operations)).encode()
    return gateway.call("PATCH", f"/v2/images/{image_id}", body, token=token, headers=headers)


def op(name: str, path: str, value: Any = None) -> dict[str, Any]:
    operation = {"op": name, "path": path}
    return operation if name == "remove" else {**operation, "value": value}


# Documents


def test_versions(gateway: Gateway) -> None:
    for path, status in (("/", 300), ("/versions", 200)):
        answer = gateway.call("GET", path, token=None)
        assert answer.status == status
        versions = answer.json["versions"]
        assert versions[0]["status"] == "CURRENT"
        assert {version["id"] for version in versions} >= {"v2.0", "v2.5"}
        assert all(
            link == {"rel": "self", "href": f"{gateway.url}/v2/"}
            for version in versions
            for link in version["links"]
        )


@pytest.mark.parametrize("name", ["image", "images", "member", "members"])
def test_schemas(gateway: Gateway, name: str) -> None:
    schema = gateway.call("GET", f"/v2/schemas/{name}").json
    assert schema["name"] == name
    assert schema["properties"]


def test_unknown_paths(gateway: Gateway) -> None:
    assert gateway.call("GET", "/v2/nosuch").outcome == (404, "not_found")
    assert gateway.call("GET", "/v2/schemas/nosuch").outcome == (404, "not_found")
    answer = gateway.call("PUT", "/v2/images")
    assert answer.outcome == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST"


# Create and show


def test_create(gateway: Gateway) -> None:
    body = {"name": "caf\u00e9 \u2603", **FORMATS, "tags": ["b", "a", "b"], "os_distro": "x"}
    answer = gateway.call("POST", "/v2/images", body)
    assert answer.status == 201
    image = answer.json
    assert answer.headers["Location"] == f"{gateway.url}/v2/images/{image['id']}"
    assert image["name"] == "caf\u00e9 \u2603"
    assert (image["status"], image["visibility"], image["owner"]) == ("queued", "shared", "demo")
    assert image["tags"] == ["a", "b"]
    assert image["os_distro"] == "x"
    assert image["size"] is image["checksum"] is image["os_hash_value"] is None
    assert gateway.show(image["id"]) == image


def test_client_chooses_the_id(gateway: Gateway) -> None:
    """It is shown as it was given, and found in any case."""
    chosen = str(uuid.uuid4()).upper()
    assert gateway.create(id=chosen) == chosen
    answer = gateway.call("POST", "/v2/images", {"id": chosen.lower(), **FORMATS})
    assert answer.outcome == (409, "already_exists")
    assert gateway.call("GET", f"/v2/images/{chosen.lower()}").json["id"] == chosen


BAD_RECORDS: dict[str, tuple[Any, int, str]] = {
    "not JSON": (b"{", 400, "bad_json"),
    "not UTF-8": (b'{"name": "\xff"}', 400, "bad_json"),
    "empty": (b"", 400, "bad_json"),
    "deep": (b"[" * 100_000, 400, "bad_json"),
    "array": (b"[]", 400, "bad_json"),
    "number as name": ({"name": 5}, 400, "bad_json"),
    "long name": ({"name": "x" * 256}, 400, "bad_json"),
    "NUL in the name": ({"name": "a\0b"}, 400, "bad_json"),
    "lone surrogate": (b'{"name": "\\ud800"}', 400, "bad_json"),
    "NUL in a property": ({"p": "a\0b"}, 400, "bad_json"),
    "lone surrogate in a property": (b'{"p": "\\ud800"}', 400, "bad_json"),
    "lone surrogate in a property name": (b'{"\\ud800": "p"}', 400, "bad_json"),
    "lone surrogate in a tag": (b'{"tags": ["\\ud800"]}', 400, "bad_json"),
    "number as property": ({"p": 1}, 400, "bad_json"),
    "long property name": ({"p" * 256: "1"}, 400, "bad_json"),
    "empty property name": ({"": "1"}, 400, "bad_json"),
    "unknown format": ({"disk_format": "floppy"}, 400, "bad_json"),
    "unknown visibility": ({"visibility": "secret"}, 400, "bad_json"),
    "id that is none": ({"id": "1"}, 400, "bad_json"),
    "negative disk": ({"min_disk": -1}, 400, "bad_json"),
    "huge disk": ({"min_disk": 1 << 64}, 400, "bad_json"),
    "disk as text": ({"min_disk": "5"}, 400, "bad_json"),
    "NaN": (b'{"min_disk": NaN}', 400, "bad_json"),
    "status": ({"status": "active"}, 403, "read_only"),
    "size": ({"size": 1}, 403, "read_only"),
    "checksum": ({"checksum": "0" * 32}, 403, "read_only"),
    "locations": ({"locations": [{"url": "file:///etc/passwd"}]}, 403, "read_only"),
    "location": ({"location": "file:///etc/passwd"}, 403, "reserved"),
    "internal property": ({"os_glance_x": "1"}, 403, "reserved"),
    "public": ({"visibility": "public"}, 403, "forbidden"),
    "other owner": ({"owner": "somebody"}, 403, "forbidden"),
    "many tags": ({"tags": [f"t{i}" for i in range(200)]}, 413, "quota_exceeded"),
    "many properties": ({f"p{i}": "1" for i in range(200)}, 413, "quota_exceeded"),
}


@pytest.mark.parametrize(("body", "status", "reason"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_bad_record(gateway: Gateway, body: Any, status: int, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = gateway.call("POST", "/v2/images", body, headers=headers)
    assert answer.outcome == (status, reason), answer.body


def test_readers_create_nothing(gateway: Gateway) -> None:
    answer = gateway.call("POST", "/v2/images", FORMATS, token=gateway.token(roles=("reader",)))
    assert answer.outcome == (403, "forbidden")


def test_links_do_not_follow_the_host_header(gateway: Gateway) -> None:
    """Nor X-Forwarded-Host, which only a trusted proxy may send."""
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    answer = gateway.call("POST", "/v2/images", FORMATS, headers=headers)
    assert "evil.example" not in str(answer.headers) + answer.body.decode()
    assert "evil.example" not in gateway.call("GET", "/versions", headers=headers).body.decode()


# Changes


@pytest.mark.parametrize(
    ("form", "operations"),
    [
        (
            V21,
            [
                op("replace", "/name", "new"),
                op("add", "/colour", "red"),
                op("replace", "/tags", ["x"]),
                op("remove", "/old"),
                op("add", "/a~1b~0c", "slash"),
            ],
        ),
        (
            V20,
            [
                {"replace": "/name", "value": "new"},
                {"add": "/colour", "value": "red"},
                {"replace": "/tags", "value": ["x"]},
                {"remove": "/old"},
                {"add": "/a~1b~0c", "value": "slash"},
            ],
        ),
    ],
    ids=["v2.1", "v2.0"],
)
def test_patch(gateway: Gateway, form: str, operations: list[dict[str, Any]]) -> None:
    image_id = gateway.create(old="1")
    answer = patch(gateway, image_id, *operations, form=form)
    assert answer.status == 200, answer.body
    image = answer.json
    assert (image["name"], image["colour"], image["tags"]) == ("new", "red", ["x"])
    assert image["a/b~c"] == "slash"
    assert "old" not in image
    assert gateway.show(image_id) == image


BAD_CHANGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "status": (op("replace", "/status", "active"), 403, "read_only"),
    "id": (op("replace", "/id", str(uuid.UUID(int=5))), 403, "read_only"),
    "locations": (
        op("add", "/locations/-", {"url": "file:///etc/passwd"}),
        403,
        "locations_invisible",
    ),
    "public": (op("replace", "/visibility", "public"), 403, "forbidden"),
    "owner": (op("replace", "/owner", "other"), 403, "forbidden"),
    "base attribute removed": (op("remove", "/name"), 403, "forbidden"),
    "missing property removed": (op("remove", "/nosuch"), 409, "conflict"),
    "missing property replaced": (op("replace", "/nosuch", "1"), 409, "conflict"),
    "unknown operation": (op("move", "/name", "x"), 400, "bad_json"),
    "no pointer": (op("replace", "name", "x"), 400, "bad_json"),
    "bad escape": (op("add", "/a~2", "x"), 400, "bad_json"),
    "no value": ({"op": "replace", "path": "/name"}, 400, "bad_json"),
    "deep pointer": (op("add", "/a/b", "x"), 400, "bad_json"),
    "bad value": (op("replace", "/min_ram", "many"), 400, "bad_json"),
    "NUL": (op("replace", "/name", "a\0b"), 400, "bad_json"),
    "lone surrogate": (op("add", "/p", "\ud800"), 400, "bad_json"),
}


@pytest.mark.parametrize(("change", "status", "reason"), BAD_CHANGES.values(), ids=BAD_CHANGES)
def test_bad_change(gateway: Gateway, change: dict[str, Any], status: int, reason: str) -> None:
    image_id = gateway.create()
    before = gateway.show(image_id)
    answer = patch(gateway, image_id, op("add", "/first", "1"), change)
    assert answer.outcome == (status, reason), answer.body
    assert gateway.show(image_id) == before


def test_patch_forms(gateway: Gateway) -> None:
    image_id = gateway.create()
    answer = patch(gateway, image_id, form="application/json")
    assert answer.outcome == (415, "unsupported_media_type")
    assert V21 in answer.headers["Accept-Patch"]


def test_format_is_fixed_once_there_is_data(gateway: Gateway) -> None:
    image_id = gateway.create()
    assert patch(gateway, image_id, op("replace", "/disk_format", "iso")).status == 200
    assert patch(gateway, image_id, op("replace", "/disk_format", "raw")).status == 200
    assert gateway.upload(image_id, b"data").status == 204
    answer = patch(gateway, image_id, op("replace", "/disk_format", "iso"))
    assert answer.outcome == (403, "forbidden")


def test_protected(gateway: Gateway) -> None:
    image_id = gateway.create(protected=True)
    url = f"/v2/images/{image_id}"
    assert gateway.call("DELETE", url).outcome == (403, "protected")
    assert patch(gateway, image_id, op("replace", "/protected", False)).status == 200
    assert gateway.call("DELETE", url).status == 204
    assert gateway.call("GET", url).status == 404
    assert gateway.call("DELETE", url).status == 404


def test_tags(gateway: Gateway) -> None:
    image_id = gateway.create()
    url = f"/v2/images/{image_id}/tags"
    for tag in ("blue", "blue", "caf%C3%A9"):
        assert gateway.call("PUT", f"{url}/{tag}").status == 204
    assert gateway.show(image_id)["tags"] == ["blue", "caf\u00e9"]
    assert gateway.call("DELETE", f"{url}/blue").status == 204
    assert gateway.call("DELETE", f"{url}/blue").status == 404
    assert gateway.call("PUT", f"{url}/{'x' * 256}").outcome == (400, "bad_json")


# Who sees what


@pytest.mark.parametrize(
    ("visibility", "seen", "listed"),
    [
        ("private", False, False),
        ("shared", False, False),
        ("community", True, False),
        ("public", True, True),
    ],
)
def test_visibility(gateway: Gateway, visibility: str, seen: bool, listed: bool) -> None:
    owner, stranger = gateway.token("owner", ("admin", "member")), gateway.token("stranger")
    image_id = gateway.create(token=owner, visibility=visibility)
    url = f"/v2/images/{image_id}"
    assert gateway.call("GET", url, token=stranger).status == (200 if seen else 404)
    assert (image_id in ids(gateway, "limit=1000", stranger)) is listed
    found = image_id in ids(gateway, f"limit=1000&visibility={visibility}", stranger)
    assert found is seen
    refused = 403 if seen else 404
    assert patch(gateway, image_id, op("add", "/p", "1"), token=stranger).status == refused
    assert gateway.call("DELETE", url, token=stranger).status == refused
    assert gateway.call("PUT", f"{url}/tags/t", token=stranger).status == refused
    assert gateway.call("DELETE", url, token=owner).status == 204


def test_members(gateway: Gateway) -> None:
    friend, stranger = gateway.token("friend"), gateway.token("stranger")
    image_id = gateway.create()
    url, members = f"/v2/images/{image_id}", f"/v2/images/{image_id}/members"
    made = gateway.call("POST", members, {"member": "friend"})
    assert made.status == 200
    assert (made.json["member_id"], made.json["status"]) == ("friend", "pending")
    assert gateway.call("POST", members, {"member": "friend"}).outcome == (409, "already_exists")

    # Shown at once, listed once accepted; the owner cannot accept for it.
    assert gateway.call("GET", url, token=friend).status == 200
    assert image_id not in ids(gateway, "", friend)
    assert image_id in ids(gateway, "member_status=pending&visibility=shared", friend)
    accepted = {"status": "accepted"}
    assert gateway.call("PUT", f"{members}/friend", accepted).outcome == (403, "forbidden")
    assert gateway.call("PUT", f"{members}/friend", accepted, token=friend).status == 200
    assert image_id in ids(gateway, "", friend)
    answer = gateway.call("PUT", f"{members}/friend", {"status": "maybe"}, token=friend)
    assert answer.outcome == (400, "bad_json")

    # A member sees itself only, and changes nothing.
    gateway.call("POST", members, {"member": "third"})
    seen = gateway.call("GET", members, token=friend).json["members"]
    assert [member["member_id"] for member in seen] == ["friend"]
    assert gateway.call("GET", f"{members}/third", token=friend).status == 404
    assert gateway.call("POST", members, {"member": "x"}, token=friend).status == 403
    assert gateway.call("GET", members, token=stranger).status == 404
    assert len(gateway.call("GET", members).json["members"]) == 2

    assert gateway.upload(image_id, b"data").status == 204
    assert gateway.call("GET", f"{url}/file", token=friend).body == b"data"
    assert gateway.call("DELETE", f"{members}/friend").status == 204
    assert gateway.call("GET", f"{url}/file", token=friend).status == 404
    assert gateway.call("DELETE", f"{members}/friend").status == 404


def test_members_of_an_image_that_is_not_shared(gateway: Gateway) -> None:
    image_id = gateway.create(visibility="private")
    members = f"/v2/images/{image_id}/members"
    assert gateway.call("POST", members, {"member": "x"}).outcome == (403, "forbidden")


BAD_MEMBERS = {
    "no member": b"{}",
    "number": b'{"member": 5}',
    "empty": b'{"member": ""}',
    "long": b'{"member": "' + b"x" * 256 + b'"}',
    "NUL": b'{"member": "a\\u0000b"}',
    "lone surrogate": b'{"member": "\\ud800"}',
    "array": b"[]",
}


@pytest.mark.parametrize("body", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_bad_member(gateway: Gateway, body: bytes) -> None:
    url = f"/v2/images/{gateway.create()}/members"
    answer = gateway.call("POST", url, body, headers={"Content-Type": "application/json"})
    assert answer.outcome == (400, "bad_json"), answer.body


# Lists


def ids(gateway: Gateway, query: str, token: str = "") -> list[str]:
    answer = gateway.call("GET", f"/v2/images?{query}", token=token)
    assert answer.status == 200, answer.body
    return [image["id"] for image in answer.json["images"]]


@pytest.fixture(scope="module")
def _shelf(_default: Gateway) -> dict[str, str]:
    """Five images of a project of its own, by name."""
    token = _default.token("shelf")
    shelf = {}
    for number, name in enumerate("abcde"):
        fields = {"name": name, "min_ram": number % 2, "tags": ["all", f"tag-{name}"]}
        image_id = _default.create(token=token, colour="red" if number < 2 else "blue", **fields)
        assert _default.upload(image_id, bytes(number + 1), token=token).status == 204
        shelf[name] = image_id
    return shelf


@pytest.fixture
def names(gateway: Gateway, _shelf: dict[str, str]) -> Callable[[str], str]:
    """The names of the shelf's images that a query finds, in order."""
    by_id = {image_id: name for name, image_id in _shelf.items()}

    def find(query: str) -> str:
        found = ids(gateway, query, gateway.token("shelf"))
        return "".join(by_id[image_id] for image_id in found if image_id in by_id)

    return find


QUERIES = {
    "sort=name:asc": "abcde",
    "sort=name:desc": "edcba",
    "sort=status:asc,name:desc": "edcba",
    "sort_key=name&sort_dir=asc": "abcde",
    "sort_key=status&sort_dir=desc&sort_key=name&sort_dir=asc": "abcde",
    "limit=0": "",
    "sort_key=size": "edcba",
    "sort=name:asc&limit=2": "ab",
    "name=c": "c",
    "sort=name:asc&name=in:a,e": "ae",
    "sort=name:asc&size_min=2&size_max=4": "bcd",
    "sort=name:asc&colour=red": "ab",
    "tag=all&tag=tag-c": "c",
    "sort=name:asc&status=in:active,queued": "abcde",
    "status=queued": "",
    "protected=true": "",
    "os_hidden=true": "",
    "sort=name:asc&created_at=gt:2001-01-01T00:00:00Z": "abcde",
    "created_at=lt:2001-01-01T00:00:00": "",
    "owner=nobody": "",
    "sort=name:asc&visibility=shared": "abcde",
    "sort=name:asc&visibility=all": "abcde",
    "visibility=public": "",
    "disk_format=iso": "",
    "sort=name:asc&container_format=bare": "abcde",
    "nosuch=1": "",
}


@pytest.mark.parametrize(("query", "expected"), QUERIES.items())
def test_list(names: Callable[[str], str], query: str, expected: str) -> None:
    assert names(query) == expected


BAD_QUERIES = (
    "sort_key=nosuch",
    "sort=name:up",
    "sort_key=name&sort_dir=up",
    "sort=name&sort_key=name",
    "limit=-1",
    "limit=many",
    "limit=%D9%A5",
    "name=%00",
    "marker=nosuch",
    f"marker={uuid.UUID(int=9)}",
    "size_min=few",
    "visibility=secret",
    "member_status=maybe",
    "created_at=gt:yesterday",
    "protected=perhaps",
    "name=%ff",
    "%ff=name",
    "name=in:%22open",
    "min_ram=99999999999999999999",
    "changes-since=2001-01-01",
)


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_bad_list(gateway: Gateway, query: str) -> None:
    answer = gateway.call("GET", f"/v2/images?{query}")
    assert answer.status == 400, answer.body
    assert answer.reason in ("bad_query", "bad_request")


@pytest.mark.usefixtures("_shelf")
def test_pages(gateway: Gateway) -> None:
    """By the links alone, each image once and in order."""
    token = gateway.token("shelf")
    seen: list[str] = []
    link: str | None = "/v2/images?limit=2&sort=name:asc&tag=all"
    while link:
        page = gateway.call("GET", link, token=token).json
        assert len(page["images"]) <= 2
        assert page["first"].startswith("/v2/images?limit=2")
        assert "marker" not in page["first"]
        seen += [image["name"] for image in page["images"]]
        link = page.get("next")
    assert seen == list("abcde")


@pytest.mark.usefixtures("_shelf")
def test_many_ids_fit_into_a_list(gateway: Gateway) -> None:
    found = [gateway.create(), gateway.create()]
    ids = [*found, *(str(uuid.uuid4()) for _ in range(217))]
    answer = gateway.call("GET", f"/v2/images?id=in:{'%2C'.join(ids)}&limit=200&sort_dir=asc")
    assert [image["id"] for image in answer.json["images"]] == found


def test_what_is_too_long_for_the_server(gateway: Gateway) -> None:
    assert gateway.call("GET", f"/v2/images?name={'a' * 16_000}").status == 200
    assert gateway.call("GET", f"/v2/images?name={'a' * 16_384}").status == 414
    for length, status in ((16_000, 401), (16_384, 431)):
        assert gateway.call("GET", "/v2/images", token="t" * length).status == status


def test_admin_sees_all(gateway: Gateway) -> None:
    found = ids(gateway, "limit=1000&owner=shelf", gateway.admin)
    assert len(found) == 5
    assert ids(gateway, "owner=shelf") == []


def test_hidden(gateway: Gateway) -> None:
    image_id = gateway.create(os_hidden=True)
    assert image_id not in ids(gateway, "limit=1000")
    assert image_id in ids(gateway, "limit=1000&os_hidden=true")
    assert gateway.call("GET", f"/v2/images/{image_id}").status == 200


# Request ids


def test_request_id(gateway: Gateway) -> None:
    mine = "req-" + str(uuid.uuid4())
    answer = gateway.call("GET", "/v2/images", headers={"X-Openstack-Request-Id": mine})
    assert answer.headers["X-Openstack-Request-Id"] != mine
    eventually(lambda: mine in gateway.log_text(), "the access log has both ids")
    forged = "req-1\tforged"
    answer = gateway.call("GET", "/v2/images", headers={"X-Openstack-Request-Id": forged})
    assert gateway.access(answer)["status"] == answer.status
    assert "forged" not in gateway.log_text()


def test_browsers_may_ask_first(start: Callable[..., Gateway]) -> None:
    origin = "https://horizon.example"
    gateway = start("[cors]\nallowed_origin = https://horizon.example\n")
    question = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "x-auth-token,content-type",
    }
    path = f"/v2/images/{gateway.create()}/file"
    answer = gateway.call("OPTIONS", path, token=None, headers=question)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Headers"] == "x-auth-token,content-type"
    assert answer.headers["X-Openstack-Request-Id"]
    for token, status in ((None, 401), ("", 204)):
        headers = {"Origin": origin, "Content-Type": "application/octet-stream"}
        told = gateway.call("PUT", path, b"data", token=token, headers=headers)
        assert told.status == status
        assert told.headers["Access-Control-Allow-Origin"] == origin
    downloaded = gateway.call("GET", path, headers={"Origin": origin})
    assert downloaded.body == b"data"
    assert downloaded.headers["Access-Control-Allow-Origin"] == origin


def test_browsers_get_no_headers_by_default(gateway: Gateway) -> None:
    answer = gateway.call("OPTIONS", "/v2/images", headers={"Origin": "https://horizon.example"})
    assert answer.outcome == (405, "method_not_allowed")
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_token_file_is_read_again(gateway: Gateway) -> None:
    """A token that is taken away is refused at the next request."""
    token = gateway.token("short-lived")
    assert gateway.call("GET", "/v2/images", token=token).status == 200
    path = gateway.state / "tokens"
    lines = path.read_text().splitlines(keepends=True)
    kept = "".join(line for line in lines if "short-lived" not in line)
    temporary = path.with_name("tokens.other")
    temporary.write_text(kept)
    temporary.rename(path)
    for _ in range(4):
        assert gateway.call("GET", "/v2/images", token=token).status == 401
    assert gateway.call("GET", "/v2/images").status == 200
