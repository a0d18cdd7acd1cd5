"""encoding: the application gets the image, whatever coding it came in."""

import gzip
import importlib
import itertools
import random

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.filters import encoding, headers, sizelimit, sniff
from imsgate.http.request import Request
from imsgate.testing import FilterContract, apps, servers
from imsgate.testing.filters.refusals import RefusalChecks
from tests.filters.alone import FILE, IMAGE, put, refused
from tests.formats import craft

MIB = 1 << 20
DATA = random.Random(1).randbytes(100_000) + bytes(200_000)
PACK = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstd.compress}
EACH = pytest.mark.parametrize("coding", ["gzip", "zstd"])
NAMED = {"gzip": "GZip", "x-gzip": "identity, x-gzip", "zstd": " zstd ,"}


def coded(coding):
    return {"HTTP_CONTENT_ENCODING": coding}


class TestEncoding(FilterContract):
    @pytest.fixture
    def factory(self):
        return encoding.filter_factory

    def refused(self):
        return coded("br")


class TestBodies(RefusalChecks):
    """What the contract asks of filters that refuse bodies, with a coding in each request."""

    @pytest.fixture
    def factory(self):
        return encoding.filter_factory

    def passing(self):
        return {**super().passing(), **coded("gzip")}

    def refused(self):
        return coded("br")

    def refused_body(self):
        return gzip.compress(DATA)[:-1]


def stack(app, **limits):
    """The filters behind one another, as in the shipped pipelines."""
    app = sniff.filter_factory({})(app)
    app = sizelimit.filter_factory({}, **limits)(app)
    return headers.filter_factory({})(encoding.filter_factory({})(app))


@pytest.mark.parametrize("coding", PACK)
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=3),
    st.integers(1, 5000),
    st.integers(1, 500),
    st.booleans(),
)
def test_each_coding_is_taken_off(coding, parts, size, step, chunked):
    """Of several members (RFC 1952) or frames (RFC 8878), too."""
    app = apps.App(apps.by(size))
    packed = b"".join(map(PACK[coding], parts))
    stream = servers.Input(packed, step=step)
    how = {"chunked": True, "CONTENT_LENGTH": None} if chunked else {"length": len(packed)}
    filtered = encoding.filter_factory({})(app)
    assert put(filtered, stream, **how, **coded(NAMED[coding])).code == 200
    assert app.bodies == [b"".join(parts)]


@pytest.mark.parametrize("chunked", [False, True])
def test_the_application_finds_an_ordinary_request(alone, chunked):
    app = apps.App(apps.whole)
    request = servers.environ(gzip.compress(DATA), chunked=chunked, **coded("gzip"))
    if chunked:
        request.pop("CONTENT_LENGTH", None)
    request |= {"REQUEST_METHOD": "PUT", "PATH_INFO": FILE}
    before = dict(request)
    servers.serve(alone("encoding", app), request, validated=False)
    (environ,) = app.environs
    assert app.bodies == [DATA]
    for name in "HTTP_CONTENT_ENCODING CONTENT_LENGTH HTTP_TRANSFER_ENCODING".split():
        assert name not in environ
        assert request.get(name) == before.get(name), "filters before this one see the request"
    assert environ["wsgi.input_terminated"]
    assert request["wsgi.input"].received == len(gzip.compress(DATA))  # as the access log says


@pytest.mark.parametrize("text", [None, "", "identity", " Identity,,identity ", ","])
def test_nothing_is_added_to_a_body_without_a_coding(alone, text):
    app, data = apps.App(apps.whole), gzip.compress(DATA)
    stream = servers.Input(data)
    request = servers.environ(stream, length=len(data), **coded(text))
    request |= {"REQUEST_METHOD": "PUT", "PATH_INFO": FILE}
    servers.serve(alone("encoding", app), request, validated=False)
    assert app.environs[0]["wsgi.input"] is stream
    assert app.environs[0]["CONTENT_LENGTH"] == str(len(data))


@pytest.mark.parametrize(
    "coding", ["br", "gzip, zstd", "gzip,gzip", "xz", "x-zstd", "deflate", "gzip;q=1", "\xff"]
)
def test_other_codings_are_refused_unread(alone, coding):
    app, stream = apps.App(apps.whole), servers.Input(DATA)
    answer = put(alone("encoding", app), stream, length=len(DATA), **coded(coding))
    refused(answer, app, 415, "unsupported_content_coding")
    assert answer.header("Accept-Encoding") == "gzip, zstd"
    assert stream.asked == 0


