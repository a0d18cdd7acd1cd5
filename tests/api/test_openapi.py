"""The description of the API."""

import functools

import openapi_spec_validator
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from imsgate import app
from imsgate.api import routes
from imsgate.api.description import JSON
from imsgate.testing.gateways import gateway
from tests.api.people import PEOPLE, Person

METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}


@functools.cache
def description():
    return Person(gateway().app, None).get("/openapi.json").json


def operations():
    """Every operation by its method and path."""
    return {
        (method, path): operation
        for path, item in description()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_it_is_valid():
    openapi_spec_validator.validate(description(), cls=OpenAPIV31SpecValidator)


def test_it_has_all_routes_and_no_others(monkeypatch):
    tables = []

    class Watched(routes.Router):
        def __init__(self, table, versions):
            tables.append(table)
            super().__init__(table, versions)

    monkeypatch.setattr(app.routes, "Router", Watched)
    gateway()
    (table,) = tables
    in_table = {(method.lower(), route.template) for route in table for method in route.handlers}
    # HEAD is listed where it is not just GET without a body.
    assert {call for call in operations() if call[0] != "head"} == in_table
    heads = {path for method, path in operations() if method == "head"}
    assert heads == {"/v2/images/{image_id}/upload"}


def test_each_operation_says_what_it_does():
    found = operations().values()
    ids = [operation["operationId"] for operation in found]
    assert len(set(ids)) == len(ids)
    for operation in found:
        assert operation["summary"], operation["operationId"]
        assert all(not tag.endswith(".") for tag in operation["tags"]), operation["tags"]


@pytest.mark.parametrize(
    ("call", "form"),
    [
        (("get", "/v2/images"), "ImageApiRefused"),
        (("post", "/v2/images"), "ImageApiRefusedOrProblem"),
        (("patch", "/v2/images/{image_id}/upload"), "ImageApiRefusedOrProblem"),
        (("get", "/v2/cloudimages"), "ImsRefused"),
        (("post", "/v2/cloudimages/action"), "ImsRefusedOrProblem"),
        (("get", "/v1/{project_id}/jobs/{job_id}"), "ImsRefused"),
    ],
)
def test_refusals_name_their_form(call, form):
    answer = operations()[call]["responses"]["400"]
    assert answer == {"$ref": f"#/components/responses/{form}"}


def test_who_needs_to_authenticate():
    public = {call for call, operation in operations().items() if operation["security"] == []}
    assert public == {("get", "/versions"), ("get", "/openapi.json")}


def test_names_in_paths_are_parameters():
    for path, item in description()["paths"].items():
        names = [parameter["name"] for parameter in item.get("parameters", [])]
        assert all(f"{{{name}}}" in path for name in names)
        assert path.count("{") == len(names)


def test_no_schema_is_there_twice():
    """Requests and responses refer to the schemas that clients also get from /v2/schemas."""
    create = operations()["post", "/v2/images"]
    reference = {"$ref": "#/components/schemas/image"}
    assert create["requestBody"]["content"][JSON]["schema"] == reference
    assert create["responses"]["201"]["content"][JSON]["schema"] == reference
    components = description()["components"]["schemas"]
    assert components["images"]["properties"]["images"]["items"] == reference
    owner = Person(gateway().app, PEOPLE["owner"])
    for name in ("image", "member", "task"):
        published = owner.get(f"/v2/schemas/{name}").json["properties"]
        assert published.items() <= components[name]["properties"].items()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [(None, "http://localhost"), ("https://i.example/im/", "https://i.example/im")],
)
def test_it_says_where_the_service_is(endpoint, url):
    gate = gateway(public_endpoint=endpoint).app
    assert Person(gate, None).get("/openapi.json").json["servers"] == [{"url": url}]
