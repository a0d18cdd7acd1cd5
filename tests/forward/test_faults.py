"""What a client gets, and upstream sees, whatever upstream does: a table of its faults."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import pytest

from imsgate.errors import UpstreamFailed
from imsgate.forward.connection import UpstreamConnection
from tests.forward.conftest import request, served, upload
from tests.forward.scripted import OK, Peer, scripted

#: More than the buffers of both sockets take.
DATA = bytes(range(256)) * (1 << 16)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
RESUMPTION = b"HTTP/1.1 104 Upload Resumption Supported\r\nLocation: /elsewhere\r\n\r\n"
ACTIVE = {"status": "active", "size": len(DATA)}


@dataclasses.dataclass(frozen=True)
class Row:
    """``scripts`` are those of upstream's connections, ``end`` how the body of the first ended."""

    scripts: Sequence[Callable[[Peer], object]]
    code: int
    end: str = "whole"
    reason: str | None = None
    body: bytes | None = None
    settings: dict[str, object] = dataclasses.field(default_factory=dict)


def _record(**fields: object) -> Callable[[Peer], object]:
    return lambda peer: peer.head().respond("200 OK", json.dumps({**ACTIVE, **fields}).encode())


def _sends_back(data: bytes = DATA) -> Callable[[Peer], object]:
    return lambda peer: peer.head().respond("200 OK", data)


def _accepts(peer: Peer) -> object:
    return peer.head().send(CONTINUE).body()


def _lost(peer: Peer) -> object:
    return _accepts(peer).reset()


def _midway(peer: Peer) -> Peer:
    return peer.head().send(CONTINUE).body(1000)


def _plain(peer: Peer) -> Peer:
    assert peer.head().header("expect") is None
    return peer.body().send(OK)


