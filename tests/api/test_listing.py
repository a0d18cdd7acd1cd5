"""Lists: filters, sorting, pages and their links."""

import datetime
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate.model import Image, Member, MemberStatus, Status, Visibility
from imsgate.testing.gateways import gateway
from imsgate.testing.registries.statuses import bring
from tests.api.people import PEOPLE, Person, reason

DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def image(number, owner="p1", **fields):
    when = DAY + datetime.timedelta(days=number)
    return Image(
        id=f"00000000-0000-4000-8000-{number:012d}",
        owner=owner,
        **{"name": f"i{number}", "created_at": when, "updated_at": when, **fields},
    )


ACTIVE = {"status": Status.ACTIVE, "disk_format": "raw", "container_format": "bare"}
IMAGES = [
    image(0, size=10, virtual_size=100, checksum="c0", **ACTIVE),
    image(1, size=20, name="a,b", min_disk=5, tags=frozenset({"x"}), **ACTIVE),
    image(2, name=None, tags=frozenset({"x", "y"}), properties={"bus": "scsi"}),
    image(3, name="i0", protected=True, disk_format="qcow2", properties={"bus": "ide"}),
    image(4, os_hidden=True),
    image(5, "p2", visibility=Visibility.PUBLIC),
    image(6, "p2", visibility=Visibility.COMMUNITY),
    image(7, "p2", visibility=Visibility.SHARED),
    image(8, "p2", visibility=Visibility.PRIVATE),
    image(9, "p1", visibility=Visibility.COMMUNITY),
    image(10, "p2", visibility=Visibility.SHARED),
    image(11, "p2", status=Status.DELETED, visibility=Visibility.PUBLIC),
]


def filled(**api):
    gate = gateway(**api)
    for one in IMAGES:
        gate.registry.add(one)
    for number, status in ((7, MemberStatus.ACCEPTED), (10, MemberStatus.PENDING)):
        gate.registry.add_member(
            Member(
                image_id=IMAGES[number].id,
                member_id="p1",
                status=status,
                created_at=DAY,
                updated_at=DAY,
            )
        )
    return gate


GATE = filled()
OWNER = Person(GATE.app, PEOPLE["owner"])
ADMIN = Person(GATE.app, PEOPLE["admin"])


def numbers(answer):
    assert answer.status_int == 200, answer
    return [int(one["id"][-12:]) for one in answer.json["images"]]


def listed(query, person=OWNER):
    return numbers(person.get(f"/v2/images?{query}"))


def test_what_is_listed_without_a_word():
    assert listed("") == [9, 7, 5, 3, 2, 1, 0]
    assert listed("", ADMIN) == [10, 8, 7, 5, 3, 2, 1, 0]
    assert listed("", Person(GATE.app, PEOPLE["sharer"])) == [5]


