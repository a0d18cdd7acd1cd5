"""Every algorithm that a list names exists, with digests that fit into the record."""

import hashlib

import pytest

from imsgate import hashing


@pytest.mark.parametrize(
    "algorithm",
    sorted({*hashing.OS_HASH, *hashing.VALIDATION_DATA, *hashing.DOWNLOAD, hashing.CHECKSUM}),
)
def test_algorithm_fits_into_the_record(algorithm):
    assert 16 <= hashing.digest_size(algorithm) <= 64


def test_unknown_algorithm():
    with pytest.raises(ValueError, match="nosuch"):
        hashing.digest_size("nosuch")


SHA, MD5 = hashlib.sha512(b"").hexdigest(), hashlib.md5(b"").hexdigest()

RECORDED = {
    "both": (("sha512", SHA, MD5), {"sha512": SHA, "md5": MD5}),
    "in capitals": (("sha512", SHA.upper(), None), {"sha512": SHA}),
    "of an old release of Glance": ((None, None, MD5), {"md5": MD5}),
    "without a checksum": (("md5", MD5, None), {"md5": MD5}),
    "unknown algorithm": (("rot13", "00", MD5), {"md5": MD5}),
    "none": ((None, None, None), {}),
}


@pytest.mark.parametrize(("fields", "digests"), RECORDED.values(), ids=RECORDED)
def test_digests_of_a_record(fields, digests):
    found = hashing.recorded(*fields)
    assert found == digests
    assert list(found) == list(digests)  # the first one is what copies are compared with


def test_each_digest_is_computed_once():
    assert hashing.RecordAlgorithms("sha256").names() == ("md5", "sha256")
    assert hashing.RecordAlgorithms("md5").names() == ("md5",)
    assert hashing.RecordAlgorithms("md5", checksum=None).names() == ("md5",)
