"""Compressed uploads through whole gateways, by curl and by clients that break them."""

import gzip
import hashlib
import json
import pathlib
import random
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from backports import zstd

from tests.functional import partial
from tests.functional.conftest import framing, needs_program
from tests.functional.gateway import Gateway, clean_env
from tests.functional.images import BACKING_FILE
from tests.functional.importing import begin, ended
from tests.functional.wire import CHUNKED, MIB, Wire, length

#: A disk of which next to nothing is in use.
DISK_BYTES = 256 * MIB
USED = random.Random(60).randbytes(1000)
DATA = random.Random(61).randbytes(MIB) + bytes(2 * MIB)
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
#: The most bytes that the disk may cost on the wire; gzip cannot do better than 1030 to 1.
WIRE_BYTES = {"gzip": 300_000, "zstd": 16_384}
#: What a worker may take for the disk, which would be 256 MiB at once.
GROWTH_KIB = 48 << 10

EACH = pytest.mark.parametrize("coding", PACK)


@pytest.fixture(scope="module")
def disk() -> bytes:
    data = bytearray(DISK_BYTES)
    for at in range(0, DISK_BYTES, DISK_BYTES // 4):
        data[at : at + len(USED)] = USED
    return bytes(data)


@pytest.fixture(scope="module")
def sha512(disk: bytes) -> str:
    return hashlib.sha512(disk).hexdigest()


def coded(coding: str) -> dict[str, str]:
    return {"Content-Encoding": coding}


def pieces(data: bytes) -> Iterator[bytes]:
    """An iterable body is sent in chunks."""
    return (data[at : at + 70_001] for at in range(0, len(data), 70_001))


def peak_kib(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1])