FOUND = {
    "visibility=public": [5],
    "visibility=private": [],
    "visibility=shared": [7, 3, 2, 1, 0],
    "visibility=community": [9, 6],
    "visibility=all": [9, 7, 6, 5, 3, 2, 1, 0],
    "visibility=shared&member_status=all": [10, 7, 3, 2, 1, 0],
    "member_status=pending": [10, 9, 5, 3, 2, 1, 0],
    "member_status=rejected": [9, 5, 3, 2, 1, 0],
    "owner=p1": [9, 3, 2, 1, 0],
    "owner=p2": [7, 5],
    "owner=": [],
    "name=i0": [3, 0],
    "name=": [],
    "name=I0": [],
    "name=eq:i0": [3, 0],
    "name=in:i0": [3, 0],
    "name=in:i0,i5": [5, 3, 0],
    'name=in:"a,b",i5': [5, 1],
    "name=in:i0, i5": [5, 3, 0],
    "name=in:": [],
    "name=a%2Cb": [1],
    "id=in:00000000-0000-4000-8000-000000000001,x": [1],
    "id=00000000-0000-4000-8000-000000000001": [1],
    "status=active": [1, 0],
    "status=in:active,queued": [9, 7, 5, 3, 2, 1, 0],
    "status=deleted": [],
    "status=whatever": [],
    "disk_format=raw": [1, 0],
    "disk_format=in:raw,qcow2": [3, 1, 0],
    "container_format=bare": [1, 0],
    "size=10": [0],
    "size_min=10": [1, 0],
    "size_min=11": [1],
    "size_max=10": [0],
    "size_min=10&size_max=10": [0],
    "virtual_size=100": [0],
    "min_disk=5": [1],
    "min_disk_min=1": [1],
    "min_ram=0": [9, 7, 5, 3, 2, 1, 0],
    "checksum=c0": [0],
    "os_hash_value=c0": [],
    "protected=true": [3],
    "protected=True": [3],
    "protected=false": [9, 7, 5, 2, 1, 0],
    "os_hidden=true": [4],
    "os_hidden=false": [9, 7, 5, 3, 2, 1, 0],
    "tag=x": [2, 1],
    "tag=x&tag=y": [2],
    "tag=z": [],
    "bus=scsi": [2],
    "bus=scsi&bus=ide": [3],
    "name=i5&name=i0": [3, 0],
    "disk_format=raw&disk_format=qcow2": [3],
    "os_hidden=true&os_hidden=false": [9, 7, 5, 3, 2, 1, 0],
    "os_hidden=false&os_hidden=true": [4],
    "size_min=20&size_min=10&size_max=10": [0],
    "size=big&size=10": [0],
    "unheard=of": [],
    "created_at=2026-01-03T00:00:00Z": [2],
    "created_at=eq:2026-01-03T00:00:00Z": [2],
    "created_at=gt:2026-01-03T00:00:00Z": [9, 7, 5, 3],
    "created_at=gte:2026-01-03T00:00:00Z": [9, 7, 5, 3, 2],
    "created_at=lt:2026-01-03T00:00:00Z": [1, 0],
    "created_at=lte:2026-01-03T00:00:00%2B00:00": [2, 1, 0],
    "created_at=neq:2026-01-03T00:00:00": [9, 7, 5, 3, 1, 0],
    "created_at=gt:2026-01-03T00:00:00Z&created_at=lt:2026-01-06T00:00:00Z": [3],
    "updated_at=gt:2026-01-03T02:00:00%2B02:00": [9, 7, 5, 3],
    "name=i0&status=active": [0],
    "sort=name:asc": [2, 1, 0, 3, 5, 7, 9],
    "sort=name": [9, 7, 5, 3, 0, 1, 2],
    "sort=name:desc": [9, 7, 5, 3, 0, 1, 2],
    "sort=name:asc,created_at:desc": [2, 1, 3, 0, 5, 7, 9],
    "sort=size:asc,id:asc": [2, 3, 5, 7, 9, 0, 1],
    "sort_key=name&sort_dir=asc": [2, 1, 0, 3, 5, 7, 9],
    "sort_key=name": [9, 7, 5, 3, 0, 1, 2],
    "sort_dir=asc": [0, 1, 2, 3, 5, 7, 9],
    "sort_key=name&sort_key=created_at&sort_dir=asc&sort_dir=desc": [2, 1, 3, 0, 5, 7, 9],
    "sort_key=name&sort_key=created_at&sort_dir=asc": [2, 1, 0, 3, 5, 7, 9],
    "sort_key=size&sort_key=id&sort_dir=asc": [2, 3, 5, 7, 9, 0, 1],
    "limit=2": [9, 7],
    "limit=0": [],
    "limit=999999": [9, 7, 5, 3, 2, 1, 0],
    "marker=00000000-0000-4000-8000-000000000003": [2, 1, 0],
    "marker=00000000-0000-4000-8000-000000000003&limit=1": [2],
    "marker=00000000-0000-4000-8000-000000000003&sort_dir=asc": [5, 7, 9],
}


