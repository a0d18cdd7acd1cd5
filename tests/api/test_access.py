"""Every verb by everybody: what is not to be seen is 404, what is not to be done 403."""

import pytest

from tests.api.people import add, reason

VISIBILITIES = ("private", "shared", "community", "public")

READS = {
    "show": ("GET", ""),
    "head": ("HEAD", ""),
}
DOWNLOAD = ("GET", "/file")
WRITES = {
    "update": ("PATCH", ""),
    "delete": ("DELETE", ""),
    "upload": ("PUT", "/file"),
    "tag": ("PUT", "/tags/t"),
    "untag": ("DELETE", "/tags/there"),
    "deactivate": ("POST", "/actions/deactivate"),
    "reactivate": ("POST", "/actions/reactivate"),
}

# Of each person: whether it may, by visibility as above.
CAN_READ = {
    "owner": "yes yes yes yes",
    "reader": "yes yes yes yes",
    "other": "404 404 yes yes",
    "sharer": "404 yes yes yes",
    "admin": "yes yes yes yes",
    "nobody": "401 401 401 401",
}
CAN_WRITE = {
    "owner": "yes yes yes yes",
    "reader": "403 403 403 403",
    "other": "404 404 403 403",
    "sharer": "404 403 403 403",
    "admin": "yes yes yes yes",
    "nobody": "401 401 401 401",
}
REASONS = {404: "not_found", 403: "forbidden", 401: "unauthenticated"}


def cells(table):
    """Who, at which visibility, and what is expected."""
    return [
        pytest.param(who, visibility, expected, id=f"{who}-{visibility}")
        for who, row in table.items()
        for visibility, expected in zip(VISIBILITIES, row.split(), strict=True)
    ]


@pytest.fixture
def image(people):
    """An image of p1 that was shared with p3 while that was possible."""

    def make(visibility):
        path = people.owner.create(
            disk_format="raw", container_format="bare", visibility="shared", tags=["there"]
        )
        assert people.owner.post(f"{path}/members", {"member": "p3"}).status_int == 200
        answer = people.admin.patch(path, add("visibility", visibility))
        assert answer.status_int == 200
        return path

    return make


def does(person, verb, path):
    method, tail = verb
    if method == "PATCH":
        return person.patch(path + tail, add("name", "new"))
    if tail == "/file" and method == "PUT":
        return person.put(path + tail, b"data", Content_Type="application/octet-stream")
    return person.ask(method, path + tail)


def check(answer, expected, allowed):
    if expected == "yes":
        assert answer.status_int in allowed
    else:
        status = int(expected)
        assert reason(answer) == (status, REASONS[status])


@pytest.mark.parametrize("verb", READS.values(), ids=READS)
@pytest.mark.parametrize(("who", "visibility", "expected"), cells(CAN_READ))
def test_who_may_read(people, image, verb, who, visibility, expected):
    check(does(getattr(people, who), verb, image(visibility)), expected, {200, 204})


@pytest.mark.parametrize(
    ("who", "visibility", "expected"), cells({**CAN_READ, "reader": CAN_WRITE["reader"]})
)
def test_who_may_download(people, image, who, visibility, expected):
    """As in Glance, a reader sees an image but does not get its data."""
    check(does(getattr(people, who), DOWNLOAD, image(visibility)), expected, {204})


@pytest.mark.parametrize("verb", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(("who", "visibility", "expected"), cells(CAN_WRITE))
def test_who_may_write(people, image, verb, who, visibility, expected):
    path = image(visibility)
    if verb in (WRITES["deactivate"], WRITES["reactivate"]):
        people.owner.upload(path)
    before = people.owner.get(path).json
    answer = does(getattr(people, who), verb, path)
    check(answer, expected, {200, 204})
    if expected != "yes":
        assert people.owner.get(path).json == before


@pytest.mark.parametrize(
    ("who", "expected"),
    [("owner", 201), ("reader", 403), ("other", 201), ("admin", 201), ("nobody", 401)],
)
def test_who_may_create(people, who, expected):
    assert getattr(people, who).post("/v2/images", {}).status_int == expected


@pytest.mark.parametrize(
    ("who", "visibility", "expected"),
    [
        ("owner", "public", 403),
        ("owner", "community", 201),
        ("owner", "private", 201),
        ("admin", "public", 201),
    ],
)
def test_who_may_make_an_image_public(people, who, visibility, expected):
    person = getattr(people, who)
    assert person.post("/v2/images", {"visibility": visibility}).status_int == expected
    path = person.create()
    answer = person.patch(path, add("visibility", visibility))
    assert answer.status_int == (200 if expected == 201 else expected)


@pytest.mark.parametrize(
    ("who", "project", "expected"),
    [
        ("owner", "p1", 201),
        ("owner", "p2", 403),
        ("owner", None, 403),
        ("admin", "p2", 201),
        ("admin", None, 201),
    ],
)
def test_who_may_act_for_a_project(people, who, project, expected):
    person = getattr(people, who)
    assert person.post("/v2/images", {"owner": project}).status_int == expected
    answer = person.patch(person.create(), add("owner", project))
    assert answer.status_int == (200 if expected == 201 else expected)


def test_an_image_of_no_project_is_nobodys(people, gate):
    path = people.admin.create(owner=None, visibility="private")
    assert people.owner.get(path).status_int == 404
    assert people.admin.get(path).status_int == 200


@pytest.mark.parametrize("path", ["/v2/images", "/v2/info/stores/detail"])
def test_nobody_is_told_to_authenticate(people, path):
    assert reason(people.nobody.get(path)) == (401, "unauthenticated")


@pytest.mark.parametrize("who", ["owner", "reader", "other"])
def test_store_details_are_for_admins(people, who):
    assert reason(getattr(people, who).get("/v2/info/stores/detail")) == (403, "forbidden")