@EACH
@framing
def test_curl_uploads_an_empty_disk(
    gateway: Gateway, tmp_path: pathlib.Path, disk: bytes, sha512: str, coding: str, chunked: bool
) -> None:
    packed = tmp_path / "disk"
    packed.write_bytes(PACK[coding](disk))
    image_id = gateway.create()
    url = f"{gateway.url}/v2/images/{image_id}/file"
    headers = {
        "X-Auth-Token": gateway.token(),
        "Content-Type": "application/octet-stream",
        "Content-Encoding": coding,
        "x-openstack-image-size": str(DISK_BYTES),
    }
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    words = [word for name, text in headers.items() for word in ("-H", f"{name}: {text}")]
    curl = [needs_program("curl"), "-sS", "-T", str(packed), *words, url]
    before = {pid: _with_peak_reset(pid) for pid in gateway.pids()}

    report = ["-w", '{"sent": %{size_upload}, "status": %{http_code}}']
    done = subprocess.run(
        [*curl, *report], env=clean_env(tmp_path), check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    assert told["status"] == 204
    assert packed.stat().st_size <= told["sent"] <= WIRE_BYTES[coding]
    record = gateway.show(image_id)
    assert (record["status"], record["size"]) == ("active", DISK_BYTES)
    assert record["os_hash_value"] == sha512
    grown = {pid: peak_kib(pid) - kib for pid, kib in before.items()}
    assert max(grown.values()) < GROWTH_KIB, grown
    gateway.call("DELETE", f"/v2/images/{image_id}")


def _with_peak_reset(pid: int) -> int:
    """Forget the peak of a process's resident memory; what it is now, in KiB."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_kib(pid)


@EACH
@framing
def test_every_server_serves_it(any_server: Gateway, coding: str, chunked: bool) -> None:
    image_id, packed = any_server.create(), PACK[coding](DATA)
    body = pieces(packed) if chunked else packed
    answer = any_server.upload(image_id, body, headers=coded(coding))
    assert answer.status == 204
    assert any_server.access(answer)["in"] == len(packed)
    assert any_server.download(image_id).body == DATA
    assert len(any_server.residue(image_id)) == 1


@EACH
@framing
def test_each_part_of_an_upload_may_be_compressed(
    any_server: Gateway, coding: str, chunked: bool
) -> None:
    image_id, at = any_server.create(), 0
    assert partial.begin(any_server, image_id, b"").status == 201
    for part in (DATA[: MIB // 2], DATA[MIB // 2 :]):
        packed = PACK[coding](part)
        answer = any_server.call(
            "PATCH",
            f"/v2/images/{image_id}/upload",
            pieces(packed) if chunked else packed,
            headers={
                "Content-Type": partial.PARTIAL,
                "Upload-Offset": str(at),
                "Upload-Complete": "?0" if at == 0 else "?1",
                **coded(coding),
            },
        )
        at += len(part)
        assert (answer.status, partial.offset_of(answer)) == (204, at)
    assert any_server.download(image_id).body == DATA


REFUSED: dict[str, tuple[Callable[[bytes], bytes], dict[str, str], int, str]] = {
    "cut": (lambda packed: packed[:-1], {}, 400, "bad_content_coding"),
    "garbage": (lambda packed: packed + b"garbage", {}, 400, "bad_content_coding"),
    "plain": (lambda packed: DATA, {}, 400, "bad_content_coding"),
    "nothing": (lambda packed: b"", {}, 400, "bad_content_coding"),
    "other": (lambda packed: packed, {"Content-Encoding": "br"}, 415, "unsupported_content_coding"),
    "size": (
        lambda packed: packed,
        {"x-openstack-image-size": str(len(DATA) + 1)},
        400,
        "size_mismatch",
    ),
}


@EACH
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_data_that_is_not_the_image_leaves_nothing(
    any_server: Gateway,
    coding: str,
    case: tuple[Callable[[bytes], bytes], dict[str, str], int, str],
) -> None:
    change, headers, *outcome = case
    image_id, packed = any_server.create(), PACK[coding](DATA)
    for body in (change(packed), pieces(change(packed))):
        answer = any_server.upload(image_id, body, headers={**coded(coding), **headers})
        assert answer.outcome == tuple(outcome)
        any_server.assert_untouched(image_id)
    assert any_server.upload(image_id, packed, headers=coded(coding)).status == 204


@EACH
@framing
def test_a_client_that_leaves(any_server: Gateway, coding: str, chunked: bool) -> None:
    image_id, packed = any_server.create(), PACK[coding](DATA)
    fields = [*coded(coding).items(), *(CHUNKED if chunked else length(len(packed)))]
    with Wire(any_server) as wire:
        wire.put(image_id, fields)
        (wire.chunk if chunked else wire.send)(packed[:-1]).saving(image_id)
    any_server.assert_untouched(image_id)


@EACH
@framing
def test_a_hostile_image_is_refused_by_its_first_bytes(
    strict: Gateway, coding: str, chunked: bool
) -> None:
    """In a body that would take much longer to send."""
    image_id = strict.create(disk_format="qcow2")
    packed = PACK[coding](BACKING_FILE + random.Random(62).randbytes(MIB))
    fields = [*coded(coding).items(), *(CHUNKED if chunked else length(64 * MIB))]
    with Wire(strict) as wire:
        wire.put(image_id, fields)
        (wire.chunk if chunked else wire.send)(packed)
        answer = wire.flood(63 * MIB, chunked=chunked).answer()
        assert answer.outcome == (415, "image_refused")
        assert answer.headers["Connection"] == "close"
        assert wire.sent < 24 * MIB
    strict.assert_untouched(image_id)


@EACH
def test_the_limit_is_that_of_the_disk(strict: Gateway, coding: str) -> None:
    """STRICT allows 64 MiB."""
    for size, outcome in ((64 * MIB, (204, None)), (64 * MIB + 1, (413, "too_large"))):
        image_id = strict.create()
        answer = strict.upload(image_id, PACK[coding](bytes(size)), headers=coded(coding))
        assert answer.outcome == outcome
    strict.assert_untouched(image_id)


def test_the_quota_is_that_of_the_disk(start: Callable[..., Gateway]) -> None:
    gateway = start("[quota]\nimage_size_total = 4\n", workers=1)
    image_id = gateway.create()
    announced = {"x-openstack-image-size": str(5 * MIB)}
    for headers in ({}, announced):
        answer = gateway.upload(
            image_id, gzip.compress(bytes(5 * MIB)), headers={**coded("gzip"), **headers}
        )
        assert answer.outcome == (413, "limit_exceeded")
        gateway.assert_untouched(image_id)
    answer = gateway.upload(image_id, gzip.compress(bytes(4 * MIB)), headers=coded("gzip"))
    assert answer.status == 204


@EACH
def test_staged_data_is_the_image(gateway: Gateway, coding: str) -> None:
    image_id = gateway.create()
    headers = {"Content-Type": "application/octet-stream", **coded(coding)}
    path = f"/v2/images/{image_id}/stage"
    assert gateway.call("PUT", path, PACK[coding](DATA), headers=headers).status == 204
    assert begin(gateway, image_id, "glance-direct").status == 202
    assert ended(gateway, image_id)["status"] == "success"
    assert gateway.download(image_id).body == DATA


def test_options_announces_it(gateway: Gateway) -> None:
    for end, methods in (("file", "GET, PUT, POST, OPTIONS"), ("stage", "PUT, OPTIONS")):
        answer = gateway.call("OPTIONS", f"/v2/images/any/{end}")
        assert answer.status == 204
        assert answer.headers["Allow"] == methods
        assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    assert gateway.call("OPTIONS", "/v2/images/any/file", token=None).status == 401
