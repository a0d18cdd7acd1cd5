"""The gateway keeps what its description says: schemathesis calls each operation.

For more examples, set IMSGATE_TEST_EXAMPLES; another IMSGATE_TEST_SEED finds other ones.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from imsgate.api import patch
from imsgate.api.description import JSON, OCTETS
from imsgate.api.tus import OFFSET_OCTETS
from imsgate.http.upload_headers import PARTIAL_UPLOAD
from imsgate.testing.gateways import gateway as gateway_in_memory
from tests.api.stack import Stack
from tests.functional.gateway import Gateway, serving

EXAMPLES = int(os.environ.get("IMSGATE_TEST_EXAMPLES", "3"))
SEED = int(os.environ.get("IMSGATE_TEST_SEED", "1"))

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
]
#: Not checked:
#: positive_data_acceptance, because whether a request is refused depends on more than its schema:
#: on what exists, on the status of an image, on the user;
#: ignored_auth, because test_who_needs_to_authenticate shows the same with one request for each.

#: Operations that accept what their schemas do not allow.
LENIENT = {
    "OPTIONS": "the limits are the same for every id, whether it is one or not",
    "GET": "as in Glance, unknown parameters filter by properties",
    "PUT /v2/images/{image_id}/file": "the draft for resumable uploads: malformed headers are "
    "ignored",
    "PUT /v2/images/{image_id}/stage": "the same",
    "POST /v2/images/{image_id}/file": "the same",
    "PATCH /v2/images/{image_id}/upload": "the same",
    "POST /v2/images": "typed clients send null for what their user did not set",
}

schemathesis.serializer.alias([patch.V20, patch.V21], JSON)
schemathesis.serializer.alias([OFFSET_OCTETS, PARTIAL_UPLOAD], OCTETS)

#: Operations with the same handler as one in /v1 or /v2.
TWICE = "/v2.1/"


def _description() -> dict[str, Any]:
    """The description, before a server is started."""
    found: dict[str, Any] = Stack(gateway_in_memory().app).call(None, "GET", "/openapi.json").json
    return found


_CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
)
_SCHEMA = schemathesis.openapi.from_dict(_description(), config=_CONFIG)
OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in _SCHEMA.get_all_operations())
    if not operation.path.startswith(TWICE)
}
EVERY = pytest.mark.parametrize("label", OPERATIONS)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory: pathlib.Path = tmp_path_factory.mktemp("described")
    with serving(Gateway(directory, workers=1, threads=8)) as gateway:
        yield gateway


@EVERY
def test_what_is_described_is_so(described: Gateway, label: str) -> None:
    names = _names(described, label)
    operation = OPERATIONS[label]
    headers = {"X-Auth-Token": described.token("demo", ("member", "reader", "admin", "service"))}
    headers["Accept"] = "application/json"
    for mode in GenerationMode:
        is_lenient = label in LENIENT or label.split(maxsplit=1)[0] in LENIENT
        if mode is GenerationMode.NEGATIVE and is_lenient:
            continue
        # The path is wrong only where nothing else can be.
        fixed = names if mode is GenerationMode.POSITIVE or operation.body else None

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode, path_parameters=fixed))
        def call(case: Case) -> None:
            case.call_and_validate(base_url=described.url, headers=headers, checks=CHECKS)

        # Nothing in some requests can be wrong.
        with contextlib.suppress(Unsatisfiable):
            call()


def _names(gateway: Gateway, label: str) -> dict[str, str]:
    """What the names in the path stand for: things that exist, and that the call is for."""
    if "{image_id}" not in label:
        return {}
    method, path = label.split()
    takes_data = path.endswith(("/file", "/stage", "/upload", "/import", "/locations"))
    if method != "GET" and takes_data:
        return {"image_id": gateway.create()}
    image_id = gateway.stored(b"data", tags=["k=v"], visibility="shared")
    gateway.call("POST", f"/v2/images/{image_id}/members", {"member": "other"})
    return {"image_id": image_id, "member_id": "other", "project_id": "demo", "key": "k"}


@EVERY
def test_who_needs_to_authenticate(described: Gateway, label: str) -> None:
    method, path = label.split()
    answer = described.call(method, path.replace("{", "").replace("}", ""), token=None)
    is_public = not OPERATIONS[label].definition.raw["security"]
    assert (answer.status == 200) if is_public else (answer.status == 401)


def test_the_description_is_served(described: Gateway) -> None:
    answer = described.call("GET", "/openapi.json", token=None)
    assert answer.status == 200
    assert answer.json["servers"] == [{"url": described.url}]
    assert answer.json["paths"] == _SCHEMA.raw_schema["paths"]
