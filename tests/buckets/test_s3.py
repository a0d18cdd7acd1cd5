"""Which failures of the service a job waits out, and which end it at once."""

import pytest
from botocore import exceptions

from imsgate import errors
from imsgate.buckets.s3 import S3Buckets
from imsgate.stores.s3 import failures


def answered(status, code):
    reply = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(reply, "GetObject")


CASES = {
    "refused connection": (
        exceptions.EndpointConnectionError(endpoint_url="http://x"),
        errors.SourceUnavailable,
    ),
    "timeout": (exceptions.ReadTimeoutError(endpoint_url="http://x"), errors.SourceUnavailable),
    "cut": (exceptions.ResponseStreamingError(error="cut"), errors.SourceUnavailable),
    "500": (answered(500, "InternalError"), errors.SourceUnavailable),
    "503": (answered(503, "SlowDown"), errors.SourceUnavailable),
    "429": (answered(429, "TooManyRequests"), errors.SourceUnavailable),
    "400": (answered(400, "InvalidRequest"), errors.SourceFailed),
    "412": (answered(412, "PreconditionFailed"), errors.SourceFailed),
    "416": (answered(416, "InvalidRange"), errors.SourceFailed),
    "403": (answered(403, "AccessDenied"), errors.BucketNotAccessible),
    "no bucket": (answered(404, "NoSuchBucket"), errors.BucketNotAccessible),
}


@pytest.mark.parametrize(("cause", "kind"), CASES.values(), ids=CASES)
def test_failures_that_may_pass(cause, kind):
    buckets = object.__new__(S3Buckets)
    buckets._report_wrong_keys = lambda bucket: None
    with pytest.raises(errors.Error) as caught, buckets._reporting("bucket"):
        raise failures.translate("ims_buckets", "get_object", cause)
    assert type(caught.value) is kind
