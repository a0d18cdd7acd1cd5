"""The loop that moves image data: how much it reads at a time, and what it does without a sink."""

import hashlib
import io
import itertools
import types

import pytest

from imsgate import errors
from imsgate.hashing import RecordAlgorithms
from imsgate.http.body import Tapped
from imsgate.transfer import copy, digests
from imsgate.transfer.digests import Digests
from tests.transfer.attempts import DATA


def body(read):
    return Tapped(types.SimpleNamespace(read=read), None)


def test_the_first_read_is_small_and_none_is_large():
    asked = []

    def read(size):
        asked.append(size)
        return bytes(size) if len(asked) < 8 else b""

    copy.copy(body(read), None, Digests(["md5"]), lambda: None)
    assert (asked[0], max(asked)) == (copy.FIRST_READ_BYTES, digests.BEST_CHUNK_BYTES)


def test_without_a_sink_the_body_is_digested():
    found = Digests(["md5", "sha256"])
    assert copy.copy(body(io.BytesIO(DATA).read), None, found, lambda: None) == len(DATA)
    fields = copy.data_fields(len(DATA), found, RecordAlgorithms("sha256"))
    assert fields["os_hash_value"] == hashlib.sha256(DATA).hexdigest()
    assert (fields["size"], fields["checksum"]) == (len(DATA), hashlib.md5(DATA).hexdigest())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_check_may_stop_it_before_each_read(times):
    checks, reads = itertools.count(1), []

    def check():
        if next(checks) == times:
            raise errors.Conflict(problem="stop")

    def read(size):
        reads.append(size)
        return b"x"

    with pytest.raises(errors.Conflict):
        copy.copy(body(read), None, Digests(["md5"]), check)
    assert len(reads) == times - 1


@pytest.mark.parametrize(
    ("step", "seconds", "following"),
    [
        (copy.FIRST_READ_BYTES, 0.0, 2 * copy.FIRST_READ_BYTES),
        (digests.BEST_CHUNK_BYTES, 0.0, digests.BEST_CHUNK_BYTES),
        (digests.BEST_CHUNK_BYTES, 2.0, digests.BEST_CHUNK_BYTES),
        (digests.BEST_CHUNK_BYTES, 60.0, digests.BEST_CHUNK_BYTES // 2),
        (copy.FIRST_READ_BYTES, 60.0, copy.FIRST_READ_BYTES),
    ],
)
def test_reads_from_a_slow_client_stay_small(step, seconds, following):
    assert copy._next_size(step, seconds) == following
