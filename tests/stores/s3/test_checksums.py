"""What a host in FIPS mode without MD5 can do with a bucket."""

import base64
import hashlib
import zlib

import pytest

from imsgate import hashing
from imsgate.errors import BadConfig
from imsgate.stores.s3 import checksums, options
from imsgate.stores.s3.options import S3Settings

DATA = b"data of a part"
CRC32 = base64.b64encode(zlib.crc32(DATA).to_bytes(4)).decode()
ETAG = f'"{hashlib.md5(DATA).hexdigest()}"'


@pytest.fixture(autouse=True)
def without_md5(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("unsupported hash type md5")

    monkeypatch.setattr(hashing, "is_available", lambda algorithm: algorithm != "md5")
    monkeypatch.setattr(hashlib, "md5", refuse)


REPLIES = {
    "same": ({"ChecksumCRC32": CRC32}, True),
    "other": ({"ChecksumCRC32": "AAAAAA=="}, False),
    "a service that ignores CRC32": ({}, False),
}


@pytest.mark.parametrize(("reply", "good"), REPLIES.values(), ids=REPLIES)
def test_only_crc32_proves_what_was_stored(reply, good):
    sums = checksums.Checksums("when_supported", etag_is_md5=True)
    params, expected = sums.of_body(DATA)
    assert params == {"ChecksumCRC32": CRC32}
    receipt = sums.verify(expected, DATA, {"ETag": ETAG, **reply})
    assert (receipt is not None) is good
    if receipt:
        assert sums.match_object({"ETag": ETAG, **reply}, [receipt], parts=False)


def test_content_md5_cannot_be_configured():
    given = {"host": "s3", "access_key": "a", "secret_key": "s", "bucket": "b"}
    named = {f"s3_store_{option}": value for option, value in given.items()}
    options.check("s3", S3Settings(**named, s3_store_request_checksum_calculation="when_supported"))
    with pytest.raises(BadConfig) as refused:
        options.check("s3", S3Settings(**named))
    assert refused.value.key == "[s3] s3_store_request_checksum_calculation"
