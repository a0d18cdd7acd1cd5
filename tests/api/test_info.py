"""Versions, schemas, stores and import methods."""

import jsonschema
import pytest

from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person, reason


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 300), ("/versions", 200), ("/versions/", 200), ("/v2", 300), ("/v2/", 300), ("/v1", 300),
     ("/anything", 300)],
)  # fmt: skip
def test_versions(people, path, status):
    answer = people.nobody.get(path)
    versions = answer.json["versions"]
    assert answer.status_int == status
    assert [one["id"] for one in versions][-1] == "v2.0"
    assert [one["status"] for one in versions].count("CURRENT") == 1
    assert versions[0]["status"] == "CURRENT"
    assert {one["links"][0]["href"] for one in versions} == {"http://localhost/v2/"}


def test_versions_are_those_that_are_whole(owner):
    """As a Glance with ``enabled_backends`` and without ``image_cache_dir`` announces them."""
    found = {one["id"] for one in owner.get("/versions").json["versions"]}
    assert found == {f"v2.{minor}" for minor in range(18)} - {"v2.14", "v2.16"}
    for path, version in {"/v2/cache": "v2.16", "/v2/cache/nodes": "v2.18"}.items():
        assert owner.get(path).status_int == 404
        assert version not in found


@pytest.mark.parametrize("start", ["/v2.5", "/v2.17", "//v2", "//v2.0/"])
def test_minor_versions_and_slashes_lead_to_the_same(owner, start):
    created = owner.post(f"{start}/images", {"disk_format": "raw", "container_format": "bare"})
    assert created.status_int == 201
    path = created.json["self"]
    assert path.startswith("/v2/images/")
    owner.upload(start + path[3:])
    assert owner.get(f"{start}//images").json["images"] == [owner.get(path).json]
    assert owner.get(path).json["status"] == "active"
    assert owner.get(f"{start}/nosuch").status_int == 404


def test_versions_name_the_public_endpoint():
    app = gateway(public_endpoint="https://images.example/image/").app
    answer = Person(app, None).get("/", Host="evil.example", X_Forwarded_Host="evil.example")
    assert "evil" not in answer.text
    href = answer.json["versions"][0]["links"][0]["href"]
    assert href == "https://images.example/image/v2/"


@pytest.mark.parametrize(
    ("public_endpoint", "base"),
    [("https://images.example/image/", "https://images.example/image"), (None, "http://localhost")],
)
def test_a_new_image_is_where_the_versions_are(public_endpoint, base):
    owner = Person(gateway(public_endpoint=public_endpoint).app, PEOPLE["owner"])
    host = "evil.example" if public_endpoint else "localhost"
    made = owner.post("/v2/images", {}, Host=host, X_Forwarded_Host="evil.example")
    assert made.headers["Location"] == f"{base}/v2/images/{made.json['id']}"
    versions = owner.get("/versions", Host=host).json["versions"]
    assert versions[0]["links"][0]["href"] == f"{base}/v2/"


@pytest.mark.parametrize("name", ["image", "images", "member", "members"])
def test_schemas(owner, name):
    schema = owner.get(f"/v2/schemas/{name}").json
    assert schema["name"] == name
    jsonschema.Draft202012Validator.check_schema(schema)


def test_what_is_shown_fits_its_schema(people, owner):
    path = owner.create(custom="x")
    owner.post(f"{path}/members", {"member": "p3"})
    pairs = [
        (path, "image"),
        ("/v2/images", "images"),
        (f"{path}/members/p3", "member"),
        (f"{path}/members", "members"),
    ]
    for shown, name in pairs:
        schema = owner.get(f"/v2/schemas/{name}").json
        jsonschema.validate(owner.get(shown).json, schema)
        assert set(owner.get(shown).json) - {"custom"} <= set(schema["properties"])


def test_import_methods(owner):
    methods = ["glance-direct", "web-download", "copy-image"]
    assert owner.get("/v2/info/import").json["import-methods"]["value"] == methods
    created = owner.post("/v2/images", {})
    assert created.headers["OpenStack-image-import-methods"] == ",".join(methods)


def test_stores(owner):
    assert owner.get("/v2/info/stores").json == {
        "stores": [{"id": "fast", "default": "true"}, {"id": "archive"}]
    }


def test_store_details():
    stores = [memory_store("fast", 100), memory_store("archive")]
    app = gateway(stores=stores, descriptions={"archive": "Slow and safe"}).app
    admin = Person(app, PEOPLE["admin"])
    path = admin.create(disk_format="raw", container_format="bare")
    admin.upload(path, bytes(30))
    fast, archive = admin.get("/v2/info/stores/detail").json["stores"]
    assert fast == {
        "id": "fast",
        "default": "true",
        "type": "memory",
        "weight": 0,
        "health": "up",
        "properties": {"free_space": 70},
    }
    assert archive["description"] == "Slow and safe"
    assert "free_space" not in archive["properties"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_documents_are_only_read(owner, method):
    assert reason(owner.ask(method, "/v2/info/stores")) == (405, "method_not_allowed")