def test_a_body_whose_end_cannot_be_known_is_refused(alone):
    app = apps.App()
    entries = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None, **coded("gzip")}
    refused(put(alone("encoding", app), **entries), app, 411, "length_required")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"PATH_INFO": IMAGE}, id="metadata"),
        pytest.param({"REQUEST_METHOD": "POST"}, id="post"),
    ],
)
def test_other_requests_are_left_alone(alone, request_):
    app = apps.App(apps.by(100))
    assert put(alone("encoding", app), b"data", **coded("br"), **request_).code == 200
    assert (app.bodies, app.environs[0]["HTTP_CONTENT_ENCODING"]) == ([b"data"], "br")


def _damaged(data):
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle:])


BAD = {
    "nothing": lambda pack: b"",
    "cut": lambda pack: pack(DATA)[:-1],
    "cut in the head": lambda pack: pack(DATA)[:3],
    "half": lambda pack: pack(DATA)[:50_000],
    "second member cut": lambda pack: pack(DATA) + pack(DATA)[:20],
    "damaged": lambda pack: _damaged(pack(DATA)),
    "garbage behind": lambda pack: pack(DATA) + b"garbage",
    "zero behind": lambda pack: pack(DATA) + b"\0",
    "zeros behind": lambda pack: pack(DATA) + bytes(512),
    "not compressed": lambda pack: DATA,
}
#: Data without end that contains nothing: a file name, and a frame to be skipped (RFC 8878).
FRUITLESS = {
    "gzip": b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (8 * MIB),
    "zstd": b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + bytes(8 * MIB),
}


@EACH
@pytest.mark.parametrize("step", [None, 777])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_broken_stream_is_refused(alone, coding, bad, step):
    app, data = apps.ReadFails("passes"), bad(PACK[coding])
    stream = servers.Input(data, step=step)
    answer = put(alone("encoding", app), stream, length=len(data), **coded(coding))
    assert (answer.code, answer.reason) == (400, "bad_content_coding")
    assert f"is {coding}, and" in answer.body.decode()
    assert app.bodies == []


@EACH
def test_data_that_contains_nothing_is_refused_before_its_end(alone, coding):
    app, stream = apps.ReadFails("passes"), servers.Input(FRUITLESS[coding])
    answer = put(alone("encoding", app), stream, length=1 << 32, **coded(coding))
    assert (answer.code, answer.reason) == (400, "bad_content_coding")
    assert stream.given < 5 * MIB


@EACH
def test_the_other_coding_is_refused(alone, coding):
    app = apps.ReadFails("passes")
    (other,) = {"gzip", "zstd"} - {coding}
    answer = put(alone("encoding", app), PACK[other](DATA), **coded(coding))
    assert (answer.code, answer.reason) == (400, "bad_content_coding")


@EACH
def test_a_body_that_ends_before_its_length_is_cut(alone, coding):
    """Even where its last byte would be that of a member."""
    app, data = apps.ReadFails("passes"), PACK[coding](DATA)
    answer = put(alone("encoding", app), servers.Input(data), length=len(data) + 1, **coded(coding))
    assert (answer.code, answer.reason) == (400, "body_cut")


@pytest.mark.parametrize("how", apps.ReadFails.HOW)
def test_a_broken_connection_is_reported_as_without_a_coding(alone, how):
    app = apps.ReadFails(how)
    stream = servers.Input(gzip.compress(DATA)[:5000], fails=ConnectionResetError())
    answer = put(alone("encoding", app), stream, length=90_000, **coded("gzip"))
    assert (answer.code, answer.reason) == (400, "body_cut")
    assert app.bodies == []


def _window(log):
    """zstd with a window of 2**log bytes, of data that needs it."""
    options = {zstd.CompressionParameter.window_log: log}
    compressor = zstd.ZstdCompressor(options=options)
    return compressor.compress(DATA) + compressor.flush()