@pytest.mark.parametrize(("query", "expected"), FOUND.items(), ids=FOUND)
def test_found(query, expected):
    assert listed(query.replace(" ", "%20").replace('"', "%22")) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("in:a,", [0]),
        ('in:"a",', [0]),
        ("in:a,,b", [2, 1, 0]),
        ("in:,a", [1, 0]),
        ('in:a,""', [1, 0]),
        ("in:", []),
    ],
)
def test_a_comma_may_end_a_list_of_values(values, expected):
    gate = gateway()
    for number, name in enumerate(("a", "", "b")):
        gate.registry.add(image(number, name=name))
    query = urllib.parse.urlencode({"name": values})
    assert listed(query, Person(gate.app, PEOPLE["owner"])) == expected


BAD = {
    "limit=-1": "limit",
    "limit=two": "limit",
    "limit=": "limit",
    "limit=1.0": "limit",
    "limit=%D9%A5": "limit",
    "limit=+1": "limit",
    "limit=" + "9" * 19: "limit",
    "marker=none": "marker",
    "marker=": "marker",
    "marker=00000000-0000-4000-8000-000000000008": "marker",
    "marker=00000000-0000-4000-8000-000000000011": "marker",
    "visibility=secret": "visibility",
    "visibility=": "visibility",
    "member_status=perhaps": "member_status",
    "protected=perhaps": "protected",
    "os_hidden=1": "os_hidden",
    "size=big": "size",
    "size_min=-1": "size_min",
    "size_max=1e3": "size_max",
    "min_ram=": "min_ram",
    "virtual_size=" + "9" * 19: "virtual_size",
    "created_at=yesterday": "created_at",
    "created_at=gt:": "created_at",
    "created_at=in:2026-01-01": "created_at",
    "created_at=0001-01-01T00:00:00%2B14:00": "created_at",
    "updated_at=9999-12-31T23:59:59-14:00": "updated_at",
    "changes-since=2026-01-01T00:00:00Z": "changes-since",
    "sort=nothing": "sort_key",
    "sort=owner": "sort_key",
    "sort=": "sort_key",
    "sort=name:up": "sort_dir",
    "sort=name:asc:desc": "sort_dir",
    "sort=name,": "sort_key",
    "sort=name&sort_key=name": "sort",
    "sort=name&sort_dir=asc": "sort",
    "sort_key=nothing": "sort_key",
    "sort_key=": "sort_key",
    "sort_key=name&sort_dir=up": "sort_dir",
    "sort_key=name&sort_dir=asc&sort_dir=asc": "sort_dir",
    'name=in:"a': "name",
    'name=in:"a"b': "name",
    "name=a%00b": "name",
    "bus%00=x": "bus?",
    "tag=%00": "tag",
}


@pytest.mark.parametrize(("query", "parameter"), BAD.items(), ids=BAD)
def test_bad(query, parameter):
    answer = OWNER.get("/v2/images?" + query.replace('"', "%22"), Accept="application/json")
    assert reason(answer) == (400, "bad_query")
    assert answer.json["parameter"] == parameter


@pytest.mark.parametrize("query", ["name=%FF", "%FF=a", "name=%ED%A0%80", "%FF"])
@pytest.mark.parametrize("path", ["/v2/images", "/v2/info/stores", "/"])
def test_a_query_that_is_no_text(path, query):
    assert reason(OWNER.get(f"{path}?{query}")) == (400, "bad_request")


@pytest.mark.parametrize("path", ["/v2/images", "/v2/tasks", "/v2/info/stores", "/"])
def test_a_query_that_holds_what_postgresql_cannot(path):
    answer = OWNER.get(f"{path}?marker=a%00", Accept="application/json")
    assert reason(answer) == (400, "bad_query")
    assert answer.json["parameter"] == "marker"


# Pages


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
@pytest.mark.parametrize(
    "query",
    ["", "sort=name:asc,size:desc", "sort_key=size&sort_dir=asc", "visibility=all", "tag=x"],
)
def test_following_next_finds_everything_once(query, size):
    expected = listed(query)
    found, href = [], f"/v2/images?{query}&limit={size}"
    first = None
    while href:
        page = OWNER.get(href)
        found += numbers(page)
        assert len(page.json["images"]) <= size
        first = first or page.json["first"]
        assert page.json["first"] == first
        href = page.json.get("next")
    assert found == expected
    assert numbers(OWNER.get(first)) == expected[:size]


