"""Sharing: who may share, who may see with whom, and who may answer."""

import pytest

from tests.api.people import add, reason


@pytest.fixture
def path(owner):
    """A shared image, shared with p3 and with p4."""
    path = owner.create()
    for project in ("p3", "p4"):
        assert owner.post(f"{path}/members", {"member": project}).status_int == 200
    return path


def shared_with(person, path):
    answer = person.get(f"{path}/members")
    assert answer.status_int == 200
    return [member["member_id"] for member in answer.json["members"]]


def test_a_member_is_shown_in_full(owner):
    path = owner.create()
    made = owner.post(f"{path}/members", {"member": " p3 "}).json
    times = [made.pop("created_at"), made.pop("updated_at")]
    assert times[0] == times[1]
    assert made == {
        "image_id": path.rpartition("/")[2],
        "member_id": "p3",
        "status": "pending",
        "schema": "/v2/schemas/member",
    }
    shown = owner.get(f"{path}/members/p3").json
    page = owner.get(f"{path}/members").json
    assert page == {"members": [shown], "schema": "/v2/schemas/members"}


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("owner", ["p3", "p4"]),
        ("reader", ["p3", "p4"]),
        ("admin", ["p3", "p4"]),
        ("sharer", ["p3"]),
    ],
)
def test_who_sees_with_whom_it_is_shared(people, path, who, sees):
    assert shared_with(getattr(people, who), path) == sees


ASKED = {
    "list": ("GET", "", b""),
    "show": ("GET", "/p3", b""),
    "share": ("POST", "", {"member": "p5"}),
    "stop": ("DELETE", "/p3", b""),
    "answer": ("PUT", "/p3", {"status": "accepted"}),
}
EXPECTED = {
    #          list show share stop answer
    "owner": "200 200 200 204 403",
    "reader": "200 200 403 403 403",
    "other": "404 404 404 404 404",
    "sharer": "200 200 403 403 200",
    "admin": "200 200 200 204 200",
    "nobody": "401 401 401 401 401",
}


@pytest.mark.parametrize(
    ("who", "what", "expected"),
    [
        pytest.param(who, what, int(status), id=f"{who}-{what}")
        for who, row in EXPECTED.items()
        for what, status in zip(ASKED, row.split(), strict=True)
    ],
)
def test_who_may_do_what(people, path, who, what, expected):
    method, tail, body = ASKED[what]
    answer = getattr(people, who).ask(method, f"{path}/members{tail}", body)
    assert answer.status_int == expected
    if expected >= 400:
        assert shared_with(people.owner, path) == ["p3", "p4"]
        assert people.owner.get(f"{path}/members/p3").json["status"] == "pending"


def test_a_member_sees_no_other(people, path):
    assert people.sharer.get(f"{path}/members/p4").status_int == 404
    answer = people.sharer.put(f"{path}/members/p4", {"status": "accepted"})
    assert answer.status_int == 404


@pytest.mark.parametrize("status", ["accepted", "rejected", "pending"])
def test_an_answer_decides_what_is_listed(people, path, status):
    assert people.sharer.put(f"{path}/members/p3", {"status": status}).json["status"] == status
    seen = people.sharer.get("/v2/images").json["images"]
    assert [one["self"] for one in seen] == ([path] if status == "accepted" else [])
    assert people.sharer.get(path).status_int == 200


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
@pytest.mark.parametrize("what", ["list", "show", "share", "stop", "answer"])
def test_only_a_shared_image_has_members(people, path, what, visibility):
    people.admin.patch(path, add("visibility", visibility))
    method, tail, body = ASKED[what]
    answer = people.admin.ask(method, f"{path}/members{tail}", body)
    # As in Glance: of an image that has no members, one cannot be shown.
    assert reason(answer) == ((404, "not_found") if what == "show" else (403, "forbidden"))


@pytest.mark.parametrize(
    "document",
    [[], {}, {"member": 1}, {"member": ""}, {"member": " "}, {"member": "a" * 256}, {"id": "p5"}],
    ids=repr,
)
def test_a_project_that_cannot_be_is_refused(owner, path, document):
    assert reason(owner.post(f"{path}/members", document)) == (400, "bad_json")


def test_sharing_twice_is_a_conflict(owner, path):
    answer = owner.post(f"{path}/members", {"member": "p3"})
    assert reason(answer) == (409, "already_exists")
    assert "is already shared with project p3" in answer.text


@pytest.mark.parametrize(
    "document", [[], {}, {"status": "perhaps"}, {"status": None}, {"status": 1}], ids=repr
)
def test_an_invalid_answer_is_refused(people, path, document):
    assert reason(people.sharer.put(f"{path}/members/p3", document)) == (400, "bad_json")


def test_a_former_member_sees_nothing(people, path):
    assert people.owner.delete(f"{path}/members/p3").status_int == 204
    assert people.sharer.get(path).status_int == 404
    assert people.owner.delete(f"{path}/members/p3").status_int == 404
    assert people.owner.get(f"{path}/members/p3").status_int == 404


def test_members_go_with_the_image(people, path):
    people.owner.delete(path)
    assert people.owner.get(f"{path}/members").status_int == 404
    assert people.sharer.get("/v2/images?member_status=all").json["images"] == []