@pytest.mark.parametrize(("log", "code"), [(10, 200), (23, 200), (24, 400), (27, 400), (31, 400)])
def test_a_window_beyond_rfc_9659_is_refused(alone, log, code):
    """It is memory of this process; 31 would be 2 GiB for each upload."""
    app = apps.ReadFails("passes")
    answer = put(alone("encoding", app), _window(log), **coded("zstd"))
    assert answer.code == code
    if code == 400:
        assert "too much memory" in answer.body.decode()


@EACH
def test_an_empty_disk_is_no_bomb(alone, coding):
    counted = []
    app = apps.App(lambda stream: counted.extend(_lengths(stream)) or b"")
    packed = PACK[coding](bytes(80 * MIB))
    assert put(alone("encoding", app), packed, **coded(coding)).code == 200
    assert len(packed) * 1000 < sum(counted) == 80 * MIB
    assert max(counted) <= MIB, "no more is in memory than was asked for"


def _lengths(stream):
    return map(len, iter(lambda: stream.read(MIB), b""))


@EACH
def test_the_operator_may_limit_the_ratio(alone, coding):
    app = apps.ReadFails("swallows", MIB)
    filtered = alone("encoding", app, max_ratio="100")
    answer = put(filtered, PACK[coding](bytes(80 * MIB)), **coded(coding))
    assert (answer.code, answer.reason) == (400, "bad_content_coding")
    assert "more than 100 times" in answer.body.decode()
    assert app.bodies == []


@EACH
def test_the_first_bytes_do_not_wait_for_the_rest(alone, coding):
    stream = servers.Input(PACK[coding](random.Random(2).randbytes(8 * MIB)))
    given_ = []

    def read(body):
        given_.append(stream.given)
        body.read(1 << 16)
        given_.append(stream.given)
        return b""

    app = apps.App(read)
    assert put(alone("encoding", app), stream, length=9 * MIB, **coded(coding)).code == 200
    assert given_[0] == 0
    assert 0 < given_[1] <= 3 << 16


# With the other filters


def test_a_filter_before_it_may_end_the_body(alone):
    """As pace ends the read of a client that is too slow."""
    packed = gzip.compress(random.Random(4).randbytes(MIB))
    request = servers.environ(servers.Input(packed), length=len(packed), **coded("gzip"))
    request |= {"REQUEST_METHOD": "PUT", "PATH_INFO": FILE}
    encoded = Request(request).reader()

    def read(stream):
        while chunk := stream.read(1 << 16):
            encoded.fail(errors.TooSlow(received=encoded.received))
        return chunk

    answer = servers.serve(alone("encoding", apps.App(read)), request)
    assert (answer.code, answer.reason) == (408, "too_slow")


def test_a_filter_before_it_may_refuse_what_was_sent(alone):
    """As aksk compares its digest with the signed one, after the last byte."""

    class Tap:
        data = b""

        def feed(self, chunk):
            self.data += chunk

        def finish(self):
            raise errors.SignedBodyDiffers(found="a", signed="b")

    packed, tap = gzip.compress(DATA), Tap()
    request = servers.environ(packed, **coded("gzip"), REQUEST_METHOD="PUT", PATH_INFO=FILE)
    Request(request).tap(tap)
    app = apps.ReadFails("swallows")
    answer = servers.serve(alone("encoding", app), request)
    assert (answer.code, answer.reason) == (401, "signed_body_differs")
    assert tap.data == packed


LIMIT = {"image_size_cap": "300000"}


@EACH
def test_exactly_the_limit_passes(coding):
    app = apps.App(apps.by(4096))
    assert put(stack(app, **LIMIT), PACK[coding](DATA), **coded(coding)).code == 200
    assert app.bodies == [DATA]


@EACH
@pytest.mark.parametrize("how", apps.ReadFails.HOW)
def test_one_decompressed_byte_more_is_too_large(coding, how):
    app = apps.ReadFails(how, 4096)
    answer = put(stack(app, **LIMIT), PACK[coding](DATA + b"x"), **coded(coding))
    assert (answer.code, answer.reason) == (413, "too_large")
    assert app.bodies == []


def test_a_length_above_the_limit_is_refused_unread():
    app, stream = apps.App(), servers.Input(b"")
    answer = put(stack(app, **LIMIT), stream, length=300_001, **coded("gzip"))
    refused(answer, app, 413, "too_large")
    assert stream.asked == 0


