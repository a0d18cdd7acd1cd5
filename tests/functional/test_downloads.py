"""Image data on its way out: whole, in ranges, by sendfile and streamed."""

import hashlib
import os
import random
from collections.abc import Iterator

import pytest

from tests.functional.conftest import needs_program
from tests.functional.gateway import Gateway, eventually, serving
from tests.functional.wire import CHUNKED, Wire

SIZE = 3 * (1 << 20) + 5
DATA = random.Random(30).randbytes(SIZE)
LAST = SIZE - 1
ETAG = hashlib.md5(DATA).hexdigest()


@pytest.fixture(scope="module", params=["embedded", "cheroot", "uwsgi", "wsgiref"])
def _server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    if request.param == "uwsgi":
        needs_program("uwsgi")
    with serving(Gateway(tmp_path_factory.mktemp("out"), server=request.param)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def _image(_server: Gateway) -> str:
    return _server.stored(DATA)


@pytest.fixture
def server(_server: Gateway) -> Iterator[Gateway]:
    yield _server
    _server.check_log()


@pytest.fixture
def image(_image: str) -> str:
    return _image


def test_whole(server: Gateway, image: str) -> None:
    answer = server.download(image)
    assert answer.status == 200
    assert answer.body == DATA
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-MD5"] == ETAG
    assert answer.headers["ETag"] == f'"{ETAG}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert server.access(answer)["out"] == SIZE


RANGES = {
    "first byte": ("bytes=0-0", 0, 0),
    "closed": ("bytes=100-1000099", 100, 1_000_099),
    "open": ("bytes=1048577-", 1_048_577, LAST),
    "suffix": ("bytes=-500", SIZE - 500, LAST),
    "last byte": (f"bytes={LAST}-{LAST}", LAST, LAST),
    "beyond the end": (f"bytes=10-{SIZE * 9}", 10, LAST),
    "suffix beyond the start": (f"bytes=-{SIZE * 9}", 0, LAST),
    "all of it": ("bytes=0-", 0, LAST),
    "spaces": ("bytes = 1-2", 1, 2),
}


@pytest.mark.parametrize(("text", "first", "last"), RANGES.values(), ids=RANGES)
def test_range(server: Gateway, image: str, text: str, first: int, last: int) -> None:
    answer = server.download(image, Range=text)
    assert answer.status == 206
    assert answer.body == DATA[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


def test_range_as_glance_takes_it(server: Gateway, image: str) -> None:
    for text in ("bytes 5-9/*", f"bytes 5-9/{SIZE}"):
        answer = server.download(image, Content_Range=text)
        assert (answer.status, answer.body) == (206, DATA[5:10])


BAD_RANGES = {
    "beyond the end": (f"bytes={SIZE}-", 416, "range_not_satisfiable"),
    "empty suffix": ("bytes=-0", 416, "range_not_satisfiable"),
    "backwards": ("bytes=5-4", 416, "bad_range"),
    "no unit": ("0-4", 416, "bad_range"),
    "other unit": ("lines=0-4", 416, "bad_range"),
    "nothing": ("bytes=-", 416, "bad_range"),
    "signed": ("bytes=+1-2", 416, "bad_range"),
    "20 digits": (f"bytes=0-{'9' * 20}", 416, "bad_range"),
    "two": ("bytes=0-1,4-5", 400, "bad_header"),
}


@pytest.mark.parametrize(("text", "status", "reason"), BAD_RANGES.values(), ids=BAD_RANGES)
def test_bad_range(server: Gateway, image: str, text: str, status: int, reason: str) -> None:
    answer = server.download(image, Range=text)
    assert answer.outcome == (status, reason)
    if reason == "range_not_satisfiable":
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("text", ["lines=0-4", "bytes=0-1,4-5", f"bytes={SIZE}-"])
def test_other_requests_ignore_ranges(server: Gateway, image: str, text: str) -> None:
    data, fields = f"/v2/images/{image}/file", {"Range": text}
    for method, path, status in (
        ("GET", "/v2/images", 200),
        ("GET", f"/v2/images/{image}", 200),
        ("HEAD", data, 200),
        ("PUT", data, 415),
    ):
        assert server.call(method, path, headers=fields).status == status, (method, path)


def test_if_none_match(server: Gateway, image: str) -> None:
    answer = server.download(image, If_None_Match=f'"{ETAG}"')
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == f'"{ETAG}"'
    assert server.download(image, If_None_Match='"other"').body == DATA


def test_if_range(server: Gateway, image: str) -> None:
    """A client that goes on with an image that has not changed, or begins anew."""
    answer = server.download(image, Range="bytes=5-9", If_Range=f'"{ETAG}"')
    assert (answer.status, answer.body) == (206, DATA[5:10])
    answer = server.download(image, Range="bytes=5-9", If_Range='"other"')
    assert (answer.status, answer.body) == (200, DATA)


def test_head(server: Gateway, image: str) -> None:
    path = f"/v2/images/{image}/file"
    answer = server.call("HEAD", path, token=server.admin)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-MD5"] == ETAG
    answer = server.call("HEAD", path, token=server.admin, headers={"Range": "bytes=0-9"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))


def test_requests_on_one_connection(server: Gateway, image: str) -> None:
    """Each answer ends where it says, so that the next one begins there."""
    if server.server not in ("embedded", "cheroot"):
        pytest.skip(f"{server.server} closes every connection")
    fields = [("X-Auth-Token", server.admin)]
    with Wire(server) as wire:
        for extra, body in (([("Range", "bytes=7-9")], DATA[7:10]), ([], DATA), ([], DATA)):
            wire.head("GET", f"/v2/images/{image}/file", [*fields, *extra])
            assert wire.answer("GET").body == body
        wire.head("HEAD", f"/v2/images/{image}/file", fields)
        assert wire.answer("HEAD").status == 200
        wire.head("GET", f"/v2/images/{image}/file", fields)
        assert wire.answer("GET").body == DATA


def test_without_data(server: Gateway) -> None:
    answer = server.download(server.create())
    assert (answer.status, answer.body) == (204, b"")


def test_empty_image(server: Gateway) -> None:
    image_id = server.stored(b"")
    answer = server.download(image_id)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "0"
    assert server.download(image_id, Range="bytes=0-").status == 416


def test_deactivated(server: Gateway) -> None:
    image_id = server.stored(DATA)
    url = f"/v2/images/{image_id}"
    assert server.call("POST", f"{url}/actions/deactivate", token=server.admin).status == 204
    assert server.call("GET", f"{url}/file").outcome == (403, "deactivated")
    assert server.download(image_id).body == DATA
    assert server.call("POST", f"{url}/actions/reactivate", token=server.admin).status == 204
    assert server.call("GET", f"{url}/file").body == DATA


def test_others_get_nothing(server: Gateway, image: str) -> None:
    url = f"/v2/images/{image}/file"
    stranger = server.token("stranger")
    assert server.call("GET", url, token=stranger).outcome == (404, "not_found")
    assert server.call("GET", url, token=None).outcome == (401, "unauthenticated")
    reader = server.token(roles=("reader",))
    assert server.call("GET", url, token=reader).outcome == (403, "forbidden")


@pytest.mark.parametrize("part", [None, "bytes=10-"], ids=["whole", "range"])
def test_client_leaves(server: Gateway, part: str | None) -> None:
    """Neither the file nor the connection stays open."""
    image_id = server.stored(bytes(64 << 20))
    (path,) = server.residue(image_id)
    fields = [("X-Auth-Token", server.admin)]
    if part:
        fields.append(("Range", part))
    with Wire(server) as wire:
        wire.head("GET", f"/v2/images/{image_id}/file", fields)
        assert wire.read(1000)
        eventually(lambda: path in server.open_files(), "the file is being sent")
    eventually(lambda: path not in server.open_files(), "the file is closed")
    assert server.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert server.call("GET", "/v2/images").status == 200


def test_deleted_while_being_sent(gateway: Gateway) -> None:
    """A download that has begun ends whole; the space is free once it has."""
    size = 64 << 20
    image_id = gateway.stored(bytes(size))
    (path,) = gateway.residue(image_id)
    with Wire(gateway) as wire:
        wire.head("GET", f"/v2/images/{image_id}/file", [("X-Auth-Token", gateway.admin)])
        eventually(lambda: path in gateway.open_files(), "the file is being sent")
        assert gateway.call("DELETE", f"/v2/images/{image_id}").status == 204
        assert not os.path.exists(path)
        assert len(wire.answer("GET").body) == size
    eventually(lambda: not any(path in file for file in gateway.open_files()), "it is closed")


def test_chunked_upload(server: Gateway) -> None:
    """wsgiref hands out chunked bodies undecoded and never says where they end."""
    image_id = server.create()
    with Wire(server) as wire:
        wire.put(image_id, CHUNKED)
        if server.server != "wsgiref":  # which answers to the head, and closes
            wire.chunk(DATA[:100]).last_chunk()
        answer = wire.answer()
    if server.server == "wsgiref":
        assert answer.outcome == (411, "length_required")
        server.assert_untouched(image_id)
    else:
        assert answer.status == 204
        assert server.download(image_id).body == DATA[:100]
