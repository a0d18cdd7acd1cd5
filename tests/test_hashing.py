"""Every algorithm that a list names exists, with digests that fit into the record."""

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
