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


def test_a_task_keeps_no_more_of_a_request_than_means_something(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    body = {**WEB, "method": {**WEB["method"], "x": "y"}, "all_stores": True, "z": [1]}
    assert owner.post(f"{path}/import", body).status_int == 202
    (task,) = owner.get(f"{path}/tasks").json["tasks"]
    assert task["input"]["import_req"] == {**WEB, "all_stores": True}
