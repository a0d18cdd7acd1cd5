"""What is left on a server that lists its files."""

import os
import time

import pytest

from imsgate import errors
from imsgate.stores.base import Swept
from imsgate.stores.http import listing
from tests.stores.s3.proxy import between

KEYS = [f"6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6{end}.1" for end in "abc"]
OLD = 100_000


@pytest.fixture
def left(serve):
    """Files of dead attempts, of living ones and of others, by the kind of server."""

    def left(kind):
        served = serve(kind)
        place = served.home / "root/images"
        for name in (*KEYS, "_imsgate-part-notes", "notes.txt", "a b.1"):
            (place / name).write_bytes(b"object")
        for key in KEYS:
            file = place / f"_imsgate-part-{key}"
            file.write_bytes(b"part")
            if key != KEYS[0]:
                os.utime(file, (time.time() - OLD, time.time() - OLD))
        return served

    yield left
    for kind in ("webdav", "put only"):
        for name in serve(kind).files("images"):
            (serve(kind).home / "root/images" / name).unlink()


def test_dead_attempts_are_removed(left):
    served = left("webdav")
    store = served.store()
    before = set(served.files("images"))
    assert store.sweep(OLD / 2, lambda key: key == KEYS[1]) == Swept(1, 4)
    assert before - set(served.files("images")) == {f"_imsgate-part-{KEYS[2]}"}
    store.close()


def test_orphaned_objects_are_removed(left):
    served = left("webdav")
    store = served.store()
    before = set(served.files("images"))
    assert store.sweep_objects(lambda key: key != KEYS[1]) == Swept(2, 12)
    assert before - set(served.files("images")) == {KEYS[0], KEYS[2]}
    store.close()


def test_a_server_that_lists_nothing_keeps_everything(left):
    served = left("put only")
    store = served.store()
    before = set(served.files("images"))
    assert store.sweep(0, lambda _: False) == Swept(0, 0)
    assert store.sweep_objects(lambda _: True) == Swept(0, 0)
    assert set(served.files("images")) == before
    store.close()


@pytest.mark.parametrize("body", ["", "<a", "<a><b></a>", "<!DOCTYPE a><a/>"])
def test_a_broken_list_is_reported(serve, body):
    served = serve("webdav")
    with between(served.port) as proxy:
        store = served.store(http_store_url=f"{proxy.url}/images")
        head = f"HTTP/1.1 207 Multi-Status\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        proxy.rules.append(lambda line: head.encode() if "PROPFIND" in line else None)
        with pytest.raises(errors.StoreUnavailable, match="list of files cannot be read"):
            store.sweep(0, lambda _: False)
        store.close()


def test_how_other_servers_write_their_list():
    """Apache: another prefix, absolute URLs, a collection without a length."""
    date = "Sun, 29 Nov 2026 12:00:30 GMT"
    document = b"""<?xml version="1.0" encoding="utf-8"?>
    <D:multistatus xmlns:D="DAV:">
    <D:response xmlns:lp1="DAV:"><D:href>http://x/images/</D:href><D:propstat><D:prop>
    <lp1:getlastmodified>Sun, 29 Nov 2026 12:00:00 GMT</lp1:getlastmodified></D:prop>
    </D:propstat></D:response>
    <D:response xmlns:lp1="DAV:"><D:href>http://x/images/a%20b</D:href><D:propstat><D:prop>
    <lp1:getcontentlength>7</lp1:getcontentlength>
    <lp1:getlastmodified>Sun, 29 Nov 2026 12:00:00 GMT</lp1:getlastmodified></D:prop>
    </D:propstat></D:response></D:multistatus>"""
    assert list(listing.parse(document, date)) == [listing.ListedFile("a b", 7, 30)]
