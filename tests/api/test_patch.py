"""PATCH: both forms, what they may change, and what malformed ones are told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate.model import Status
from imsgate.testing.gateways import gateway
from tests.api.people import PEOPLE, V20, V21, Person, add, reason, remove, replace


@pytest.fixture
def path(owner):
    return owner.create(name="old", tags=["old"], custom="old", **{"a/b~c": "old"})


CHANGES = {
    "name": ([replace("name", "new")], {"name": "new"}),
    "add-is-replace": ([add("name", "new")], {"name": "new"}),
    "name-null": ([replace("name", None)], {"name": None}),
    "visibility": ([replace("visibility", "private")], {"visibility": "private"}),
    "protected": ([replace("protected", True)], {"protected": True}),
    "os_hidden": ([replace("os_hidden", True)], {"os_hidden": True}),
    "tags": ([replace("tags", ["b", "a", "b"])], {"tags": ["a", "b"]}),
    "no-tags": ([replace("tags", [])], {"tags": []}),
    "min_disk": ([replace("min_disk", 10)], {"min_disk": 10}),
    "min_ram": ([replace("min_ram", 10)], {"min_ram": 10}),
    "disk_format": ([replace("disk_format", "qcow2")], {"disk_format": "qcow2"}),
    "container_format": ([replace("container_format", "bare")], {"container_format": "bare"}),
    "new-property": ([add("fresh", "new")], {"fresh": "new"}),
    "property-over-another": ([add("custom", "new")], {"custom": "new"}),
    "replaced-property": ([replace("custom", "new")], {"custom": "new"}),
    "removed-property": ([remove("custom")], {"custom": None}),
    "escaped-property": ([replace("a~1b~0c", "new")], {"a/b~c": "new"}),
    "in-order": ([replace("name", "one"), replace("name", "two")], {"name": "two"}),
    "there-and-back": ([add("fresh", "x"), remove("fresh")], {"fresh": None}),
    "removed-and-added": ([remove("custom"), add("custom", "new")], {"custom": "new"}),
    "several": ([replace("name", "n"), add("x", "1"), remove("custom")], {"name": "n", "x": "1"}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize(("operations", "expected"), CHANGES.values(), ids=CHANGES)
def test_changes(owner, path, operations, expected):
    before = owner.get(path).json
    answer = owner.patch(path, *operations)
    assert answer.status_int == 200
    assert {name: answer.json.get(name) for name in expected} == expected
    assert owner.get(path).json == answer.json
    touched = {*expected, "updated_at"} | {op["path"][1:] for op in operations}
    assert {k: v for k, v in before.items() if k not in touched} == {
        k: v for k, v in answer.json.items() if k not in touched
    }


def older(operations):
    """The operations in the form of v2.0."""
    return [
        {op["op"]: op["path"], **({"value": op["value"]} if "value" in op else {})}
        for op in operations
    ]


#: What v2.1 overwrites and v2.0 does not.
OVERWRITING = {
    "add-is-replace": ("name", CHANGES["add-is-replace"][0]),
    "property-over-another": ("custom", CHANGES["property-over-another"][0]),
    "last-of-two": ("custom", [replace("name", "new"), add("custom", "new")]),
    "just-added": ("fresh", [add("fresh", "1"), add("fresh", "2")]),
    "unset": ("disk_format", [add("disk_format", "raw")]),
}
ALIKE = {name: case for name, case in CHANGES.items() if name not in OVERWRITING}


@pytest.mark.parametrize(("operations", "expected"), ALIKE.values(), ids=ALIKE)
def test_changes_in_the_older_form(owner, path, operations, expected):
    answer = owner.patch(path, *older(operations), kind=V20)
    assert answer.status_int == 200
    assert {name: answer.json.get(name) for name in expected} == expected


@pytest.mark.parametrize(("name", "operations"), OVERWRITING.values(), ids=OVERWRITING)
def test_the_older_form_adds_only_what_is_new(owner, path, name, operations):
    before = owner.get(path).json
    answer = owner.patch(path, *older(operations), kind=V20)
    assert reason(answer) == (409, "conflict")
    assert f"Property {name} already present." in answer.text
    assert owner.get(path).json == before
    assert owner.patch(path, *operations).status_int == 200


READ_ONLY = (
    "id checksum created_at direct_url file os_hash_algo os_hash_value schema self size status "
    "stores updated_at virtual_size"
).split()

REFUSED = {
    "no-list": ({"op": "add"}, 400, "bad_json"),
    "text": ("add", 400, "bad_json"),
    "no-object": (["add"], 400, "bad_json"),
    "null": ([None], 400, "bad_json"),
    "no-op": ([{"path": "/name", "value": "x"}], 400, "bad_json"),
    "unknown-op": ([{"op": "move", "path": "/name", "from": "/a"}], 400, "bad_json"),
    "test-op": ([{"op": "test", "path": "/name", "value": "old"}], 400, "bad_json"),
    "op-list": ([{"op": ["add"], "path": "/name", "value": "x"}], 400, "bad_json"),
    "no-value": ([{"op": "add", "path": "/name"}], 400, "bad_json"),
    "no-path": ([{"op": "add", "value": "x"}], 400, "bad_json"),
    "path-number": ([{"op": "add", "path": 1, "value": "x"}], 400, "bad_json"),
    "path-empty": ([{"op": "add", "path": "", "value": "x"}], 400, "bad_json"),
    "path-root": ([add("", "x")], 400, "bad_json"),
    "path-relative": ([{"op": "add", "path": "name", "value": "x"}], 400, "bad_json"),
    "path-double": ([add("/name", "x")], 400, "bad_json"),
    "path-deep": ([add("name/x", "x")], 400, "bad_json"),
    "path-trailing": ([add("name/", "x")], 400, "bad_json"),
    "path-tag": ([add("tags/-", "x")], 400, "bad_json"),
    "path-tilde": ([add("a~", "x")], 400, "bad_json"),
    "path-tilde-2": ([add("a~2b", "x")], 400, "bad_json"),
    "path-blank": ([add(" ", "x")], 400, "bad_json"),
    "path-long": ([add("a" * 256, "x")], 400, "bad_json"),
    "value-number": ([add("custom", 1)], 400, "bad_json"),
    "value-null": ([add("custom", None)], 400, "bad_json"),
    "name-number": ([add("name", 1)], 400, "bad_json"),
    "name-long": ([add("name", "a" * 256)], 400, "bad_json"),
    "visibility": ([add("visibility", "secret")], 400, "bad_json"),
    "tags-text": ([add("tags", "old")], 400, "bad_json"),
    "min_disk-negative": ([add("min_disk", -1)], 400, "bad_json"),
    "disk_format": ([add("disk_format", "floppy")], 400, "bad_json"),
    "nul": ([add("custom", "a\0b")], 400, "bad_json"),
    "nul-in-path": ([add("a\0b", "x")], 400, "bad_json"),
    "half-a-pair": ([add("\ud800", "x")], 400, "bad_json"),
    "half-a-pair-removed": ([remove("\ud800")], 400, "bad_json"),
    "missing-property-replaced": ([replace("none", "x")], 409, "conflict"),
    "missing-property-removed": ([remove("none")], 409, "conflict"),
    "removed-twice": ([remove("custom"), remove("custom")], 409, "conflict"),
    "replaced-after-removal": ([remove("custom"), replace("custom", "x")], 409, "conflict"),
    "name-removed": ([remove("name")], 403, "forbidden"),
    "tags-removed": ([remove("tags")], 403, "forbidden"),
    "owner": ([replace("owner", "p2")], 403, "forbidden"),
    "public": ([replace("visibility", "public")], 403, "forbidden"),
    "locations-deep": (
        [add("locations/0", {"url": "file:///etc/passwd", "metadata": {}})],
        403,
        "locations_invisible",
    ),
    **{f"read-only-{name}": ([replace(name, "x")], 403, "read_only") for name in READ_ONLY},
    **{f"removed-{name}": ([remove(name)], 403, "read_only") for name in READ_ONLY},
    **{
        f"reserved-{name}": ([add(name, "x")], 403, "reserved")
        for name in ("location", "deleted", "deleted_at", "os_glance_x")
    },
    "one-bad-of-two": ([replace("name", "new"), add("status", "active")], 403, "read_only"),
    "one-missing-of-two": ([replace("name", "new"), remove("none")], 409, "conflict"),
}


@pytest.mark.parametrize(("document", "status", "why"), REFUSED.values(), ids=REFUSED)
def test_refused(owner, path, document, status, why):
    before = owner.get(path).json
    answer = owner.ask("PATCH", path, document, Content_Type=V21)
    assert reason(answer) == (status, why)
    assert owner.get(path).json == before


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param({"add": "/name", "replace": "/name", "value": "x"}, id="two-ops"),
        pytest.param({"op": "add", "path": "/name", "value": "x"}, id="newer-form"),
        pytest.param({"value": "x"}, id="no-op"),
        pytest.param({"add": "/name"}, id="no-value"),
        pytest.param({"add": 1, "value": "x"}, id="path-number"),
    ],
)
def test_refused_in_the_older_form(owner, path, operation):
    assert reason(owner.patch(path, operation, kind=V20)) == (400, "bad_json")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json-patch+json", "text/plain", "", V21 + "x"]
)
def test_other_types_are_refused(owner, path, kind):
    answer = owner.patch(path, replace("name", "new"), kind=kind)
    assert reason(answer) == (415, "unsupported_media_type")
    assert V21 in answer.headers["Accept-Patch"]


def test_giving_an_image_away_without_permission_is_403(owner, path):
    answer = owner.patch(path, replace("owner", "p2"))
    assert "You are not allowed to change the owner of an image" in answer.text


def test_an_empty_owner_is_none(people, path):
    assert people.admin.patch(path, replace("owner", "")).json["owner"] is None
    made = people.admin.create(owner="")
    assert people.admin.get(made).json["owner"] is None
    assert reason(people.owner.post("/v2/images", {"owner": ""})) == (403, "forbidden")


@pytest.mark.parametrize("name", ["disk_format", "container_format"])
def test_formats_stay_once_there_is_data(owner, people, name):
    path = owner.create(disk_format="raw", container_format="bare")
    owner.upload(path)
    for person in (owner, people.admin):
        assert reason(person.patch(path, replace(name, None))) == (403, "forbidden")


def test_a_change_that_comes_between_is_kept(gate, owner):
    """Two requests at once: neither undoes what the other did."""
    path = owner.create(a="1")
    image_id = path.rpartition("/")[2]
    genuine = gate.registry.change
    others = iter([{"properties": {"a": "1", "b": "2"}}, {"tags": frozenset({"t"})}])

    def change(image_id, *was, **to):
        for fields in others:
            genuine(image_id, {}, **fields)
            break
        return genuine(image_id, *was, **to)

    gate.registry.change = change
    assert owner.patch(path, add("c", "3")).status_int == 200
    image = gate.registry.get(image_id)
    assert dict(image.properties) == {"a": "1", "b": "2", "c": "3"}
    assert image.tags == {"t"}


def test_an_image_that_never_rests_is_a_conflict(gate, owner):
    path = owner.create()
    genuine = gate.registry.change

    def change(image_id, *was, **to):
        genuine(image_id, {}, status=Status.QUEUED)
        return genuine(image_id, *was, **to)

    gate.registry.change = change
    assert reason(owner.patch(path, add("c", "3"))) == (409, "conflict")


# Whatever comes, it is answered by name.

NAMES = st.sampled_from([*READ_ONLY, "name", "tags", "visibility", "custom", "owner", "min_disk"])
TEXT = st.text(st.characters(), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
POINTERS = st.builds("/{}".format, NAMES | TEXT) | TEXT | JSON
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "replace", "remove"]) | JSON,
        "path": POINTERS,
        "value": JSON | st.sampled_from(["private", "raw", ["t"], "x", 1]),
        "add": POINTERS,
        "replace": POINTERS,
        "remove": POINTERS,
    },
)
DOCUMENTS = st.lists(OPERATIONS, max_size=4) | JSON
SHARED = Person(gateway().app, PEOPLE["owner"])
PATH = SHARED.create(custom="x")


@given(DOCUMENTS, st.sampled_from([V20, V21]))
def test_any_patch_is_taken_or_refused_by_name(document, kind):
    body = json.dumps(document).encode()
    answer = SHARED.ask("PATCH", PATH, body, Content_Type=kind)
    assert answer.status_int == 200 or answer.headers["X-Imsgate-Reason"] != "internal_error"
    assert answer.status_int in (200, 400, 403, 409, 413)
    assert SHARED.get(PATH).status_int == 200


@given(
    st.dictionaries(NAMES | TEXT, JSON, max_size=4) | JSON,
    st.sampled_from(["application/json", "*/*"]),
)
def test_any_new_image_is_taken_or_refused_by_name(document, accept):
    answer = SHARED.post("/v2/images", json.dumps(document).encode(), Accept=accept)
    assert answer.status_int in (201, 400, 403, 409, 413)
    if answer.status_int == 201:
        assert SHARED.get(answer.json["self"]).json == answer.json
