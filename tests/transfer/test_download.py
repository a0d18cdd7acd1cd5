"""What comes out: RFC 9110 sections 13 and 14, sendfile, and what is closed."""

import dataclasses
import io

import pytest

from imsgate import errors
from imsgate.http.request import Request
from imsgate.model import Image, now
from imsgate.stores.base import LocalFiles
from imsgate.testing import apps, servers
from imsgate.testing.gateways import memory_store
from imsgate.transfer import download

DATA = b"0123456789"
SUM = "781e5e245d69b566979b86e28d23f2c7"
IMAGE = Image(id="i", created_at=now(), updated_at=now(), size=10, checksum=SUM)


@pytest.fixture
def store():
    store = memory_store()
    with store.create("url", 10) as sink:
        sink.write(DATA)
        sink.commit()
    return store


class Files(LocalFiles):
    """A store of local files, that knows which it opened."""

    def __init__(self):
        self.opened = []

    def open(self, url):
        if url != "url":
            raise errors.ObjectNotFound("x")
        self.opened.append(io.BytesIO(DATA))
        return self.opened[-1]

    def read(self, url, offset=0, length=None):
        return iter([DATA[offset : offset + length]])


def ask(store, method="GET", image=IMAGE, **headers):
    entries = {name if "." in name else f"HTTP_{name}": text for name, text in headers.items()}
    request = Request(servers.environ(REQUEST_METHOD=method, **entries))
    response = download.respond(request, image, store, "url")
    return servers.serve(response, request.environ, validated="wsgi.file_wrapper" not in entries)


SHA = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"


def test_an_image_without_a_checksum_has_another_etag(store):
    image = dataclasses.replace(IMAGE, checksum=None, os_hash_algo="sha256", os_hash_value=SHA)
    etag = f'"{SHA}"'
    whole = ask(store, image=image)
    assert (whole.header("ETag"), whole.header("Content-MD5")) == (etag, None)
    assert ask(store, image=image, IF_NONE_MATCH=etag).code == 304
    assert ask(store, image=image, IF_RANGE=etag, RANGE="bytes=2-").code == 206
    assert ask(store, image=image, IF_RANGE=f'"{SUM}"', RANGE="bytes=2-").code == 200


ANSWERS = {
    "whole": ({}, 200, DATA, None),
    "first": ({"RANGE": "bytes=0-0"}, 206, b"0", "bytes 0-0/10"),
    "amid": ({"RANGE": "bytes=2-4"}, 206, b"234", "bytes 2-4/10"),
    "open": ({"RANGE": "bytes=7-"}, 206, b"789", "bytes 7-9/10"),
    "suffix": ({"RANGE": "bytes=-3"}, 206, b"789", "bytes 7-9/10"),
    "long-suffix": ({"RANGE": "bytes=-30"}, 206, DATA, "bytes 0-9/10"),
    "beyond-the-end": ({"RANGE": "bytes=8-30"}, 206, b"89", "bytes 8-9/10"),
    "all-as-a-range": ({"RANGE": "bytes=0-"}, 206, DATA, "bytes 0-9/10"),
    "content-range": ({"CONTENT_RANGE": "bytes 2-4/10"}, 206, b"234", "bytes 2-4/10"),
    "range-goes-first": (
        {"RANGE": "bytes=0-0", "CONTENT_RANGE": "bytes 2-4/10"},
        206,
        b"0",
        "bytes 0-0/10",
    ),
    "other-etag": ({"IF_NONE_MATCH": '"other"'}, 200, DATA, None),
    "same-etag": ({"IF_NONE_MATCH": f'"{SUM}"'}, 304, b"", None),
    "one-of-etags": ({"IF_NONE_MATCH": f'"other", "{SUM}"'}, 304, b"", None),
    "weak-etag": ({"IF_NONE_MATCH": f'W/"{SUM}"'}, 304, b"", None),
    "any-etag": ({"IF_NONE_MATCH": "*"}, 304, b"", None),
    "same-etag-and-range": (
        {"IF_NONE_MATCH": f'"{SUM}"', "RANGE": "bytes=0-0"},
        304,
        b"",
        None,
    ),
    "if-range-same": (
        {"IF_RANGE": f'"{SUM}"', "RANGE": "bytes=2-4"},
        206,
        b"234",
        "bytes 2-4/10",
    ),
    "if-range-other": ({"IF_RANGE": '"other"', "RANGE": "bytes=2-4"}, 200, DATA, None),
    "if-range-other-beyond": ({"IF_RANGE": '"other"', "RANGE": "bytes=50-"}, 200, DATA, None),
    "if-range-other-invalid": ({"IF_RANGE": '"other"', "RANGE": "bytes=b"}, 200, DATA, None),
    "if-range-weak": ({"IF_RANGE": f'W/"{SUM}"', "RANGE": "bytes=2-4"}, 200, DATA, None),
    "if-range-date": (
        {"IF_RANGE": "Sat, 01 Jan 2022 00:00:00 GMT", "RANGE": "bytes=2-4"},
        200,
        DATA,
        None,
    ),
}


