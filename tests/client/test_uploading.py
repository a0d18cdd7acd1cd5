"""An upload against a server that gives every answer there is."""

import contextlib
import json

import pytest

from imsgate.client.connection import Connection
from imsgate.client.failures import Failure, NotAllowed, Refused, TransferInterrupted
from imsgate.client.progress import Quiet
from imsgate.client.retries import Retries
from imsgate.client.source import FileSource
from imsgate.client.uploading import Offer, Uploader
from tests.client.scripted import Clock, Say, Scripted, Tokens

MIB = 1 << 20
SIZE = 4 * MIB
LIMIT = {"Upload-Limit": "max-size=1000000000"}
PLAIN = Offer(resumable=True)


def at(offset, complete="?0", status=204):
    return Say(status, headers={"Upload-Offset": str(offset), "Upload-Complete": complete})


def refusal(status, reason, message="no", **headers):
    fields = {"X-Imsgate-Reason": reason, "Content-Type": "application/json"}
    body = json.dumps({"message": message}).encode()
    return Say(status, body, {**fields, **{k.replace("_", "-"): v for k, v in headers.items()}})


DONE = at(SIZE, "?1")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def uploader(tmp_path, clock):
    """Makes one for a server. Its file has SIZE bytes, and its requests MIB."""
    file = tmp_path / "disk"
    file.write_bytes(bytes(range(256)) * (SIZE // 256))
    with contextlib.ExitStack() as opened:

        def make(server, *tokens, part_bytes=MIB):
            retries = Retries(300, clock=clock, sleep=clock.sleep, spread=lambda: 1.0)
            connection = Connection(Tokens(server.url, *tokens), retries)
            source = FileSource(str(file))
            opened.callback(connection.close)
            opened.callback(source.close)
            return Uploader(connection, "one", source, Quiet(None), part_bytes=part_bytes)

        yield make


def patches(server):
    """Offset, size and completeness of each append."""
    return [
        (int(sent.headers["Upload-Offset"]), len(sent.body), sent.headers["Upload-Complete"])
        for sent in server.heard
        if sent.method == "PATCH"
    ]


WHOLE = [(n * MIB, MIB, "?1" if n == 3 else "?0") for n in range(4)]


CUT = Say(0)
QUARTER = MIB // 4
CASES = {
    "all": ([at(MIB), at(2 * MIB), at(3 * MIB), DONE], WHOLE, []),
    "503": (
        [at(MIB), Say(503, headers={"Retry-After": "9"}), at(MIB + 5), CUT, DONE],
        [(0, MIB, "?0"), (MIB, MIB, "?0"), (MIB + 5, MIB, "?0")],
        [9],
    ),
    "cuts": (
        [CUT, at(100), CUT, at(100), CUT, DONE],
        [(0, MIB, "?0"), (100, MIB, "?0"), (100, MIB // 2, "?0")],
        [0],
    ),
    "smaller for a while": (
        [CUT, at(0), *(at(n) for n in range(8)), CUT, DONE],
        [
            (0, MIB, "?0"),
            (0, MIB // 2, "?0"),
            *((n, MIB // 2, "?0") for n in range(7)),
            (7, MIB, "?0"),
        ],
        [0],
    ),
    "504": ([Say(504), DONE], [(0, MIB, "?0")], [0]),
    "413": (
        [Say(413), at(0), Say(413), at(0), at(QUARTER), CUT, DONE],
        [
            *((0, MIB, "?0"), (0, MIB // 2, "?0"), (0, QUARTER, "?0")),
            (QUARTER, QUARTER, "?0"),
        ],
        [],
    ),
    "409": (
        [refusal(409, "mismatching_upload_offset", Upload_Offset="7"), at(7), CUT, DONE],
        [(0, MIB, "?0"), (7, MIB, "?0")],
        [],
    ),
    "completed": ([at(MIB), refusal(400, "completed_upload"), DONE], WHOLE[:2], []),
    "no offset": ([Say(204), CUT, DONE], WHOLE[:2], []),
    "verifying": ([at(3 * MIB), at(SIZE, "?1", 202)], [WHOLE[0], WHOLE[3]], []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_sent(uploader, clock, case):
    """A PATCH that fails is followed by HEAD."""
    answers, sent, slept = CASES[case]
    with Scripted(*answers) as server:
        uploader(server).append_all(0, PLAIN)
    assert patches(server) == sent
    assert len(server.heard) == len(answers)
    assert clock.slept == slept


def reason(text):
    return Say(200, json.dumps({"reason": text}).encode())


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ([CUT, Say(410), reason("The image was refused (x at byte 0): y")], Refused, "x at byte 0"),
        ([Say(410), Say(410), reason("it was cancelled")], Failure, "^it was cancelled$"),
        ([CUT, Say(404), Say(404)], Failure, "404"),
        ([refusal(413, "too_large", "too large")], Failure, "^too large$"),
        ([refusal(403, "forbidden")], NotAllowed, "no"),
        ([refusal(415, "image_refused")], Refused, "no"),
        ([Say(401)], NotAllowed, "401"),
        ([Say(503, headers={"Retry-After": "150"}), at(0)] * 2, TransferInterrupted, "503"),
    ],
)
def test_what_ends_an_upload(uploader, answers, kind, message):
    with Scripted(*answers) as server:
        upload = uploader(server)
        with pytest.raises(Failure, match=message) as raised:
            upload.append_all(0, PLAIN)
    assert type(raised.value) is kind


def test_a_proxy_that_refuses_the_smallest_request(uploader):
    with Scripted(Say(413)) as server:
        upload = uploader(server, part_bytes=128 << 10)
        with pytest.raises(Failure, match="413"):
            upload.append_all(0, PLAIN)


def test_a_new_token_on_the_way(uploader):
    with Scripted(at(MIB), Say(401), at(MIB), DONE) as server:
        uploader(server, "old", "new").append_all(0, PLAIN)
    tokens = [sent.headers["X-Auth-Token"] for sent in server.heard]
    assert tokens == ["old", "old", "new", "new"]


def test_the_server_limits_requests(uploader):
    offer = Offer(resumable=True, max_append=2 * MIB)
    with Scripted(at(2 * MIB), DONE) as server:
        uploader(server, part_bytes=64 * MIB).append_all(0, offer)
    assert [size for _, size, _ in patches(server)] == [2 * MIB, 2 * MIB]


@pytest.mark.parametrize(
    ("answer", "offer"),
    [
        (Say(204, headers=LIMIT), PLAIN),
        (
            Say(204, headers={**LIMIT, "Accept-Encoding": "gzip, zstd"}),
            Offer(resumable=True, zstd=True),
        ),
        (
            Say(204, headers={"Upload-Limit": "max-append-size=5"}),
            Offer(resumable=True, max_append=5),
        ),
        (Say(204, headers={"Upload-Limit": "max-append-size=a"}), Offer(resumable=True)),
        (Say(204), Offer(resumable=False)),
        (Say(404, headers=LIMIT), Offer(resumable=False)),
        (Say(405), Offer(resumable=False)),
    ],
)
def test_what_a_server_offers(uploader, answer, offer):
    with Scripted(answer) as server:
        assert uploader(server).offer() == offer
    assert (server.heard[0].method, server.heard[0].path) == ("OPTIONS", "/v2/images/one/upload")


def test_an_upload_begins_without_data(uploader):
    with Scripted(
        CUT, Say(201), refusal(409, "not_resumable"), refusal(409, "wrong_status")
    ) as server:
        upload = uploader(server)
        assert upload.create() is True
        assert upload.create() is False
        with pytest.raises(Failure, match="no"):
            upload.create()
    for sent in server.heard:
        assert (sent.method, sent.body) == ("PUT", b"")
        assert sent.headers["Upload-Complete"] == "?0"
        assert sent.headers["Upload-Length"] == str(SIZE)


def shown(status):
    return Say(200, json.dumps({"status": status}).encode())


@pytest.mark.parametrize(
    ("answers", "puts", "slept"),
    [
        ([shown("queued"), Say(204)], 1, []),
        ([shown("queued"), CUT, shown("saving"), shown("queued"), Say(204)], 2, [0, 0.5]),
        ([shown("queued"), CUT, shown("active")], 1, [0]),
        ([shown("queued"), Say(503), shown("queued"), Say(204)], 2, [0]),
    ],
)
def test_a_plain_upload(uploader, clock, answers, puts, slept):
    with Scripted(*answers) as server:
        uploader(server).put()
    bodies = [len(sent.body) for sent in server.heard if sent.method == "PUT"]
    assert bodies == [SIZE] * puts
    assert clock.slept == slept


def test_a_plain_upload_that_is_refused(uploader):
    with Scripted(shown("queued"), refusal(415, "format_mismatch")) as server:
        upload = uploader(server)
        with pytest.raises(Refused):
            upload.put()
