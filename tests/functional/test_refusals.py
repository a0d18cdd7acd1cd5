"""Every refusal of an upload, over a real socket: status, reason, and nothing left behind.

Each case is sent twice: with a small body that is all there at once, and by a client
that announced a whole image and goes on sending it. The latter must get its answer
too, and its image must not be read.
"""

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from tests.functional import images
from tests.functional.conftest import CAP
from tests.functional.gateway import Answer, Gateway
from tests.functional.wire import CHUNKED, MIB, Wire, length

SMALL = b"0123456789"
LARGE = 64 * MIB
#: What the kernel's buffers and the server hold of a body nobody reads, and then some.
LITTLE = 24 * MIB
#: What may have been read of an image whose first bytes refuse it.
FIRST_READ = MIB


@dataclasses.dataclass(frozen=True)
class Case:
    """One refusal; ``fields`` are headers, ``record`` what the image is created with."""

    name: str
    status: int
    reason: str
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    token: str | None = "member"
    owner: str = "demo"
    image: str | None = None

    def __str__(self) -> str:
        return self.name


AT_ONCE = (
    Case("unknown store", 400, "unknown_store", {"X-Image-Meta-Store": "nowhere"}),
    Case("store id as path", 400, "bad_header", {"X-Image-Meta-Store": "../fast"}),
    Case("empty store id", 400, "bad_header", {"X-Image-Meta-Store": ""}),
    Case("store id of 256", 400, "bad_header", {"X-Image-Meta-Store": "a" * 256}),
    Case("size mismatch", 400, "size_mismatch", {"X-OpenStack-Image-Size": "77"}),
    Case("signed size", 400, "bad_header", {"X-OpenStack-Image-Size": "+5"}),
    Case("size in Arabic digits", 400, "bad_header", {"X-OpenStack-Image-Size": "\u0665"}),
    Case("size of 20 digits", 400, "bad_header", {"X-OpenStack-Image-Size": "9" * 20}),
    Case("empty size", 400, "bad_header", {"X-OpenStack-Image-Size": ""}),
    Case("no disk format", 400, "formats_not_set", record={"disk_format": None}),
    Case("no container format", 400, "formats_not_set", record={"container_format": None}),
    Case("no token", 401, "unauthenticated", token=None),
    Case("foreign token", 401, "unauthenticated", token="forged"),
    Case(
        "forged identity",
        401,
        "unauthenticated",
        {
            "X-Identity-Status": "Confirmed",
            "X-Roles": "admin",
            "X-User-Id": "u",
            "X-Project-Id": "demo",
        },
        token=None,
    ),
    Case(
        "forged identity, underscores",
        401,
        "unauthenticated",
        {"X_Identity_Status": "Confirmed", "X_Roles": "admin", "X_Project_Id": "demo"},
        token=None,
    ),
    Case("reader", 403, "forbidden", token="reader"),
    Case(
        "reader who says admin",
        403,
        "forbidden",
        {"X-Roles": "admin", "X-Is-Admin-Project": "True"},
        token="reader",
    ),
    Case(
        "other's community image", 403, "forbidden", record={"visibility": "community"}, owner="x"
    ),
    Case("other's image", 404, "not_found", owner="x"),
    Case("no such image", 404, "not_found", image=str(uuid.UUID(int=1))),
    Case("image id of 300", 404, "not_found", image="a" * 300),
    Case("no content type", 415, "unsupported_media_type", {"Content-Type": ""}),
    Case("json", 415, "unsupported_media_type", {"Content-Type": "application/json"}),
    Case("form", 415, "unsupported_media_type", {"Content-Type": "multipart/form-data"}),
)


def _send_head(
    gateway: Gateway, wire: Wire, case: Case, fields: list[tuple[str, str]], body: bytes = b""
) -> str:
    owner = gateway.token(case.owner)
    image_id = gateway.create(token=owner, **case.record)
    tokens = {"member": gateway.token(), "reader": gateway.token(roles=("reader",))}
    named = {"Content-Type": "application/octet-stream", **case.fields}
    if case.token is not None:
        named["X-Auth-Token"] = tokens.get(case.token, case.token)
    path = f"/v2/images/{case.image or image_id}/file"
    wire.head("PUT", path, [*named.items(), *fields], body)
    return image_id


def _assert_refused(
    gateway: Gateway, answer: Answer, case: Case, image_id: str, consumed: int = 0
) -> None:
    assert answer.outcome == (case.status, case.reason), answer.body
    assert answer.headers["X-Openstack-Request-Id"]
    assert gateway.access(answer)["in"] <= consumed
    gateway.assert_untouched(image_id)


