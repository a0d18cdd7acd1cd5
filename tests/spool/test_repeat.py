"""Plain uploads that are sent again, after their response was lost."""

import datetime
import hashlib

import pytest

from tests.spool.conftest import OCTETS
from tests.spool.test_uploads import DATA

MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
OTHER = DATA[:-1] + b"x"


def _active(front, **fields):
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = {"status": "active", "size": len(DATA), "checksum": MD5, "updated_at": now}
    return front.upstream.create(**record | fields)


def _put(front, image_id, data, **headers):
    path = f"/v2/images/{image_id}/file"
    return front.ask("PUT", path, data, content_type=OCTETS, **headers)


def test_the_same_data(front):
    answer = _put(front, _active(front), DATA)
    assert (answer.code, answer.body) == (204, b"")
    assert front.upstream.uploads() == []


def test_an_upstream_without_checksums(front):
    digest = {"os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()}
    image_id = _active(front, checksum=None, **digest)
    assert _put(front, image_id, OTHER).reason == "data_differs"
    assert _put(front, image_id, DATA).code == 204


def test_other_data(front):
    answer = _put(front, _active(front), OTHER)
    assert (answer.code, answer.reason) == (409, "data_differs")
    assert front.upstream.uploads() == []


CHUNKED = {
    "the same": (DATA, 204, None),
    "less": (DATA[:-1], 409, "data_differs"),
    "more": (DATA + DATA, 409, "data_differs"),
}


@pytest.mark.parametrize("row", CHUNKED.values(), ids=CHUNKED)
def test_data_of_unknown_size(row, front):
    data, *outcome = row
    answer = _put(front, _active(front), data, transfer_encoding="chunked")
    assert [answer.code, answer.reason] == outcome
    assert front.upstream.uploads() == []


def test_an_image_that_changes_meanwhile(front):
    image_id = _active(front)
    record = front.upstream.records[image_id]
    get, states = record.copy(), iter(["active", "deactivated"])

    class Changing(dict):
        def items(self):
            return {**get, "status": next(states)}.items()

    front.upstream.records[image_id] = Changing(record)
    answer = _put(front, image_id, DATA)
    assert (answer.code, answer.reason) == (409, "conflict")


PASSED_ON = {
    "queued": ({"status": "queued"}, DATA, {}, 204),
    "other size": ({}, DATA[:-1], {}, 409),
    "deactivated": ({"status": "deactivated"}, DATA, {}, 409),
    "no checksum": ({"checksum": None}, DATA, {}, 409),
    "long ago": ({"updated_at": "2020-01-01T00:00:00Z"}, DATA, {}, 409),
    "no time": ({"updated_at": None}, DATA, {}, 409),
    "not visible": ({}, DATA, {"token": "expired"}, 409),
}


@pytest.mark.parametrize("row", PASSED_ON.values(), ids=PASSED_ON)
def test_what_is_no_repetition_is_passed_on(row, front):
    fields, data, more, code = row
    answer = _put(front, _active(front, **fields), data, **more)
    assert (answer.code, answer.reason) == (code, None)
    assert len(front.upstream.uploads()) == 1
