"""Responses that are refused, lost, early or wrong, in place of those of a real server."""

import contextlib
import os
import re

import pytest

from imsgate import errors
from tests.stores.http import nginx
from tests.stores.s3.proxy import between

KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"
CHUNK = bytes(range(256)) * 4096


@pytest.fixture
def served(serve):
    return serve("webdav")


@pytest.fixture
def proxy(served):
    with between(served.port) as proxy:
        yield proxy


@pytest.fixture
def build(served, proxy):
    with contextlib.ExitStack() as stack:

        def build(**changed):
            store = served.store(**{"http_store_url": f"{proxy.url}/images", **changed})
            stack.callback(store.close)
            return store

        yield build
    files = served.files("images")
    for name in files:
        (served.home / "root/images" / name).unlink()
    assert files == []


def answer(proxy, pattern, head):
    """Answer requests whose first line matches with ``head`` in place of the server."""
    length = "" if re.search("Content-Length|Transfer-Encoding", head) else "\nContent-Length: 0"
    text = f"{head}{length}\n\n".replace("\n", "\r\n")

    def rule(line):
        return text.encode() if re.match(pattern, line) else None

    proxy.rules.append(rule)


def put(store, size=None, chunks=1):
    with store.create(KEY, size) as sink:
        for _ in range(chunks):
            sink.write(CHUNK)
        return sink.commit()


REFUSED = {
    "full": ("507 Insufficient Storage", errors.StoreFull, None),
    "too large": ("413 Content Too Large", errors.StoreFull, None),
    "credentials": ("401 Unauthorized", errors.StoreDenied, "401 to PUT"),
    "forbidden": ("403 Forbidden", errors.StoreDenied, "403 to PUT"),
    "no collection": ("409 Conflict", errors.StoreUnavailable, "collection of http_store_url"),
    "size wanted": ("411 Length Required", errors.StoreUnavailable, "size is announced"),
    "locked": ("423 Locked", errors.StoreUnavailable, "locked"),
    "no PUT": ("405 Method Not Allowed", errors.StoreUnavailable, "405 to PUT"),
    "redirect": ("307 Elsewhere\nLocation: http://x/", errors.StoreUnavailable, "a redirect"),
    "busy": ("503 Busy\nRetry-After: 7", errors.StoreUnavailable, "overloaded"),
    "error": ("500 Error", errors.StoreUnavailable, "500 to PUT"),
    "too early": ("201 Created", errors.StoreUnavailable, "before the end of the data"),
    "informational first": (
        "102 Processing\n\nHTTP/1.1 103 Early Hints\nLink: </x>\n\nHTTP/1.1 507 Full",
        errors.StoreFull,
        None,
    ),
    "no HTTP": ("999999999 What", errors.StoreUnavailable, "connection broke"),
}


@pytest.mark.parametrize("size", [None, 64 * len(CHUNK)], ids=["chunked", "announced"])
@pytest.mark.parametrize(("head", "kind", "problem"), REFUSED.values(), ids=REFUSED)
def test_an_early_response_ends_an_upload_with_its_reason(proxy, build, head, kind, problem, size):
    store = build()
    answer(proxy, "PUT", f"HTTP/1.1 {head}")
    with pytest.raises(kind, match=problem) as caught:
        put(store, size, chunks=64)
    assert proxy.sent < 32 * len(CHUNK)  # it does not send all of it
    if "Retry-After" in head:
        assert caught.value.headers == {"Retry-After": "7"}


def test_informational_responses_are_skipped(proxy, build):
    store = build(http_store_move="never")
    informational = "HTTP/1.1 102 Processing\n\nHTTP/1.1 103 Early Hints\nLink: </x>\n\n"
    answer(proxy, "PUT", f"{informational}HTTP/1.1 201 Created")
    answer(proxy, "HEAD", "HTTP/1.1 200 OK")
    with store.create(KEY, 0) as sink:
        assert sink.commit() == KEY


@pytest.mark.parametrize("chunks", [1, 8], ids=["commit or write", "write"])
def test_what_belongs_to_somebody_else_is_kept(served, proxy, build, chunks):
    """A refused If-None-Match: the file is not this attempt's, so abort must not remove it."""
    file = served.home / "root/images" / KEY
    file.write_bytes(b"other")
    store = build(http_store_move="never")
    answer(proxy, "PUT", "HTTP/1.1 412 Precondition Failed")
    with pytest.raises(errors.StoreUnavailable, match="412"):
        put(store, chunks=chunks)
    assert file.read_bytes() == b"other"
    file.unlink()


def test_a_move_never_overwrites(served, build):
    file = served.home / "root/images" / KEY
    file.write_bytes(b"other")
    store = build()
    with pytest.raises(errors.StoreUnavailable, match="412 to MOVE"):
        put(store)
    assert file.read_bytes() == b"other"
    file.unlink()


