"""Imports: what is refused before there is a job."""

import pytest

from tests.api.people import reason

WEB = {"method": {"name": "web-download", "uri": "http://images.example/disk"}}


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_formats_are_needed(owner, missing):
    path = owner.create(**{"disk_format": "raw", "container_format": "bare", missing: None})
    before = owner.get(path).json
    answer = owner.post(f"{path}/import", WEB, Accept="application/json")
    assert reason(answer) == (409, "conflict")
    assert answer.json["message"] == f"'{missing}' needs to be set before import"
    assert owner.get(path).json == before
