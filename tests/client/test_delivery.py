"""What a delivery does before it sends anything."""

import pytest

from imsgate.client.delivery import UploadRequest
from imsgate.client.state import UnfinishedUpload

RECORD = {"name": "disk", "disk_format": "raw", "container_format": "bare", "tags": ["a"]}


def begun(**fields):
    given = {"image_id": "one", "endpoint": "http://h", "path": "/disk", "created": True}
    file = {"size": 1, "mtime": 1, "head": ""}
    return UnfinishedUpload(
        **{**given, **file, "record": {**RECORD, "id": "one"}, "store": None, **fields}
    )


@pytest.mark.parametrize(
    ("entry", "request_", "same"),
    [
        (begun(), {"record": RECORD}, True),
        (begun(), {"record": {**RECORD, "disk_format": None}}, True),
        (begun(), {"record": {**RECORD, "disk_format": "qcow2"}}, False),
        (begun(), {"record": {**RECORD, "name": "other"}}, False),
        (begun(), {"record": {**RECORD, "visibility": "public"}}, False),
        (begun(), {"record": RECORD, "store": "fast"}, False),
        (begun(store="fast"), {"record": RECORD, "store": "fast"}, True),
        (begun(created=False), {"record": RECORD}, False),
        (begun(created=False), {"record": RECORD, "image_id": "one"}, True),
        (begun(), {"record": RECORD, "image_id": "two"}, False),
    ],
)
def test_which_upload_continues(entry, request_, same):
    assert UploadRequest(**request_).is_of(entry) is same