@pytest.mark.parametrize(
    ("case", "sending"),
    [
        pytest.param(case, sending, id=f"{case}-{sending}")
        for case in AT_ONCE
        for sending in ("whole", "length", "chunked")
        # Without a length this is known at the end only.
        if (case.reason, sending) != ("size_mismatch", "chunked")
    ],
)
def test_refused_by_headers(strict: Gateway, case: Case, sending: str) -> None:
    with Wire(strict) as wire:
        if sending == "whole":
            image_id = _send_head(strict, wire, case, length(len(SMALL)), SMALL)
        elif sending == "length":
            image_id = _send_head(strict, wire, case, length(LARGE))
            wire.flood(LARGE)
        else:
            image_id = _send_head(strict, wire, case, CHUNKED)
            wire.flood(LARGE, chunked=True)
        answer = wire.answer()
        _assert_refused(strict, answer, case, image_id)
        assert wire.sent < LITTLE
        # Where the next request would begin cannot be known, and the client is told so.
        assert answer.headers["Connection"] == ("keep-alive" if sending == "whole" else "close")


def test_unauthenticated_says_how(strict: Gateway) -> None:
    answer = strict.upload(strict.create(), SMALL, token=strict.token() + "x")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"]


def test_other_methods_are_named(strict: Gateway) -> None:
    image_id = strict.create()
    answer = strict.call("POST", f"/v2/images/{image_id}/file", SMALL)
    assert answer.outcome == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, PUT"
    strict.assert_untouched(image_id)


def test_refused_client_that_only_sends(strict: Gateway) -> None:
    """One that looks for an answer only once it has sent everything, as most libraries do."""
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, [("X-Image-Meta-Store", "nowhere"), *length(LARGE)])
        answer = wire.flood(LARGE, looking=False).answer()
    assert answer.outcome == (400, "unknown_store")


@pytest.mark.parametrize("path", ["..%2f..%2fetc", "%2e%2e/%2e%2e", "%c0%ae%c0%ae", "a%00b", "."])
def test_image_id_as_path(strict: Gateway, path: str) -> None:
    answer = strict.upload(path, SMALL)
    assert answer.outcome in {(404, "not_found"), (400, "bad_request")}


def test_path_that_is_not_utf8(strict: Gateway) -> None:
    for token in (strict.token(), None):
        answer = strict.call("GET", "/v2/images/%ff%fe", token=token)
        assert answer.status in (400, 401)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO"])
@pytest.mark.parametrize("value", ["/zzz", "/v2", "/healthcheck"])
def test_the_request_line_decides_where_a_request_goes(
    strict: Gateway, name: str, value: str
) -> None:
    with Wire(strict) as wire:
        wire.head("GET", "/v2/schemas/image", [("X-Auth-Token", strict.token()), (name, value)])
        answer = wire.answer("GET")
    assert (answer.status, answer.json["name"]) == (200, "image")
    assert strict.access(answer)["status"] == 200


def test_expecting_client_gets_the_refusal(strict: Gateway) -> None:
    image_id = strict.create(disk_format=None)
    fields = [("Expect", "100-continue"), *length(LARGE)]
    with Wire(strict) as wire:
        wire.put(image_id, fields)
        answer = wire.answer()
        if answer.status == 100:
            answer = wire.answer()
        assert answer.outcome == (400, "formats_not_set")


# Sizes


def test_too_large_by_length(strict: Gateway) -> None:
    case = Case("too large", 413, "too_large")
    with Wire(strict) as wire:
        image_id = _send_head(strict, wire, case, length(CAP + 1))
        wire.flood(CAP + 1)
        _assert_refused(strict, wire.answer(), case, image_id)
        assert wire.sent < LITTLE


def test_too_large_by_announced_size(strict: Gateway) -> None:
    case = Case("too large", 413, "too_large", {"X-OpenStack-Image-Size": str(CAP + 1)})
    with Wire(strict) as wire:
        image_id = _send_head(strict, wire, case, CHUNKED)
        wire.flood(LARGE, chunked=True)
        _assert_refused(strict, wire.answer(), case, image_id)
        assert wire.sent < LITTLE


def test_too_large_by_count(strict: Gateway) -> None:
    case = Case("too large", 413, "too_large")
    with Wire(strict) as wire:
        image_id = _send_head(strict, wire, case, CHUNKED)
        wire.flood(4 * CAP, chunked=True)
        _assert_refused(strict, wire.answer(), case, image_id, consumed=CAP + 2 * MIB)
        assert wire.sent < CAP + LITTLE


