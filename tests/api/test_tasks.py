"""Tasks: pages of them."""

import uuid

import pytest

from imsgate.testing.records import after, job
from tests.api.people import reason


@pytest.fixture
def tasks(gate):
    """The ids of three tasks, oldest first."""
    jobs = [job(project="p1", created_at=after(number)) for number in range(3)]
    for one in jobs:
        gate.registry.add_job(one)
    return [one.id for one in jobs]


def test_pages_follow_one_another(people, tasks):
    found, href = [], "/v2/tasks?limit=2"
    while href:
        page = people.admin.get(href).json
        found += [task["id"] for task in page["tasks"]]
        href = page.get("next")
    assert found == tasks[::-1]


def test_a_marker_that_is_no_task(people, tasks):
    for marker in ("nosuch", str(uuid.uuid4())):
        assert reason(people.admin.get(f"/v2/tasks?marker={marker}")) == (400, "bad_query")


def test_an_unknown_task(people):
    assert reason(people.admin.get(f"/v2/tasks/{uuid.uuid4()}")) == (404, "not_found")
