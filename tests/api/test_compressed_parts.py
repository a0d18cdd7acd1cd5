"""Requests that continue a resumable upload with compressed content."""

import base64
import gzip
import hashlib
import random

import pytest
from backports import zstd

from imsgate.api import receiver
from imsgate.filters import encoding
from imsgate.http.request import IDENTITY
from imsgate.testing import servers
from tests.api.people import PEOPLE, Person, reason

#: A raw image of three parts.
PARTS = [bytes([number]) * 150_016 for number in (1, 2, 3)]
WHOLE = b"".join(PARTS)
PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
EACH = pytest.mark.parametrize("coding", PACK)


@pytest.fixture
def owner(gate):
    return Person(encoding.filter_factory({})(gate.app), PEOPLE["owner"])


@pytest.fixture
def path(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    headers = {"Content_Type": "application/octet-stream", "Upload_Complete": "?0"}
    assert owner.put(f"{path}/file", **headers).status_int == 201
    return path


def append(owner, path, offset, content, coding, complete="?0", **headers):
    headers = {
        "Content_Type": "application/partial-upload",
        "Content_Encoding": coding,
        "Upload_Offset": str(offset),
        "Upload_Complete": complete,
        **headers,
    }
    return owner.ask("PATCH", f"{path}/upload", content, **headers)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def content(owner, path):
    """Its digest: two images that differ would take minutes to be shown."""
    return sha256(owner.get(f"{path}/file").body)


def offset(owner, path):
    return int(owner.ask("HEAD", f"{path}/upload").headers["Upload-Offset"])


@EACH
def test_offsets_count_what_is_stored(owner, path, coding):
    at = 0
    for number, part in enumerate(PARTS):
        complete = "?1" if number == 2 else "?0"
        answer = append(owner, path, at, PACK[coding](part), coding, complete)
        at += len(part)
        assert (answer.status_int, answer.headers["Upload-Offset"]) == (204, str(at))
    shown = owner.get(path).json
    assert (shown["status"], shown["size"]) == ("active", len(WHOLE))
    assert shown["os_hash_value"] == hashlib.sha512(WHOLE).hexdigest()
    assert content(owner, path) == sha256(WHOLE)


@EACH
def test_parts_may_be_compressed_or_not(owner, path, coding):
    append(owner, path, 0, PARTS[0], "identity")
    append(owner, path, len(PARTS[0]), PACK[coding](PARTS[1]), coding)
    append(owner, path, 2 * len(PARTS[0]), PARTS[2], "identity", "?1")
    assert content(owner, path) == sha256(WHOLE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"garbage",
        lambda packed: PARTS[0],
        lambda packed: b"",
    ],
    ids=["cut", "garbage", "plain", "nothing"],
)
@EACH
def test_damaged_content_appends_nothing(monkeypatch, gate, owner, path, coding, damage):
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    append(owner, path, 0, PACK[coding](PARTS[0]), coding)
    at = len(PARTS[0])
    answer = append(owner, path, at, damage(PACK[coding](PARTS[1])), coding)
    assert reason(answer) == (400, "bad_content_coding")
    assert offset(owner, path) == at
    append(owner, path, at, PACK[coding](PARTS[1] + PARTS[2]), coding, "?1")
    assert gate.engine.run_one()
    assert content(owner, path) == sha256(WHOLE)


@EACH
def test_an_interruption_keeps_what_has_arrived(gate, path, owner, coding):
    data = random.Random(7).randbytes(300_032)
    packed = PACK[coding](data)
    environ = {
        "REQUEST_METHOD": "PATCH",
        "PATH_INFO": f"{path}/upload",
        "CONTENT_TYPE": "application/partial-upload",
        "HTTP_CONTENT_ENCODING": coding,
        "HTTP_UPLOAD_OFFSET": "0",
        "HTTP_UPLOAD_COMPLETE": "?0",
        IDENTITY: PEOPLE["owner"],
    }
    stream = servers.Input(packed[:200_000])
    request = servers.environ(stream, length=len(packed), **environ)
    assert servers.serve(encoding.filter_factory({})(gate.app), request).code == 400
    at = offset(owner, path)
    assert 131_072 <= at <= 200_000
    append(owner, path, at, PACK[coding](data[at:]), coding, "?1")
    assert content(owner, path) == sha256(data)


@EACH
def test_the_content_digest_is_that_of_the_compressed_content(owner, path, coding):
    packed = PACK[coding](WHOLE)

    def digest(data):
        return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"

    answer = append(owner, path, 0, packed, coding, "?1", Content_Digest=digest(WHOLE))
    assert answer.status_int == 400
    assert offset(owner, path) == 0
    answer = append(owner, path, 0, packed, coding, "?1", Content_Digest=digest(packed))
    assert answer.status_int == 204


@EACH
def test_no_more_is_decompressed_than_the_upload_may_have(owner, path, coding):
    answer = append(owner, path, 0, PACK[coding](WHOLE), coding, "?0", Upload_Length="1024")
    assert answer.status_int == 400
    assert owner.get(path).json["status"] == "queued"


def test_the_codings_are_announced(owner, path):
    answer = owner.ask("OPTIONS", f"{path}/upload")
    assert answer.headers["Accept-Encoding"] == "gzip, zstd"


def test_an_unknown_coding_is_refused(owner, path):
    answer = append(owner, path, 0, PARTS[0], "br")
    assert reason(answer) == (415, "unsupported_content_coding")
    assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    assert offset(owner, path) == 0


def test_without_the_filter_no_coding_is_accepted(people, path):
    answer = append(people.owner, path, 0, gzip.compress(PARTS[0]), "gzip")
    assert reason(answer) == (415, "unsupported_content_coding")
    assert offset(people.owner, path) == 0


def test_a_compressed_image_cannot_begin_a_resumable_upload(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    headers = {"Content_Type": "application/octet-stream", "Content_Encoding": "gzip"}
    answer = owner.put(f"{path}/file", gzip.compress(WHOLE), Upload_Complete="?0", **headers)
    assert reason(answer) == (415, "unsupported_content_coding")
