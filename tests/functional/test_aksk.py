"""Signed requests over a real gateway, signed by the vendor's own SDK."""

import functools
import hashlib
import os

import pytest

from imsgate.auth import key_file
from tests.functional import huawei
from tests.functional.conftest import needs
from tests.functional.gateway import HOST, Answer, Gateway, eventually, serving
from tests.functional.wire import Wire

BODY = os.urandom(3 << 20)
LIMIT = 12 << 20
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def _signing(tmp_path_factory):
    needs(huawei.AVAILABLE, "huaweicloudsdkims")
    config = "[paste_deploy]\nflavor = tokens+aksk\n"
    gateway = Gateway(tmp_path_factory.mktemp("signing"), config=config)
    gateway.key = huawei.add_key(gateway, "demo", "second")
    with serving(gateway):
        yield gateway


@pytest.fixture
def signing(_signing):
    yield _signing
    _signing.check_log()


@pytest.fixture(scope="module")
def process(_signing, tmp_path_factory):
    with huawei.Process(_signing, tmp_path_factory.mktemp("sdk")) as process:
        yield process


@pytest.fixture
def sdk(_signing, process):
    return huawei.Huawei(process, _signing.key, "demo")


def send(gateway, method, path, body=b"", **headers) -> Answer:
    return gateway.call(method, path, body, token=None, headers=headers)


def upload(gateway, image_id, body, headers) -> Answer:
    return send(gateway, "PUT", f"/v2/images/{image_id}/file", body, **{**OCTETS, **headers})


def test_the_sdk_as_it_is(signing, sdk):
    record = {"name": "signed", "disk_format": "raw", "container_format": "bare"}
    made = sdk.call("glance_create_image_metadata", record)
    image_id = made["id"]
    assert (made["status"], made["owner"]) == ("queued", "demo")
    headers = sdk.sign("PUT", f"/v2/images/{image_id}/file", BODY, **OCTETS)
    assert headers["X-Sdk-Content-Sha256"] == "UNSIGNED-PAYLOAD"
    assert upload(signing, image_id, BODY, headers).status == 204
    shown = sdk.call("glance_show_image", image_id=image_id)
    assert (shown["status"], shown["checksum"]) == ("active", hashlib.md5(BODY).hexdigest())
    listed = sdk.call("glance_list_images", limit=5, name="signed", protected=False)
    assert [image["id"] for image in listed["images"]] == [image_id]
    change = [{"op": "replace", "path": "/name", "value": "n\xf6w + ~"}]
    assert sdk.call("glance_update_image", change, image_id=image_id)["name"] == "n\xf6w + ~"
    listed = sdk.call("glance_list_images", name="n\xf6w + ~")
    assert [image["id"] for image in listed["images"]] == [image_id]
    sdk.call("glance_create_tag", image_id=image_id, tag="a b~c")
    assert signing.show(image_id)["tags"] == ["a b~c"]
    sdk.call("glance_delete_image", image_id=image_id)
    with pytest.raises(huawei.Refused) as caught:
        sdk.call("glance_show_image", image_id=image_id)
    assert caught.value.status == 404


def hashed(sdk, path, body, **more):
    """Signed with the real hash, which no header tells of, as the Go SDK does it."""
    return sdk.sign("PUT", path, body, **more)


def declared(sdk, path, body, **more):
    """Signed with the real hash in a header."""
    real = hashlib.sha256(body).hexdigest()
    return sdk.sign("PUT", path, body, X_Sdk_Content_Sha256=real, **more)


@pytest.mark.parametrize("way", [hashed, declared])
def test_uploads_with_a_real_hash(signing, sdk, way):
    image_id = signing.create()
    path = f"/v2/images/{image_id}/file"
    headers = way(sdk, path, BODY)
    for sent in (BODY[:-1] + bytes([BODY[-1] ^ 1]), BODY + b"1"):
        refused = upload(signing, image_id, sent, headers)
        assert refused.status == 401
        assert refused.json["error_code"] == "APIGW.0301"
        signing.assert_untouched(image_id)
    assert upload(signing, image_id, BODY, headers).status == 204
    assert signing.download(image_id).body == BODY
    # The same request once more: what was done is not done twice.
    was = signing.show(image_id)
    assert upload(signing, image_id, BODY, headers).outcome == (204, None)
    assert signing.show(image_id) == was
    assert len(signing.residue(image_id)) == 1


@pytest.mark.parametrize("way", [hashed, declared])
def test_a_hashed_body_above_12_mb(signing, sdk, way):
    image_id = signing.create()
    path, body = f"/v2/images/{image_id}/file", bytes(LIMIT + 1)
    headers = {**OCTETS, **way(sdk, path, body), "Content-Length": str(len(body))}
    with Wire(signing) as wire:
        wire.head("PUT", path, [field for field in headers.items() if field[0] != "Host"])
        answer = wire.flood(len(body)).answer()
        assert wire.sent < len(body)
    assert (answer.status, answer.json["error_code"]) == (401, "APIGW.0301")
    assert answer.json["error_msg"].endswith("calc aksk signature fail:body too large")
    signing.assert_untouched(image_id)


