"""Tasks: pages of them."""

import uuid

import pytest

from imsgate.model import JobState
from imsgate.testing.gateways import gateway
from imsgate.testing.records import after, image, job
from tests.api.people import PEOPLE, Person, reason


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


KINDS = ["import", "location", "ims-export"]


@pytest.fixture
def many(gate):
    """An image of p1 and eight tasks of it, oldest first."""
    shown = image(owner="p1")
    gate.registry.add(shown)
    states = [JobState.SUCCESS, JobState.FAIL]
    jobs = [
        job(
            shown.id,
            project="p1",
            kind=KINDS[number % 3],
            state=state,
            created_at=after(number),
            updated_at=after(20 - number),
        )
        for number, state in enumerate(states * 4)
    ]
    for one in jobs:
        gate.registry.add_job(one)
    return shown.id, jobs


def ids(page):
    return [task["id"] for task in page["tasks"]]


QUERIES = {
    "status=success": lambda jobs: [jobs[n] for n in (6, 4, 2, 0)],
    "status=failure": lambda jobs: [jobs[n] for n in (7, 5, 3, 1)],
    "status=pending": lambda jobs: [],
    "type=api_image_import": lambda jobs: [jobs[n] for n in (6, 3, 0)],
    "type=location_import&sort_dir=asc": lambda jobs: [jobs[n] for n in (1, 4, 7)],
    "type=import": lambda jobs: [],
    "type=ims-export": lambda jobs: [jobs[n] for n in (5, 2)],
    "type=nothing": lambda jobs: [],
    "sort_dir=asc": lambda jobs: jobs,
    "sort_key=created_at&sort_dir=desc": lambda jobs: jobs[::-1],
    "sort_key=updated_at&sort_dir=desc": lambda jobs: jobs,
    "sort_key=status&sort_dir=asc": lambda jobs: [jobs[n] for n in (1, 3, 5, 7, 0, 2, 4, 6)],
    "status=success&type=api_image_import&sort_dir=asc": lambda jobs: [jobs[n] for n in (0, 6)],
}


@pytest.mark.parametrize(("query", "expected"), QUERIES.items(), ids=QUERIES)
@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("of_image", [False, True], ids=["all", "image"])
def test_what_is_asked_for_is_listed(people, many, query, expected, size, of_image):
    image_id, jobs = many
    if of_image and "sort_dir" not in query:
        query += "&sort_dir=desc"
    path = f"/v2/images/{image_id}/tasks" if of_image else "/v2/tasks"
    href = f"{path}?{query}" + (f"&limit={size}" if size else "")
    found = []
    while href:
        page = people.admin.get(href).json
        found += ids(page)
        assert size is None or len(page["tasks"]) <= size
        assert not of_image or "first" not in page
        assert of_image or page["first"].startswith(f"/v2/tasks?{query.split('&')[0]}")
        href = page.get("next")
        assert not href or query in href
    assert found == [one.id for one in expected(jobs)]


def test_a_page_of_an_images_tasks_has_a_greatest_size():
    gate = gateway(api_limit_max=3)
    shown = image(owner="p1")
    gate.registry.add(shown)
    jobs = [
        job(shown.id, project="p1", state=JobState.SUCCESS, created_at=after(number))
        for number in range(5)
    ]
    for one in jobs:
        gate.registry.add_job(one)
    owner, found, href = Person(gate.app, PEOPLE["owner"]), [], f"/v2/images/{shown.id}/tasks"
    while href:
        page = owner.get(href).json
        assert len(page["tasks"]) <= 3
        found += ids(page)
        href = page.get("next")
    assert found == [one.id for one in jobs]


def test_the_tasks_of_an_image_are_all_on_one_page(people, many):
    image_id, jobs = many
    page = people.owner.get(f"/v2/images/{image_id}/tasks").json
    assert ids(page) == [one.id for one in jobs]
    assert list(page) == ["tasks"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("status=done", "status"),
        ("sort_key=expires_at", "sort_key"),
        ("sort_key=", "sort_key"),
        ("sort_dir=up", "sort_dir"),
        ("limit=x", "limit"),
        ("limit=0", "limit"),
        ("marker=x", "marker"),
    ],
)
@pytest.mark.parametrize("of_image", [False, True], ids=["all", "image"])
def test_queries_that_are_refused(people, many, query, parameter, of_image):
    path = f"/v2/images/{many[0]}/tasks" if of_image else "/v2/tasks"
    answer = people.admin.get(f"{path}?{query}", Accept="application/json")
    assert reason(answer) == (400, "bad_query")
    assert answer.json["parameter"] == parameter