UPLOADS = {
    "stores it": Row([lambda peer: _accepts(peer).send(OK)], 204),
    "does not know Expect": Row(
        [lambda peer: peer.head().body().send(OK)], 204, settings={"continue_timeout": 0.01}
    ),
    "is not sent Expect": Row(
        [lambda peer: peer.head().body().send(OK)], 204, settings={"continue_timeout": 0.0}
    ),
    "refuses Expect once": Row(
        [lambda peer: peer.head().respond("417 Expectation Failed"), _plain],
        204,
        end="",
    ),
    "103 and 104 before the end": Row(
        [lambda peer: peer.head().send(HINTS + CONTINUE + RESUMPTION).body().send(HINTS + OK)], 204
    ),
    "interim responses without end": Row(
        [lambda peer: peer.head().send(HINTS * 100).wait()], 502, "", "upstream_failed"
    ),
    "101": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").wait()],
        *(502, "", "upstream_failed"),
    ),
    "413 by the headers": Row(
        [lambda peer: peer.head().respond("413 Too Large", b"too large").until_closed()],
        *(413, "cut", None, b"too large"),
    ),
    "413 midway, and reads no more": Row(
        [lambda peer: _midway(peer).respond("413 Too Large", b"too large").wait()],
        *(413, "", None, b"too large"),
    ),
    "413 midway, and closes": Row(
        [lambda peer: _midway(peer).respond("413 Too Large", b"too large", "Connection: close")],
        *(413, "", None, b"too large"),
    ),
    "401 midway": Row(
        [lambda peer: _midway(peer).respond("401 Unauthorized", b"expired").until_closed()],
        *(401, "cut", None, b"expired"),
    ),
    "success midway": Row(
        [lambda peer: _midway(peer).send(OK).until_closed()], 502, "cut", "upstream_failed"
    ),
    "success before the body": Row(
        [lambda peer: peer.head().send(OK).until_closed()], 502, "cut", "upstream_failed"
    ),
    "500 at the end": Row(
        [lambda peer: _accepts(peer).respond("500 Error", b"broken")], 500, body=b"broken"
    ),
    "reset midway": Row([lambda peer: _midway(peer).reset()], 502, "", "upstream_failed"),
    "reset before the body": Row([lambda peer: peer.head().reset()], 502, "", "upstream_failed"),
    "closed without a response": Row([lambda peer: peer.head()], 502, "", "upstream_failed"),
    "reads nothing": Row(
        [lambda peer: peer.head().send(CONTINUE).wait()],
        *(504, "", "upstream_timeout"),
        settings={"idle_timeout": 0.05},
    ),
    "lost response, stored": Row([_lost, _record(), _sends_back()], 204),
    "late response, stored": Row(
        [lambda peer: _accepts(peer).wait(), _record(), _sends_back()],
        204,
        settings={"commit_timeout": 0.05},
    ),
    "late response, not stored": Row(
        [lambda peer: _accepts(peer).wait(), _record(status="saving")],
        *(504, "whole", "upstream_timeout"),
        settings={"commit_timeout": 0.05},
    ),
    "half a response, stored": Row(
        [
            lambda peer: _accepts(peer).send(b"HTTP/1.1 204 No").reset(),
            _record(),
            _sends_back(),
        ],
        204,
    ),
    "lost response, not stored": Row(
        [_lost, _record(status="queued", size=None)], 502, "whole", "upstream_failed"
    ),
    "lost response, other data": Row(
        [_lost, _record(), _sends_back(DATA[:-1] + b"x")], 502, "whole", "upstream_failed"
    ),
    "lost response, less data": Row(
        [_lost, _record(), _sends_back(DATA[:-1])], 502, "whole", "upstream_failed"
    ),
    "lost response, more data": Row(
        [_lost, _record(), _sends_back(DATA + b"x")], 502, "whole", "upstream_failed"
    ),
    "lost response, may not be downloaded": Row(
        [_lost, _record(), lambda peer: peer.head().respond("403 Forbidden")],
        *(502, "whole", "upstream_failed"),
    ),
    "lost response, the download breaks off": Row(
        [
            _lost,
            _record(),
            lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        ],
        *(502, "whole", "upstream_failed"),
    ),
    "lost response, other size": Row([_lost, _record(size=1)], 502, "whole", "upstream_failed"),
    "lost response, no record": Row(
        [_lost, lambda peer: peer.head().respond("401 Unauthorized")],
        *(502, "whole", "upstream_failed"),
    ),
    "lost response, and it is gone": Row(
        [_lost, lambda peer: peer.head().reset()], 502, "whole", "upstream_failed"
    ),
    "lost response, not looked for": Row(
        [_lost], 502, "whole", "upstream_failed", settings={"check_lost_responses": False}
    ),
    "a response that is none": Row(
        [lambda peer: _accepts(peer).send(b"SMTP ready\r\n\r\n").wait(), _record(size=1)],
        *(502, "whole", "upstream_failed"),
    ),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("row", UPLOADS.values(), ids=UPLOADS)
def test_upload(row, chunked, forwards):
    with scripted(*row.scripts) as upstream:
        app = forwards(upstream, **row.settings)
        answer = served(app, upload(DATA, chunked=chunked), upstream)
    assert (answer.code, answer.reason) == (row.code, row.reason)
    assert (answer.header("Retry-After") is not None) is (row.reason is not None)
    if row.body is not None:
        assert answer.body == row.body
    first = upstream.peers[0]
    assert first.end == row.end
    assert (first.received == DATA) is (row.end == "whole")
    assert first.header("content-length") == (None if chunked else str(len(DATA)))
    assert first.header("transfer-encoding") == ("chunked" if chunked else None)


def test_own_requests_wait_as_long_as_the_option_says(forwards, monkeypatch):
    """Those by which the forwarder looks at an image whose response is lost."""
    timeouts, data = [], UpstreamConnection.data

    def observed(self, timeout):
        timeouts.append(timeout)
        return data(self, timeout)

    monkeypatch.setattr(UpstreamConnection, "data", observed)
    with scripted(_lost, _record(), _sends_back()) as upstream:
        app = forwards(upstream, idle_timeout=59.0)
        assert served(app, upload(DATA), upstream).code == 204
    assert set(timeouts) == {59.0}


