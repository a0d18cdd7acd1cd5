"""The error for each refusal of a service."""

import pytest
from botocore import exceptions

from imsgate import errors
from imsgate.stores.s3 import failures

KEY = "AKIDSHOWNBYTHESERVICE"

REFUSALS = {
    "bucket": ("NoSuchBucket", 404, errors.StoreUnavailable, "bucket does not exist"),
    "denied": ("AccessDenied", 403, errors.StoreDenied, "AccessDenied"),
    "key": ("InvalidAccessKeyId", 403, errors.StoreDenied, "InvalidAccessKeyId"),
    "signature": ("SignatureDoesNotMatch", 403, errors.StoreDenied, "SignatureDoesNotMatch"),
    "no code": ("403", 403, errors.StoreDenied, "403"),
    "clock": ("RequestTimeTooSkewed", 403, errors.StoreDenied, "clock"),
    "quota of Ceph": ("QuotaExceeded", 403, errors.StoreFull, "no space"),
    "quota of OBS": ("InsufficientStorageSpace", 409, errors.StoreFull, "no space"),
    "quota of Swift": ("EntityTooLarge", 400, errors.StoreFull, "no space"),
    "length": ("413", 413, errors.StoreFull, "no space"),
    "disk": ("InsufficientStorage", 507, errors.StoreFull, "no space"),
    "slow down": ("SlowDown", 503, errors.StoreUnavailable, "overloaded"),
    "too many": ("TooManyRequests", 429, errors.StoreUnavailable, "overloaded"),
    "internal": ("InternalError", 500, errors.StoreUnavailable, "InternalError"),
    "digest": ("BadDigest", 400, errors.StoreUnavailable, "other bytes"),
    "no word": ("A\nB", 400, errors.StoreUnavailable, "it answered 400"),
    "class": ("InvalidStorageClass", 400, errors.StoreUnavailable, "InvalidStorageClass"),
}


def refusal(code, status, headers=()):
    reply = {
        "Error": {"Code": code, "Message": f"{KEY} is not welcome"},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": dict(headers),
            "RequestId": "7\n8",
        },
    }
    return exceptions.ClientError(reply, "PutObject")


@pytest.mark.parametrize(("code", "status", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_becomes(caplog, code, status, kind, words):
    caplog.set_level("INFO")
    found = failures.translate("lab", "put_object", refusal(code, status))
    assert isinstance(found, kind)
    assert words in str(found)
    assert found.status == (413 if kind is errors.StoreFull else 503)
    assert KEY not in str(found) + caplog.text
    assert "\n" not in str(found) + caplog.text.rstrip("\n")


@pytest.mark.parametrize(
    ("told", "expected"),
    [("7", "7"), ("", "30"), ("soon", "30"), ("99999", "3600"), ("9" * 5000, "3600")],
)
def test_a_busy_service_sends_retry_after(told, expected):
    busy = refusal("SlowDown", 503, {"retry-after": told})
    found = failures.translate("lab", "put_object", busy)
    assert found.headers["Retry-After"] == expected


@pytest.mark.parametrize("code", ["NoSuchKey", "404"])
def test_a_missing_object(code):
    found = failures.translate("lab", "get_object", refusal(code, 404))
    assert isinstance(found, errors.ObjectNotFound)


def test_an_address_is_not_shown():
    url = f"http://me:{KEY}@127.0.0.1"
    for error in (
        exceptions.EndpointConnectionError(endpoint_url=url),
        exceptions.ConnectTimeoutError(endpoint_url=url),
        exceptions.SSLError(endpoint_url=url, error="x"),
        exceptions.HTTPClientError(error=url),
    ):
        found = failures.translate("lab", "get_object", error)
        assert isinstance(found, errors.StoreUnavailable)
        assert KEY not in str(found)