@pytest.mark.parametrize(("headers", "status", "body", "span"), ANSWERS.values(), ids=ANSWERS)
def test_answers(store, headers, status, body, span):
    answer = ask(store, **headers)
    assert (answer.code, answer.body, answer.header("Content-Range")) == (status, body, span)
    assert answer.header("ETag") == f'"{SUM}"'
    assert answer.header("Content-MD5") == SUM
    if status != 304:
        assert answer.header("Content-Length") == str(len(body))
        assert answer.header("Accept-Ranges") == "bytes"
        assert answer.header("Content-Type") == "application/octet-stream"


@pytest.mark.parametrize(("headers", "status", "body", "span"), ANSWERS.values(), ids=ANSWERS)
def test_head_is_get_without_a_body_and_without_ranges(headers, status, body, span):
    files = Files()
    answer = ask(files, "HEAD", **headers)
    status = 200 if status == 206 else status
    assert (answer.code, answer.body, answer.header("Content-Range")) == (status, b"", None)
    assert files.opened == []
    if status != 304:
        assert answer.header("Content-Length") == str(len(DATA))


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_outside_is_416(store, text):
    with pytest.raises(errors.RangeNotSatisfiable) as caught:
        ask(store, RANGE=text)
    assert caught.value.headers == {"Content-Range": "bytes */10"}


@pytest.mark.parametrize("text", ["bytes=a-b", "pages=1-2", "bytes=4-2"])
def test_an_invalid_range_is_416_as_in_glance(store, text):
    with pytest.raises(errors.BadRange):
        ask(store, RANGE=text)


@pytest.mark.parametrize(
    "text", ["bytes=a-b", "pages=1-2", "bytes=4-2", "bytes=0-1,4-5", "bytes=50-"]
)
def test_head_ignores_any_range(text):
    assert ask(Files(), "HEAD", RANGE=text).code == 200


def test_an_image_without_digests_has_no_etag(store):
    image = Image(id="i", created_at=now(), updated_at=now(), size=10)
    answer = ask(store, image=image, IF_NONE_MATCH="*")
    assert (answer.code, answer.body, answer.header("ETag")) == (200, DATA, None)


def test_lost_data_is_reported_before_the_status(store):
    store.delete("url")
    with pytest.raises(errors.ObjectNotFound):
        ask(store)


@pytest.mark.parametrize("headers", [{}, {"RANGE": "bytes=2-4"}], ids=["whole", "range"])
def test_a_client_that_disconnects_frees_the_store(headers):
    class Store:
        def read(self, url, offset, length):
            return closing

    closed = []

    class Closing:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            closed.append(True)

    closing = Closing()
    request = servers.environ(REQUEST_METHOD="GET", **{f"HTTP_{k}": v for k, v in headers.items()})
    response = download.respond(Request(request), IMAGE, Store(), "url")
    servers.serve(response, request, take=0)
    assert closed == [True]


# sendfile

GUNICORN = {"SERVER_SOFTWARE": "gunicorn/23.0.0"}


def sent(headers, software, wrapper=servers.FileWrapper):
    """The answer, the file wrapper if one was used, and the files opened."""
    files = Files()
    entries = {f"HTTP_{name}": text for name, text in headers.items()}
    request = servers.environ(
        REQUEST_METHOD="GET",
        SERVER_SOFTWARE=software,
        **entries,
        **{"wsgi.file_wrapper": wrapper},
    )
    response = download.respond(Request(request), IMAGE, files, "url")
    return response, files


@pytest.mark.parametrize(
    ("headers", "software", "by_server"),
    [
        pytest.param({}, "gunicorn/23.0.0", True, id="gunicorn-whole"),
        pytest.param({"RANGE": "bytes=2-4"}, "gunicorn/23.0.0", True, id="gunicorn-range"),
        pytest.param({}, "other/1", True, id="other-whole"),
        pytest.param({"RANGE": "bytes=2-4"}, "other/1", False, id="other-range"),
        pytest.param({"RANGE": "bytes=0-"}, "other/1", True, id="other-whole-range"),
    ],
)
def test_which_files_the_server_sends(headers, software, by_server):
    response, files = sent(headers, software)
    assert isinstance(response.app_iter, servers.FileWrapper) is by_server
    if by_server:
        file = response.app_iter.file
        assert file.tell() == (2 if headers.get("RANGE") == "bytes=2-4" else 0)
        response.app_iter.close()
    assert all(file.closed for file in files.opened)


def test_a_file_wrapper_that_is_a_function_is_not_used():
    response, files = sent({}, "uwsgi", lambda file, block: pytest.fail("not its class"))
    assert b"".join(response.app_iter) == DATA
    assert files.opened == []


def test_a_wrapper_that_fails_leaves_no_file_open():
    class Fails(servers.FileWrapper):
        def __init__(self, file, block):
            raise apps.Oops

    files = Files()
    request = servers.environ(REQUEST_METHOD="GET", **{"wsgi.file_wrapper": Fails})
    with pytest.raises(apps.Oops):
        download.respond(Request(request), IMAGE, files, "url")
    assert [file.closed for file in files.opened] == [True]