def test_links_keep_the_query():
    query = [("limit", "1"), ("name", "in:i0,i5"), ("tag", "a b"), ("tag", "c")]
    page = OWNER.get("/v2/images?" + urllib.parse.urlencode(query)).json
    assert urllib.parse.parse_qsl(urllib.parse.urlsplit(page["first"]).query) == query
    page = OWNER.get("/v2/images?limit=1&name=in:i0,i5").json
    assert urllib.parse.parse_qsl(urllib.parse.urlsplit(page["next"]).query) == [
        ("limit", "1"),
        ("name", "in:i0,i5"),
        ("marker", IMAGES[5].id),
    ]
    assert page["schema"] == "/v2/schemas/images"


def test_a_whole_list_has_no_links_but_the_first():
    page = OWNER.get("/v2/images").json
    assert (page["first"], page.get("next")) == ("/v2/images", None)


def test_pages_have_a_usual_and_a_greatest_size():
    person = Person(filled(limit_param_default=2, api_limit_max=3).app, PEOPLE["owner"])
    assert listed("", person) == [9, 7]
    assert listed("limit=100", person) == [9, 7, 5]


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_deleting_page_by_page_empties_the_list(who):
    person = Person(gateway().app, PEOPLE[who])
    for number in range(5):
        person.create(name=f"i{number}")
    href = "/v2/images?limit=2"
    while href:
        page = person.get(href).json
        for one in page["images"]:
            assert person.delete(one["self"]).status_int == 204
        href = page.get("next")
    assert listed("", person) == []


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("admin", 200), ("other", 400), ("sharer", 400)]
)
def test_whose_marker_may_be_deleted(who, status):
    gate = filled()
    marker = IMAGES[2].id
    shared = Member(image_id=marker, member_id="p3", created_at=DAY, updated_at=DAY)
    gate.registry.add_member(shared)
    bring(gate.registry, marker, Status.DELETED)
    answer = Person(gate.app, PEOPLE[who]).get(f"/v2/images?marker={marker}")
    assert answer.status_int == status
    if status == 200:
        assert numbers(answer) == [1, 0]


def test_a_marker_in_capitals_is_the_same():
    one = Image(
        id="abcdef00-0000-4000-8000-000000000000", owner="p9", created_at=DAY, updated_at=DAY
    )
    gate = gateway()
    gate.registry.add(one)
    person = Person(gate.app, PEOPLE["admin"])
    assert person.get(f"/v2/images?marker={one.id.upper()}").json["images"] == []


BY_NAME = {(400, "bad_query"), (400, "bad_request")}
KEYS = st.sampled_from(
    "limit marker visibility member_status sort sort_key sort_dir name id status owner size "
    "size_min virtual_size_max protected os_hidden tag created_at updated_at bus changes-since "
    "tags".split()
)
VALUES = st.one_of(
    st.binary(max_size=8),
    st.text(max_size=8).map(str.encode),
    st.sampled_from(
        [b"in:a,b", b'in:"a', b"gt:2026-01-01", b"name:asc,size", b"all", b"true", b"1", b"-1"]
    ),
)


@given(st.lists(st.tuples(KEYS | VALUES, VALUES), max_size=5), st.booleans())
def test_any_query_is_answered_or_refused_by_name(params, as_admin):
    person = ADMIN if as_admin else OWNER
    answer = person.get("/v2/images?" + urllib.parse.urlencode(params))
    assert answer.status_int == 200 or reason(answer) in BY_NAME


@given(st.binary(max_size=20))
def test_any_query_string_is_answered_or_refused_by_name(raw):
    text = raw.decode("latin-1").replace("#", "").replace("\n", "").replace("\r", "")
    answer = OWNER.get("/v2/images?" + urllib.parse.quote(text, safe="%&=;+", encoding="latin-1"))
    assert answer.status_int == 200 or reason(answer) in BY_NAME