def test_an_unsigned_body_above_12_mb(signing, sdk):
    image_id = signing.create()
    body = bytes(LIMIT + 1)
    headers = sdk.sign("PUT", f"/v2/images/{image_id}/file", b"any", **OCTETS)
    assert upload(signing, image_id, iter([body]), headers).status == 204
    assert signing.show(image_id)["size"] == len(body)


def _is_logged(gateway, text):
    return text in gateway.log_text()


def test_refusals_reach_the_sdk(signing, process):
    access, secret = signing.key.access, signing.key.secret
    told = "verify aksk signature fail, canonicalRequest:GET|/v2/images/|"
    for key, project, status, code, words in (
        (key_file.Issued(access, "wrong"), "demo", 401, "APIGW.0301", told),
        (key_file.Issued("AKX", secret), "demo", 401, "APIGW.0301", "ak:AKX,err:ak not exist"),
        (signing.key, "third", 403, "APIGW.0302", "third"),
    ):
        with pytest.raises(huawei.Refused) as caught:
            huawei.Huawei(process, key, project).call("glance_list_images")
        refused = caught.value
        assert (refused.status, refused.code) == (status, code)
        assert words in refused.message
        assert refused.request_id.startswith("req-")
        logged = functools.partial(_is_logged, signing, refused.request_id)
        eventually(logged, "the refusal is logged")


def test_a_temporary_key(signing, process):
    key = huawei.add_key(signing, "second", temporary=True)
    client = huawei.Huawei(process, key, "second")
    record = {"name": "t", "disk_format": "raw", "container_format": "bare"}
    assert client.call("glance_create_image_metadata", record)["owner"] == "second"
    refused = send(signing, "GET", "/v2/images", **client.sign("GET", "/v2/images"))
    assert refused.outcome == (401, "security_token_refused")
    assert key.token not in signing.log_text()


def test_what_was_signed_is_what_counts(signing, sdk):
    path, query = "/v2/images", [("limit", "2")]
    headers = sdk.sign("GET", path, query=query, X_Project_Id="demo", User_Agent="me")
    wanted = {"Content-Type": "application/json", "X-Auth-Token": ""}
    assert send(signing, "GET", f"{path}?limit=2", **headers).status == 200
    assert send(signing, "GET", f"{path}?limit=2", **headers).status == 200  # a retry
    assert send(signing, "GET", f"{path}?limit=2", **headers, **wanted).status == 200
    for changed in (
        {"User-Agent": "you"},
        {"X-Project-Id": "second"},
        {"X-Sdk-Date": "20200101T000000Z"},
        {"Authorization": headers["Authorization"][:-1]},
    ):
        answer = send(signing, "GET", f"{path}?limit=2", **{**headers, **changed})
        assert answer.status == 401
        assert answer.json["error_code"] == "APIGW.0301"
        assert answer.headers["X-Request-Id"] == answer.json["request_id"]
    assert send(signing, "GET", f"{path}?limit=3", **headers).status == 401
    assert send(signing, "HEAD", f"{path}?limit=2", **headers).status == 401


def test_a_skewed_clock(signing, sdk):
    headers = sdk.sign("GET", "/v2/images", X_Sdk_Date="20200101T000000Z")
    answer = send(signing, "GET", "/v2/images", **headers)
    assert answer.outcome == (401, "signature_expired")
    assert "signature time:20200101T000000Z,server time:20" in answer.json["error_msg"]


@pytest.mark.parametrize("twice", ["X-Sdk-Date", "Authorization", "X-Project-Id", "User-Agent"])
def test_headers_that_come_twice(signing, sdk, twice):
    headers = sdk.sign("GET", "/v2/images", X_Project_Id="demo", User_Agent="me", Host=HOST)
    fields = [field for field in headers.items() if field[0] != "Host"]
    for more, status in (([], 200), ([(twice, headers[twice])], 401)):
        with Wire(signing) as wire:
            wire.head("GET", "/v2/images", [*fields, *more])
            assert wire.answer().status == status


def test_tokens_work_beside_signatures(signing, sdk):
    assert signing.call("GET", "/v2/images").status == 200
    assert signing.call("GET", "/v2/images", token=None).outcome == (401, "unauthenticated")
    assert signing.call("GET", "/v2/images", token="forged").outcome == (401, "unauthenticated")
    forged = {"X-Roles": "admin", "X-Identity-Status": "Confirmed", "X-Project-Id": "demo"}
    assert send(signing, "GET", "/v2/images", **forged).outcome == (401, "unauthenticated")
    assert send(signing, "GET", "/versions").status == 200


def test_a_key_that_is_removed_while_it_uploads(signing, process):
    key = huawei.add_key(signing, "demo")
    image_id = signing.create()
    client = huawei.Huawei(process, key, None)
    headers = client.sign("PUT", f"/v2/images/{image_id}/file", b"any", **OCTETS)

    def body():
        yield BODY
        assert key_file.remove(huawei.key_files(signing)[0], key.access)
        yield BODY

    assert upload(signing, image_id, body(), headers).outcome == (401, "key_unknown")
    signing.assert_untouched(image_id)