def test_one_byte_too_large(strict: Gateway) -> None:
    image_id = strict.create()
    pieces = [bytes(MIB)] * (CAP // MIB)
    answer = strict.upload(image_id, iter([*pieces, b"1"]))
    assert answer.outcome == (413, "too_large")
    strict.assert_untouched(image_id)
    assert strict.upload(image_id, iter(pieces)).status == 204
    assert strict.show(image_id)["size"] == CAP
    assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204


@pytest.mark.parametrize("announced", [9, 11])
def test_size_mismatch_by_count(strict: Gateway, announced: int) -> None:
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, [*CHUNKED, ("X-OpenStack-Image-Size", str(announced))])
        answer = wire.chunk(SMALL).last_chunk().answer()
    assert answer.outcome == (400, "size_mismatch")
    strict.assert_untouched(image_id)


def test_announced_size_that_is_right(strict: Gateway) -> None:
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, [*CHUNKED, ("X-OpenStack-Image-Size", str(len(SMALL)))])
        assert wire.chunk(SMALL).last_chunk().answer().status == 204
    assert strict.show(image_id)["size"] == len(SMALL)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_metadata_too_large(strict: Gateway, chunked: bool) -> None:
    fields = [("X-Auth-Token", strict.token()), ("Content-Type", "application/json")]
    fields += CHUNKED if chunked else length(2 * MIB)
    with Wire(strict) as wire:
        wire.head("POST", "/v2/images", fields).flood(2 * MIB, chunked=chunked)
        assert wire.answer().outcome == (413, "too_large")


def test_body_that_ends_early(strict: Gateway) -> None:
    """The client's side is closed in peace: the server sees an ordinary end of its input."""
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, length(1000)).send(SMALL).saving(image_id).end()
        answer = wire.answer()
    assert answer.outcome == (400, "body_cut")
    strict.assert_untouched(image_id)


BROKEN_CHUNKS = {
    "size is no number": b"zz\r\n0123456789\r\n0\r\n\r\n",
    "signed size": b"+a\r\n0123456789\r\n0\r\n\r\n",
    "hexadecimal prefix": b"0xa\r\n0123456789\r\n0\r\n\r\n",
    "underscore in size": b"1_0\r\n0123456789012345\r\n0\r\n\r\n",
    "negative size": b"-1\r\n0123456789\r\n0\r\n\r\n",
    "bare LF": b"a\n0123456789\n0\n\n",
    "longer than its size": b"5\r\n0123456789\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_broken_chunks(strict: Gateway, body: bytes) -> None:
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, CHUNKED).send(body).end()
        assert wire.answer().status == 400
    strict.assert_untouched(image_id)


# Framing that two servers could read in two ways. gunicorn refuses most of it by itself,
# so that only the status is known.

FRAMING = {
    "length and chunked": [*length(10), *CHUNKED],
    "chunked and length": [*CHUNKED, *length(10)],
    "chunked, identity": [("Transfer-Encoding", "chunked, identity")],
    "identity": [("Transfer-Encoding", "identity"), *length(10)],
    "xchunked": [("Transfer-Encoding", "xchunked")],
    "gzip, chunked": [("Transfer-Encoding", "gzip, chunked")],
    "chunked twice": [*CHUNKED, *CHUNKED],
    "chunked behind vertical tab": [("Transfer-Encoding", "\x0bchunked")],
    "plus": length("+5"),
    "underscore": length("1_0"),
    "hexadecimal": length("0x10"),
    "Arabic digits": length("\u0661\u0660"),
    "20 digits": length("1" * 20),
    "negative": length("-1"),
    "two lengths": [*length(10), *length(11)],
    "list of lengths": length("10, 10"),
    "space before colon": [("Content-Length ", "10")],
    "folded header": [("X-Fold", "a\r\n b"), *length(10)],
    "control in store id": [("X-Image-Meta-Store", "fa\x01st"), *length(10)],
    "NUL in a header": [("X-Any", "a\x00b"), *length(10)],
}


@pytest.mark.parametrize("fields", FRAMING.values(), ids=FRAMING)
def test_contradictory_framing(strict: Gateway, fields: list[tuple[str, str]]) -> None:
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, fields).flood(MIB)
        assert wire.answer().status in (400, 413, 501)
    strict.assert_untouched(image_id)


# Content

