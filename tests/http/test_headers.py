"""Header texts to values, or to a named error."""

import contextlib

import http_sf
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.http import headers
from imsgate.http.headers import Range

LATIN = st.text(st.characters(max_codepoint=255), max_size=30)


@pytest.mark.parametrize(
    ("text", "value"),
    [(None, None), ("0", 0), ("007", 7), ("9223372036854775807", 2**63 - 1), ("123", 123)],
)
def test_digits(text, value):
    assert headers.digits("X", text) == value


@given(LATIN | st.text(max_size=20))
@example("9223372036854775808")
@example("9" * 19)
def test_any_other_digits_are_refused(text):
    plain = 0 < len(text) < 20 and all("0" <= letter <= "9" for letter in text)
    if plain and int(text) < 2**63:
        assert headers.digits("X-Any", text) == int(text)
    else:
        with pytest.raises(errors.BadHeader, match="X-Any"):
            headers.digits("X-Any", text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (None, None),
        ('"a"', "a"),
        ("a", "a"),
        ('"a b,:?/"', "a b,:?/"),
        (r'"\"\\"', '"\\'),
        ('\t"a" ', "a"),
        ('"a";b;c=2', "a"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("a:b/c=", "a:b/c="),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
    ],
)
def test_idempotency_key(text, key):
    assert headers.idempotency_key(text) == key


@given(LATIN | st.text(max_size=20) | st.from_regex(r'\A".*"\Z', fullmatch=True))
def test_an_idempotency_key_is_a_string_or_refused(text):
    try:
        key = headers.idempotency_key(text)
    except errors.BadIdempotencyKey:
        return
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()
    assert headers.idempotency_key(http_sf.ser(key)) == key


@pytest.mark.parametrize(
    ("length", "coding", "value"),
    [
        (None, None, None),
        ("", None, None),
        ("5", None, 5),
        (None, "chunked", None),
        ("", "CHUNKED", None),
    ],
)
def test_framing(length, coding, value):
    assert headers.framing(length, coding) == value


@given(st.none() | LATIN, LATIN)
def test_any_other_coding_is_refused(length, coding):
    if coding.lower() == "chunked" and not length:
        return
    with pytest.raises(errors.BadHeader) as caught:
        headers.framing(length, coding)
    assert caught.value.details["header"] == "Transfer-Encoding"


RANGES = {
    # text: (range, its offset and length in ten bytes; None: not satisfiable)
    "bytes=0-0": (Range(0, 0), (0, 1)),
    "bytes=0-9": (Range(0, 9), (0, 10)),
    "Bytes=0-8": (Range(0, 8), (0, 9)),
    "bytes=2-4": (Range(2, 4), (2, 3)),
    "bytes=2-": (Range(2, None), (2, 8)),
    "bytes=0-": (Range(0, None), (0, 10)),
    "bytes=9-": (Range(9, None), (9, 1)),
    "bytes=9-99": (Range(9, 99), (9, 1)),
    "bytes=10-": (Range(10, None), None),
    "bytes=10-20": (Range(10, 20), None),
    "bytes=-1": (Range(None, 1), (9, 1)),
    "bytes=-10": (Range(None, 10), (0, 10)),
    "bytes=-99": (Range(None, 99), (0, 10)),
    "bytes=-0": (Range(None, 0), None),
    " bytes = 1-2 ": (Range(1, 2), (1, 2)),
    "bytes=" + "9" * 19 + "-": (Range(int("9" * 19), None), None),
}


@pytest.mark.parametrize(("text", "expected"), RANGES.items(), ids=RANGES)
def test_ranges(text, expected):
    wanted, within = expected
    found = headers.byte_range(text)
    assert found == wanted
    if within:
        assert found.within(10) == within
    else:
        with pytest.raises(errors.RangeNotSatisfiable) as caught:
            found.within(10)
        assert caught.value.headers["Content-Range"] == "bytes */10"


@given(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30), st.integers(0, 20))
def test_a_range_lies_within_the_image(first, last, size):
    if first is None and last is None:
        return
    try:
        offset, length = Range(first, last).within(size)
    except errors.RangeNotSatisfiable:
        assert size == 0 or (first or 0) >= size or last == 0 or (last or 0) < (first or 0)
    else:
        assert length > 0
        assert 0 <= offset < offset + length <= size


@pytest.mark.parametrize("text", ["bytes=0-1,2-3", "bytes=0-,", ","])
def test_several_ranges_are_refused(text):
    with pytest.raises(errors.BadHeader):
        headers.byte_range(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-4/5", Range(0, 4)),
        ("bytes 0-4/*", Range(0, 4)),
        ("BYTES 0-4/9", Range(0, 4)),
        ("bytes 0-4/9", Range(0, 4)),
        ("bytes 0-5/5", None),
        ("bytes 0-9/5", None),
        ("bytes 0-0/0", None),
        ("bytes 4-0/5", None),
        ("bytes */5", None),
        ("bytes 0-4", None),
        ("0-4/5", None),
        ("", None),
    ],
)
def test_content_ranges(text, expected):
    if expected:
        assert headers.byte_range(None, text) == expected
    else:
        with pytest.raises(errors.BadRange):
            headers.byte_range(None, text)


def test_a_range_goes_before_a_content_range():
    assert headers.byte_range("bytes=1-2", "bytes 3-4/5") == Range(1, 2)
    assert headers.byte_range(None, None) is None


@given(LATIN | st.from_regex(r"bytes[= ]*-?\d*-?\d*,?", fullmatch=True), st.booleans())
def test_any_range_is_one_or_a_named_error(text, content):
    with contextlib.suppress(errors.BadRange, errors.BadHeader):
        found = headers.byte_range(None, text) if content else headers.byte_range(text)
        assert isinstance(found, Range)


@pytest.mark.parametrize("text", ["a", "A-1._b", "0", "a" * 255])
def test_store_ids(text):
    assert headers.store_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", ".a", "a/b", "a b", "a\n", "\xe9", "a" * 256, "a:b"])
def test_what_is_no_store_id(text):
    with pytest.raises(errors.BadHeader) as caught:
        headers.store_id(text)
    assert caught.value.details["header"] == "X-Image-Meta-Store"


def test_no_store_id_is_none():
    assert headers.store_id(None) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("", False), ("a\tb", False), ("\xe9\x80", False), ("\0", True), ("a\n", True), ("\r", True),
     ("\x7f", True), ("\x1b[0m", True), ("\x0b", True)],
)  # fmt: skip
def test_control_characters(text, found):
    assert headers.has_control(text) is found


@given(LATIN | st.from_regex(r"req-[0-9a-f-]{30,40}\n?"))
def test_request_ids(text):
    found = headers.request_id(text)
    assert found in (None, text)
    if found:
        assert len(found) == 40
        assert found.isascii()