READS = {
    "200": Row([lambda peer: peer.head().respond("200 OK", b"{}")], 200, body=b"{}"),
    "chunked": Row(
        [
            lambda peer: peer.head().send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
        ],
        *(200, "", None, b"abc"),
    ),
    "without a length": Row(
        [lambda peer: peer.head().send(b"HTTP/1.0 200 OK\r\n\r\nabc")], 200, body=b"abc"
    ),
    "without a reason": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n")], 404
    ),
    "slow head": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\n").wait()],
        *(504, "", "upstream_timeout"),
        settings={"response_timeout": 0.05},
    ),
    "closed": Row([lambda peer: peer.head()], 502, "", "upstream_failed"),
    "half a head": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\nA: b")], 502, "", "upstream_failed"
    ),
    "a head without end": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\nA: " + b"b" * (1 << 18)).wait()],
        *(502, "", "upstream_failed"),
    ),
    "two lengths": Row(
        [
            lambda peer: peer.head().send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n0\r\n\r\n"
            )
        ],
        *(502, "", "upstream_failed"),
    ),
    "two different lengths": Row(
        [
            lambda peer: peer.head().send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"
            )
        ],
        *(502, "", "upstream_failed"),
    ),
    "a length with a sign": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc")],
        *(502, "", "upstream_failed"),
    ),
    "a folded header with a bare line feed": Row(
        [lambda peer: peer.head().send(b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n")],
        *(502, "", "upstream_failed"),
    ),
}


@pytest.mark.parametrize("row", READS.values(), ids=READS)
def test_read(row, forwards):
    with scripted(*row.scripts) as upstream:
        answer = served(forwards(upstream, **row.settings), request(), upstream)
    assert (answer.code, answer.reason) == (row.code, row.reason)
    assert answer.status.partition(" ")[2]
    if row.body is not None:
        assert answer.body == row.body


BROKEN = {
    "before its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Peer.close),
    "between two chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        Peer.close,
    ),
    "at a chunk without a size": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        Peer.wait,
    ),
    "at a chunk that is too long": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        Peer.wait,
    ),
    "by silence": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Peer.wait),
}


@pytest.mark.parametrize("row", BROKEN.values(), ids=BROKEN)
def test_a_response_that_breaks_off_does_not_end_as_if_it_were_whole(row, forwards):
    data, then = row
    with scripted(lambda peer: then(peer.head().send(data))) as upstream:
        app = forwards(upstream, idle_timeout=0.2)
        with pytest.raises(UpstreamFailed):
            served(app, request(), upstream)
        app.pool.enter()  # the place is free again


def test_upstream_that_cannot_be_reached(forwards):
    with scripted(Peer.head) as upstream:
        app = forwards(upstream)
    answer = served(app, request())
    assert (answer.code, answer.reason) == (502, "upstream_failed")
    assert answer.header("Retry-After") == "30"


def test_an_outage_is_one_error_and_its_end_one_line(forwards, caplog):
    caplog.set_level("INFO")

    def refused():
        raise UpstreamFailed(problem="cannot be reached") from ConnectionRefusedError("no")

    with scripted(lambda peer: peer.head().send(OK)) as upstream:
        app = forwards(upstream)
        connect, app.pool._connect = app.pool._connect, refused
        for _ in range(2):
            assert served(app, request()).code == 502
        app.pool._connect = connect
        assert served(app, request(), upstream).code == 204
    port = upstream.url.rpartition(":")[2]
    service = f"The image service 127.0.0.1:{port}"
    assert [(line.levelname, line.getMessage()) for line in caplog.records] == [
        ("ERROR", f"{service} fails: it cannot be reached (no)"),
        ("INFO", f"{service} works again after 0 s"),
    ]