HOSTILE = {
    "backing file": ("qcow2", images.BACKING_FILE, "image_refused"),
    "backing file as raw": ("raw", images.BACKING_FILE, "image_refused"),
    "backing file as iso": ("iso", images.BACKING_FILE, "image_refused"),
    "data file": ("qcow2", images.DATA_FILE, "image_refused"),
    "data file as raw": ("raw", images.DATA_FILE, "image_refused"),
    "data file as vmdk": ("vmdk", images.DATA_FILE, "image_refused"),
    "unknown feature": ("qcow2", images.UNKNOWN_FEATURE, "image_refused"),
    "foreign extent": ("vmdk", images.OUTSIDE, "image_refused"),
    "foreign extent as raw": ("raw", images.OUTSIDE, "image_refused"),
    "sound qcow2 as raw": ("raw", images.qcow2(), "format_mismatch"),
    "zeros as qcow2": ("qcow2", bytes(1 << 18), "format_mismatch"),
    "gzip as raw": ("raw", b"\x1f\x8b\x08\0" + bytes(1 << 18), "format_mismatch"),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("declared", "data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_refused_by_first_bytes(
    strict: Gateway, declared: str, data: bytes, reason: str, chunked: bool
) -> None:
    case = Case("hostile", 415, reason, record={"disk_format": declared})
    with Wire(strict) as wire:
        image_id = _send_head(strict, wire, case, CHUNKED if chunked else length(LARGE))
        (wire.chunk if chunked else wire.send)(data)
        wire.flood(LARGE - len(data), chunked=chunked)
        answer = wire.answer()
        _assert_refused(strict, answer, case, image_id, consumed=FIRST_READ)
        assert wire.sent < LITTLE
    assert b"byte 0" in answer.body or b"at byte" in answer.body


@pytest.mark.parametrize(("declared", "data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_image_sent_whole(strict: Gateway, declared: str, data: bytes, reason: str) -> None:
    image_id = strict.create(disk_format=declared)
    answer = strict.upload(image_id, data)
    assert answer.outcome == (415, reason)
    strict.assert_untouched(image_id)


def test_refusal_as_json(strict: Gateway) -> None:
    image_id = strict.create(disk_format="qcow2")
    accept = {"Accept": "application/json"}
    answer = strict.upload(image_id, images.BACKING_FILE, headers=accept)
    assert answer.json["reason"] == "image_refused"
    assert answer.json["check"] == "backing_file"
    assert answer.json["offset"] == 8
    assert answer.json["hint"]


# Status


def test_second_upload_of_an_active_image(strict: Gateway) -> None:
    image_id = strict.stored(SMALL)
    case = Case("active", 409, "data_differs", image=image_id)
    for fields, chunked, consumed in ((length(LARGE), False, 0), (CHUNKED, True, MIB)):
        with Wire(strict) as wire:
            other = _send_head(strict, wire, case, fields)
            answer = wire.flood(LARGE, chunked=chunked).answer()
            _assert_refused(strict, answer, case, other, consumed=consumed)
            assert wire.sent < LITTLE
    answer = strict.upload(image_id, SMALL, token=strict.admin)  # not whose upload it was
    assert answer.outcome == (409, "wrong_status")
    assert strict.download(image_id).body == SMALL
    assert strict.status(image_id) == "active"


def test_second_writer(strict: Gateway) -> None:
    image_id = strict.create()
    with Wire(strict) as first, Wire(strict) as second:
        first.put(image_id, length(len(SMALL))).send(SMALL[:5]).saving(image_id)
        answer = second.put(image_id, length(LARGE)).flood(LARGE).answer()
        assert answer.outcome == (409, "wrong_status")
        assert second.sent < LITTLE
        assert first.send(SMALL[5:]).answer().status == 204
    assert strict.download(image_id).body == SMALL


def test_status_cannot_be_claimed(strict: Gateway) -> None:
    image_id = strict.stored(SMALL)
    claim = {"X-Image-Meta-Status": "queued"}
    assert strict.upload(image_id, b"other", headers=claim).outcome == (409, "data_differs")
    assert strict.download(image_id).body == SMALL


def test_deleted_before_the_end(strict: Gateway) -> None:
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, length(len(SMALL))).send(SMALL[:5]).saving(image_id)
        assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
        assert wire.send(SMALL[5:]).answer().outcome == (410, "image_gone")
    assert strict.residue(image_id) == []
    assert strict.call("GET", f"/v2/images/{image_id}").status == 404


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_deleted_while_sending(strict: Gateway, chunked: bool) -> None:
    """The lease tells a client that would have gone on for long."""
    image_id = strict.create()
    with Wire(strict) as wire:
        wire.put(image_id, CHUNKED if chunked else length(LARGE))
        send = wire.chunk if chunked else wire.send
        send(b"x" * 100).saving(image_id)
        assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
        while not wire.answered(0.02):
            send(bytes(1024))
        assert wire.answer().outcome == (410, "image_gone")
    assert strict.residue(image_id) == []
    assert strict.call("GET", f"/v2/images/{image_id}").status == 404


def test_deleted_id_is_never_used_again(strict: Gateway) -> None:
    image_id = strict.stored(SMALL)
    assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert strict.residue(image_id) == []
    again = {"id": image_id, "disk_format": "raw", "container_format": "bare"}
    assert strict.call("POST", "/v2/images", again).outcome == (409, "already_exists")
    assert strict.upload(image_id, SMALL).status == 404