def test_received_bytes_are_counted_as_well():
    """Empty members: many bytes, of which nothing comes out."""
    app = apps.ReadFails("passes", 4096)
    packed = gzip.compress(b"x") + gzip.compress(b"") * 20_000
    stream = servers.Input(packed)
    answer = put(stack(app, **LIMIT), stream, chunked=True, CONTENT_LENGTH=None, **coded("gzip"))
    assert (answer.code, answer.reason) == (413, "too_large")
    assert stream.given < 300_000 + (1 << 16) + 1 < len(packed)


@pytest.mark.parametrize(
    ("announced", "outcome"), [(300_000, (200, None)), (300_001, (413, "too_large"))]
)
def test_the_size_header_is_that_of_the_image(announced, outcome):
    app = apps.App(apps.by(4096))
    size = {"HTTP_X_OPENSTACK_IMAGE_SIZE": str(announced)}
    answer = put(stack(app, **LIMIT), gzip.compress(DATA), **coded("gzip"), **size)
    assert (answer.code, answer.reason) == outcome


@EACH
def test_what_is_inspected_is_the_image(coding):
    hostile = craft.qcow2(backing=0x200) + random.Random(3).randbytes(4 * MIB)
    app, packed = apps.ReadFails("passes", 1 << 16), PACK[coding](hostile)
    stream = servers.Input(packed)
    answer = put(stack(app), stream, length=len(packed), **coded(coding))
    assert (answer.code, answer.reason) == (415, "image_refused")
    assert stream.given < MIB < len(packed), "it is refused by its first bytes"
    app = apps.App(apps.by(1 << 16))
    assert put(stack(app), PACK[coding](craft.qcow2()), **coded(coding)).code == 200


# OPTIONS, options, libraries


@pytest.mark.parametrize("status", ["204 No Content", "405 Method Not Allowed"])
@pytest.mark.parametrize(
    ("path", "requests", "announced"),
    [
        (FILE, None, "gzip, zstd"),
        (f"{IMAGE}/stage", None, "gzip, zstd"),
        (IMAGE, None, None),
        ("/upload/1", "POST /upload/.*", "gzip, zstd"),
        (FILE, "POST /upload/.*", None),
    ],
)
def test_options_names_the_codings(alone, path, requests, announced, status):
    app = apps.App(status=status, headers=() if "204" in status else apps.TEXT, chunks=())
    options = {"requests": requests} if requests else {}
    filtered = alone("encoding", app, **options)
    answer = put(filtered, REQUEST_METHOD="OPTIONS", PATH_INFO=path)
    assert (answer.status, answer.header("Accept-Encoding")) == (status, announced)


def test_without_the_library_there_is_no_zstd(alone, monkeypatch):
    find = importlib.import_module

    def missing(name, *more):
        if name.endswith(".zstd"):
            raise ImportError(name)
        return find(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    app = apps.App(apps.by(4096))
    filtered = alone("encoding", app)
    answer = put(filtered, zstd.compress(DATA), **coded("zstd"))
    refused(answer, app, 415, "unsupported_content_coding")
    assert answer.header("Accept-Encoding") == "gzip"
    assert put(filtered, REQUEST_METHOD="OPTIONS").header("Accept-Encoding") == "gzip"
    assert put(filtered, gzip.compress(DATA), **coded("gzip")).code == 200


@pytest.mark.parametrize(("key", "text"), [("max_ratio", "-1"), ("requests", "PUT (")])
def test_what_cannot_work_refuses_to_start(alone, key, text):
    with pytest.raises(errors.BadConfig) as caught:
        alone("encoding", apps.App(), **{key: text})
    assert caught.value.key == f"encoding.{key}"


def test_requests_share_no_decoder(alone):
    app = apps.Echo()
    filtered = alone("encoding", app)
    data = [random.Random(number).randbytes(5000) for number in range(4)]
    exchanges = [
        servers.Exchange(
            filtered,
            servers.environ(
                gzip.compress(content), **coded("gzip"), REQUEST_METHOD="PUT", PATH_INFO=FILE
            ),
        )
        for content in data
    ]
    for exchange in itertools.chain(*[exchanges] * 51):
        exchange.chunks(1)
    for content, exchange in zip(data, exchanges, strict=True):
        exchange.close()
        assert exchange.answer.body == content