@pytest.mark.parametrize("after", [-1, 0], ids=["response", "request"])
def test_a_lost_move_is_found_out(proxy, build, after):
    store = build()
    proxy.cut("MOVE", after)
    assert put(store) == KEY
    assert b"".join(store.read(KEY)) == CHUNK
    store.delete(KEY)


def test_a_lost_response_to_put_leaves_nothing(proxy, build):
    store = build()
    proxy.cut("PUT", -1)
    with pytest.raises(errors.StoreUnavailable, match="the connection broke"):
        put(store)


def test_what_was_stored_with_another_size_is_refused(proxy, build):
    store = build()
    answer(proxy, "HEAD", "HTTP/1.1 200 OK")
    with pytest.raises(errors.StoreUnavailable, match=f"0 bytes instead of {len(CHUNK)}"):
        put(store)


def test_requests_without_a_body_are_repeated(proxy, build):
    store = build()
    put(store)
    for method in ("HEAD", "GET", "DELETE"):
        proxy.cut(method, -1, times=2)
    assert store.size(KEY) == len(CHUNK)
    assert b"".join(store.read(KEY)) == CHUNK
    proxy.cut(r"GET /images/\w", -len(CHUNK) // 2)
    assert b"".join(store.read(KEY)) == CHUNK
    store.delete(KEY)  # the first request removed it


UNREADABLE = {
    "whole instead of a range": ("200 OK\nContent-Length: 4194305", "does not support ranges"),
    "no length": ("200 OK\nTransfer-Encoding: chunked", "does not support ranges"),
    "another range": ("206 P\nContent-Range: bytes 1-1048575/1048576", "another range"),
    "no position": ("206 Partial", "range without its position"),
    "denied": ("403 Forbidden", "403 to GET"),
    "cut": ("206 P\nContent-Range: bytes 0-1048575/1048576\nContent-Length: 1048576", "broke"),
}


@pytest.mark.parametrize(("head", "problem"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_wrong_response_gives_no_wrong_bytes(proxy, build, head, problem):
    store = build()
    put(store)
    answer(proxy, r"GET /images/\w", f"HTTP/1.1 {head}")
    with pytest.raises(errors.StoreUnavailable, match=problem):
        list(store.read(KEY))
    proxy.rules.clear()
    store.delete(KEY)


def test_an_object_that_is_replaced_while_it_is_read(served, build):
    store = build()
    put(store, chunks=3)
    reader = store.read(KEY)
    next(reader)
    file = served.home / "root/images" / KEY
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, (1, 1))
    with pytest.raises(errors.StoreUnavailable, match="replaced while it was read"):
        list(reader)
    store.delete(KEY)


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_size_that_head_does_not_report(proxy, build, chunks):
    """As Apache does not report that of an empty file."""
    answer(proxy, "HEAD", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
    store = build()
    put(store, chunks=chunks)
    assert store.size(KEY) == chunks * len(CHUNK)
    store.delete(KEY)


@pytest.mark.parametrize(
    ("pattern", "field"),
    [("HEAD", "Content-Length: many"), ("HEAD|GET", "Transfer-Encoding: chunked")],
)
def test_a_size_that_is_not_reported(proxy, build, pattern, field):
    store = build()
    put(store)
    answer(proxy, pattern, f"HTTP/1.1 200 OK\n{field}")
    with pytest.raises(errors.StoreUnavailable, match=r"does not (report|support)"):
        store.size(KEY)
    proxy.rules.clear()
    store.delete(KEY)


def test_connections_are_reused(build, caplog):
    """Also after responses that are errors."""
    store = build()
    caplog.set_level("DEBUG", "urllib3")
    put(store)
    list(store.read(KEY))
    store.delete(KEY)
    with pytest.raises(errors.ObjectNotFound):
        store.size(KEY)
    store.discard(KEY)
    assert "dropped connection" not in caplog.text
    assert caplog.text.count("Starting new HTTP connection") == 1


def test_connections_are_bounded(build):
    store = build(http_store_connections=1, http_store_connect_timeout=1)
    with store.create(KEY, None) as sink:
        sink.write(CHUNK)
        with pytest.raises(errors.StoreUnavailable, match="all connections to it are in use"):
            store.create(KEY + "0", None)
        store.delete(sink.commit())
    store.delete(put(store))


# Eventlet, if another test has imported it, and Python 3.12 warn of every fork.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(build):
    store = build()
    put(store)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.write(writer, b"%d" % store.size(KEY))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"%d" % len(CHUNK)
    assert store.size(KEY) == len(CHUNK)
    os.close(reader)
    os.close(writer)
    store.delete(KEY)


def test_nothing_secret_is_logged(proxy, build, caplog):
    caplog.set_level("DEBUG")
    store = build()
    proxy.cut("PUT", 100)
    with pytest.raises(errors.StoreUnavailable):
        put(store)
    proxy.cut("HEAD", 0)
    with pytest.raises(errors.ObjectNotFound):
        store.size(KEY)
    assert "Store web: PUT failed" in caplog.text
    assert nginx.PASSWORD not in caplog.text
    assert "Basic" not in caplog.text
