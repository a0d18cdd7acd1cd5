"""headers: what cannot be believed is refused before a byte is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.config import Section
from imsgate.filters import headers
from imsgate.http.request import IMAGE_REQUESTS
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import CREATE, FILE, UPLOAD, put, refused

CHUNKED = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}


class TestHeaders(FilterContract):
    @pytest.fixture
    def factory(self):
        return headers.filter_factory

    def refused(self):
        return {"HTTP_TRANSFER_ENCODING": "gzip"}


def te(text):
    return {**CHUNKED, "HTTP_TRANSFER_ENCODING": text}


def length(text):
    return {"CONTENT_LENGTH": text}


REFUSED = {
    # Framing: CVE-2024-1135, CVE-2024-6827, CVE-2022-24761.
    "length-and-chunked": ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400, "bad_header"),
    "zero-length-and-chunked": (
        {"CONTENT_LENGTH": "0", "HTTP_TRANSFER_ENCODING": "chunked"},
        400,
        "bad_header",
    ),
    "length-and-empty-coding": ({"HTTP_TRANSFER_ENCODING": ""}, 400, "bad_header"),
    "chunked-identity": (te("chunked, identity"), 400, "bad_header"),
    "identity-chunked": (te("identity, chunked"), 400, "bad_header"),
    "gzip-chunked": (te("gzip, chunked"), 400, "bad_header"),
    "xchunked": (te("xchunked"), 400, "bad_header"),
    "chunked-twice": (te("chunked,chunked"), 400, "bad_header"),
    "chunked-behind-tab": (te("\tchunked"), 400, "bad_header"),
    "chunked-before-space": (te("chunked "), 400, "bad_header"),
    "chunked-quoted": (te('"chunked"'), 400, "bad_header"),
    "chunked-with-parameter": (te("chunked;a=b"), 400, "bad_header"),
    "identity": (te("identity"), 400, "bad_header"),
    "empty-coding": (te(""), 400, "bad_header"),
    "vertical-tab": (te("\x0bchunked"), 400, "bad_header"),
    "kelvin-sign": (te("chun\xe2\x84\xaaed"), 400, "bad_header"),
    # Lengths.
    "plus": (length("+5"), 400, "bad_header"),
    "minus": (length("-5"), 400, "bad_header"),
    "underscore": (length("5_0"), 400, "bad_header"),
    "space-before": (length(" 5"), 400, "bad_header"),
    "space-behind": (length("5 "), 400, "bad_header"),
    "hexadecimal": (length("0x10"), 400, "bad_header"),
    "fraction": (length("5.0"), 400, "bad_header"),
    "exponent": (length("5e3"), 400, "bad_header"),
    "two-lengths": (length("5, 5"), 400, "bad_header"),
    "twenty-digits": (length("1" * 20), 400, "bad_header"),
    "arabic-digits": (length("\u0665"), 400, "bad_header"),
    "superscript": (length("\xb2"), 400, "bad_header"),
    "word": (length("much"), 400, "bad_header"),
    # Content-Type.
    "no-type": ({"CONTENT_TYPE": None}, 415, "unsupported_media_type"),
    "empty-type": ({"CONTENT_TYPE": ""}, 415, "unsupported_media_type"),
    "json": ({"CONTENT_TYPE": "application/json"}, 415, "unsupported_media_type"),
    "multipart": ({"CONTENT_TYPE": "multipart/form-data"}, 415, "unsupported_media_type"),
    "longer-type": (
        {"CONTENT_TYPE": "application/octet-streams"},
        415,
        "unsupported_media_type",
    ),
    "type-in-parameter": (
        {"CONTENT_TYPE": "text/plain; application/octet-stream"},
        415,
        "unsupported_media_type",
    ),
    # x-openstack-image-size.
    "size-plus": ({"HTTP_X_OPENSTACK_IMAGE_SIZE": "+5"}, 400, "bad_header"),
    "size-empty": ({"HTTP_X_OPENSTACK_IMAGE_SIZE": ""}, 400, "bad_header"),
    "size-word": ({"HTTP_X_OPENSTACK_IMAGE_SIZE": "ten"}, 400, "bad_header"),
    "size-differs": ({"HTTP_X_OPENSTACK_IMAGE_SIZE": "6"}, 400, "size_mismatch"),
    # X-Image-Meta-Store.
    "store-empty": ({"HTTP_X_IMAGE_META_STORE": ""}, 400, "bad_header"),
    "store-slash": ({"HTTP_X_IMAGE_META_STORE": "a/b"}, 400, "bad_header"),
    "store-dots": ({"HTTP_X_IMAGE_META_STORE": ".."}, 400, "bad_header"),
    "store-dot-slash": ({"HTTP_X_IMAGE_META_STORE": "../fast"}, 400, "bad_header"),
    "store-space": ({"HTTP_X_IMAGE_META_STORE": "a b"}, 400, "bad_header"),
    "store-shell": ({"HTTP_X_IMAGE_META_STORE": "a;reboot"}, 400, "bad_header"),
    "store-line": ({"HTTP_X_IMAGE_META_STORE": "a\r\nX: y"}, 400, "bad_header"),
    "store-latin": ({"HTTP_X_IMAGE_META_STORE": "stor\xe9"}, 400, "bad_header"),
    "store-long": ({"HTTP_X_IMAGE_META_STORE": "a" * 256}, 400, "bad_header"),
    # A part of an image (RFC 9110 section 14.5).
    "content-range-word": ({"HTTP_CONTENT_RANGE": "bytes */5"}, 400, "bad_header"),
    "content-range-backwards": ({"HTTP_CONTENT_RANGE": "bytes 5-4/9"}, 400, "bad_header"),
    "first-part": ({"HTTP_CONTENT_RANGE": "bytes 0-4/10"}, 400, "bad_header"),
    "last-part": ({"HTTP_CONTENT_RANGE": "bytes 5-9/10"}, 400, "bad_header"),
    "part-of-unknown": ({"HTTP_CONTENT_RANGE": "bytes 0-4/*"}, 400, "bad_header"),
    # Control characters.
    "nul-in-path": ({"PATH_INFO": FILE.replace("file", "fi\0le")}, 400, "bad_request"),
    "line-in-path": ({"PATH_INFO": "/v2/images\r\nX: y"}, 400, "bad_request"),
    "delete-in-query": ({"QUERY_STRING": "name=\x7f"}, 400, "bad_request"),
    "escape-in-type": ({"CONTENT_TYPE": "application/octet-stream\x1b"}, 400, "bad_request"),
    "nul-in-length": (length("5\0"), 400, "bad_request"),
    "nul-in-token": ({"HTTP_X_AUTH_TOKEN": "a\0b"}, 400, "bad_header"),
    "line-in-any-header": ({"HTTP_X_FOREIGN": "a\nb"}, 400, "bad_header"),
    "return-in-any-header": ({"HTTP_USER_AGENT": "a\rb"}, 400, "bad_header"),
}


@pytest.mark.parametrize(("entries", "status", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(alone, entries, status, reason):
    app, stream = apps.App(apps.by(100)), servers.Input(b"12345")
    request = servers.environ(stream, **{"CONTENT_LENGTH": "5", **UPLOAD, **entries})
    # wsgiref.validate trusts servers to have refused some of these themselves.
    answer = servers.serve(alone("headers", app), request, validated=False)
    refused(answer, app, status, reason)
    assert stream.asked == 0


PASSES = {
    "length": {},
    "no-body": length("0"),
    "empty-length": length(""),
    "nineteen-digits": length("1" * 19),
    "chunked": te("chunked"),
    "chunked-in-capitals": te("Chunked"),
    "chunked-and-empty-length": {**te("chunked"), "CONTENT_LENGTH": ""},
    "type-in-capitals": {"CONTENT_TYPE": "Application/Octet-Stream"},
    "type-with-parameter": {"CONTENT_TYPE": "application/octet-stream; charset=binary"},
    "same-size": {"HTTP_X_OPENSTACK_IMAGE_SIZE": "5"},
    "size-of-chunked": {**te("chunked"), "HTTP_X_OPENSTACK_IMAGE_SIZE": "5"},
    "store": {"HTTP_X_IMAGE_META_STORE": "fast-1.a_b"},
    "longest-store": {"HTTP_X_IMAGE_META_STORE": "a" * 255},
    "range": {"HTTP_RANGE": "bytes=0-499"},
    "open-range": {"HTTP_RANGE": "bytes=5-"},
    "suffix-range": {"HTTP_RANGE": "bytes=-5"},
    # Only GET of image data has ranges, so only the application judges them.
    "two-ranges": {"HTTP_RANGE": "bytes=0-1,3-4"},
    "range-that-is-a-word": {"HTTP_RANGE": "bytes=all"},
    "range-in-another-unit": {"HTTP_RANGE": "lines=0-1"},
    "range-backwards": {"HTTP_RANGE": "bytes=5-4"},
    "empty-range": {"HTTP_RANGE": ""},
    "range-with-a-sign": {"HTTP_RANGE": "bytes=+1-2"},
    "longest-range": {"HTTP_RANGE": "bytes=0-" + "9" * 20},
    "content-range": {"HTTP_CONTENT_RANGE": "bytes 0-4/5"},
    "tab-in-a-header": {"HTTP_X_FOREIGN": "a\tb"},
    "latin-1-in-a-header": {"HTTP_X_FOREIGN": "caf\xe9"},
    "path-that-is-not-utf-8": {"PATH_INFO": "/v2/images/\xff/file"},
}


@pytest.mark.parametrize("entries", PASSES.values(), ids=PASSES)
def test_passes(alone, entries):
    app = apps.App()
    request = servers.environ(b"12345", **{**UPLOAD, **entries})
    answer = servers.serve(alone("headers", app), request, validated=False)
    assert (answer.code, app.called) == (200, True)


def test_metadata_calls_need_no_octet_stream(alone):
    app = apps.App()
    request = servers.environ(b"{}", **CREATE, HTTP_X_IMAGE_META_STORE="a/b")
    assert servers.serve(alone("headers", app), request).code == 200


@pytest.mark.parametrize(("size", "code"), [(50, 200), (51, 413)], ids=["limit", "one-over"])
def test_json_documents_have_a_longest_length(alone, size, code):
    app = apps.App(apps.by(10))
    request = servers.environ(bytes(size), **CREATE)
    answer = servers.serve(alone("headers", app, max_json_size="50"), request)
    assert (answer.code, answer.reason) == (code, None if code == 200 else "too_large")
    assert app.bodies == ([bytes(size)] if code == 200 else [])


def test_image_data_has_none(alone):
    app = apps.App()
    assert put(alone("headers", app, max_json_size="50"), bytes(1000)).code == 200


@pytest.mark.parametrize("value", ["0", "-1", "1k", ""])
def test_a_limit_that_cannot_be_is_refused(alone, value):
    with pytest.raises(errors.BadConfig) as caught:
        alone("headers", apps.App(), max_json_size=value)
    assert caught.value.key == "headers.max_json_size"


NAMES = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_RANGE",
    "HTTP_CONTENT_RANGE",
    "HTTP_X_OPENSTACK_IMAGE_SIZE",
    "HTTP_X_IMAGE_META_STORE",
    "HTTP_X_ANY",
    "PATH_INFO",
    "QUERY_STRING",
]
#: What WSGI may hand over: bytes as latin-1 text; and near misses of what is meant.
TEXT = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=30),
    st.text("0123456789+-_x \t,", max_size=25),
    st.text("bytes=-,0123456789 /*", max_size=25),
    st.sampled_from(["chunked", "chunked, chunked", "application/octet-stream", FILE]),
)


@given(st.dictionaries(st.sampled_from(NAMES), TEXT), st.sampled_from(["PUT", "GET", "POST"]))
def test_any_header_passes_or_is_refused_by_name(entries, method):
    app = apps.App()
    filtered = headers.Headers(app, Section(max_json_size=100, requests=IMAGE_REQUESTS))
    request = servers.environ(b"12345", **{**UPLOAD, **entries, "REQUEST_METHOD": method})
    answer = servers.serve(filtered, request, validated=False)
    assert app.called is (answer.reason is None)
    assert answer.code in ((200,) if app.called else (400, 413, 415, 416))
    if app.called:
        assert not {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} <= {
            name for name, text in request.items() if text
        }
