"""Headers of resumable uploads and digests: what is malformed counts as missing."""

import hashlib

import hypothesis
import pytest
from hypothesis import strategies as st

from imsgate.http import upload_headers as fields


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("?1", True),
        ("?0", False),
        (" ?1 ", True),
        ("?1;why=x", True),
        ("1", None),
        ("true", None),
        ("?2", None),
        ("?1, ?0", None),
        ("", None),
        (None, None),
        ("\xff", None),
    ],
)
def test_a_boolean(text, value):
    assert fields.boolean(text) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("12", 12),
        ("999999999999999", 10**15 - 1),
        ("1000000000000000", None),
        ("-1", None),
        ("1.0", None),
        ("?1", None),
        ("abc", None),
        ("1,2", None),
        ("", None),
        (None, None),
    ],
)
def test_a_number_of_bytes(text, value):
    assert fields.integer(text) == value


def test_digests_by_the_names_of_hashlib():
    text = "sha-256=:AAEC:, unixsum=:AA==:, md5=:AQ==:"
    assert fields.digests(text) == {"sha256": b"\0\1\2", "md5": b"\1"}


@pytest.mark.parametrize(
    "text", [None, "", "sha-256=AAEC", "sha-256=:AAEC:, md5=1", "=", "sha-256"]
)
def test_no_digests(text):
    assert fields.digests(text) == {}


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("sha-256=1, sha-512=3", "sha512"),
        ("sha-256=1, crc32c=9", "sha256"),
        ("sha-256=0", None),
        ("sha-256=x", None),
        ("", None),
        (None, None),
    ],
)
def test_the_wanted_digest(text, algorithm):
    assert fields.wanted_digest(text) == algorithm


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
def test_a_digest_that_is_written_can_be_read(algorithm):
    digest = {algorithm: hashlib.new(algorithm, b"data").digest()}
    assert fields.digests(fields.digest_field(digest)) == digest


@hypothesis.given(st.text(st.characters(max_codepoint=255)))
def test_any_text_is_read_or_ignored(text):
    assert fields.boolean(text) in (True, False, None)
    number = fields.integer(text)
    assert number is None or 0 <= number < 10**15
    assert all(isinstance(value, bytes) for value in fields.digests(text).values())
    fields.wanted_digest(text)


@hypothesis.given(st.integers(0, 10**15 - 1), st.booleans())
def test_what_is_written_can_be_read(number, flag):
    assert fields.integer(str(number)) == number
    assert fields.boolean(fields.boolean_field(flag)) is flag
