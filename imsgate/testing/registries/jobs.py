"""The part of the registry contract about jobs: records, lists, and changes with their image."""

import dataclasses
import datetime
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import Job, JobState, Location, Status
from imsgate.registry.base import JobQuery, Registry
from imsgate.testing.records import FULL_IMAGE, START, after, image, job
from imsgate.testing.registries.threads import together

_FULL_JOB: dict[str, Any] = {
    "kind": "import ",
    "project": "Project",
    "arguments": {"uri": "http://ü/🐧", "stores": ["a", "b"], "deep": {"n": None, "x": 2**60}},
    "state": JobState.FAIL,
    "progress": 2**40 + 1,
    "total": 2**41,
    "cancelled": True,
    "error_code": "not_found",
    "reason": "Ünï 🐧 " + "x" * 5000,
    "lease": 1_700_000_000.123_456,
    "epoch": 7,
    "created_at": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "updated_at": datetime.datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    "begin_at": after(5),
    "end_at": after(6),
}

#: When a job is claimed and until when it is leased, in seconds since the epoch.
NOW, LEASE = 1_700_000_000.25, 1_700_000_060.75

#: The fields that end a job.
ENDED: dict[str, Any] = {"state": JobState.SUCCESS, "lease": None}


def claim(registry: Registry, now: float = NOW, lease: float = LEASE) -> Job | None:
    return registry.claim_job(["test"], now, lease)


def running(registry: Registry, **fields: Any) -> Job:
    """A job that a worker has just claimed."""
    registry.add_job(job(**fields))
    taken = claim(registry)
    assert taken is not None
    return taken


class JobContract:
    """The promises of ``imsgate.registry.base`` about jobs."""

    @pytest.mark.parametrize("fields", [{}, _FULL_JOB], ids=["bare", "full"])
    def test_job_comes_back_as_it_was(self, registry: Registry, fields: dict[str, Any]) -> None:
        new = job(**fields)
        registry.add_job(new)
        assert registry.get_job(new.id) == new
        assert registry.jobs(None) == [new]

    def test_job_does_not_follow_what_it_was_made_from(self, registry: Registry) -> None:
        arguments = {"stores": ["a"]}
        new = job(arguments=arguments)
        registry.add_job(new)
        arguments["stores"].append("b")
        assert registry.get_job(new.id).arguments == {"stores": ["a"]}

    def test_unknown_job(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.get_job("nothing")
        with pytest.raises(NotFound):
            registry.change_job("nothing", 1, {"progress": 1})
        assert registry.jobs_of(image().id) == []
        registry.cancel_jobs(image().id)

    def test_job_id_is_used_once(self, registry: Registry) -> None:
        first, taken = job(project="first"), image()
        registry.add_job(first)
        registry.add(taken)
        with pytest.raises(AlreadyExists):
            registry.add_job(job(taken.id, id=first.id), {}, name="changed")
        assert registry.get_job(first.id) == first
        assert registry.get(taken.id) == taken

    def test_job_takes_its_image(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        with pytest.raises(Conflict):
            registry.add_job(job(record.id), {"status": Status.ACTIVE}, status=Status.IMPORTING)
        assert registry.get(record.id) == record
        new = job(record.id)
        registry.add_job(new, {"status": Status.QUEUED}, status=Status.IMPORTING)
        assert registry.get(record.id).status == Status.IMPORTING
        with pytest.raises(NotFound):
            registry.add_job(job(image().id), {}, name="changed")
        assert registry.jobs_of(record.id) == registry.jobs(None) == [new]

    def test_new_image_with_its_job(self, registry: Registry) -> None:
        record = image(**FULL_IMAGE)
        new = job(record.id, **_FULL_JOB)
        registry.add_with_job(record, new)
        assert registry.get(record.id) == record
        assert registry.jobs_of(record.id) == [new]
        for taken, other in ((record.id, job(record.id)), (image().id, job(id=new.id))):
            with pytest.raises(AlreadyExists):
                registry.add_with_job(image(id=taken), dataclasses.replace(other, image_id=taken))
        assert registry.jobs(None) == [new]
        assert registry.get(record.id) == record
        with pytest.raises(NotFound):
            registry.recall(taken)

    def test_one_of_many_jobs_takes_the_image(self, registry: Registry) -> None:
        record = image()
        registry.add(record)

        def take(number: int) -> object:
            new = job(record.id, project=str(number))
            registry.add_job(new, {"status": Status.QUEUED}, status=Status.IMPORTING)
            return new

        recorded = [outcome for outcome in together(8, take) if isinstance(outcome, Job)]
        assert len(recorded) == 1
        assert registry.jobs_of(record.id) == recorded

    def test_image_has_one_job_at_a_time(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        registry.add_job(job(record.id))
        for _ in ("waiting", "running"):
            with pytest.raises(Conflict):
                registry.add_job(job(record.id), {}, name="changed")
            claim(registry)
        assert registry.get(record.id) == record
        (first,) = registry.jobs_of(record.id)
        registry.change_job(first.id, 1, ENDED)
        registry.add_job(job(record.id))
        assert len(registry.jobs_of(record.id)) == 2

    def test_one_of_many_jobs_of_an_active_image_is_taken(self, registry: Registry) -> None:
        record = image(status=Status.ACTIVE)
        registry.add(record)
        outcomes = together(8, lambda number: registry.add_job(job(record.id)))
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7, outcomes
        assert len(registry.jobs_of(record.id)) == 1

    def test_lists_of_jobs(self, registry: Registry) -> None:
        record, other = image(), image()
        for shown in (record, other):
            registry.add(shown)
        ended = {"state": JobState.SUCCESS}
        jobs = [
            job(
                record.id,
                **ended,
                created_at=after(number),
                project="ab"[number % 2],
                id=f"job-{number}",
            )
            for number in range(6)
        ]
        twins = [
            job(other.id, **ended, created_at=after(9), project="a", id=f"twin-{n}") for n in "ab"
        ]
        for new in [jobs[3], twins[1], jobs[0], jobs[5], twins[0], *jobs[1:3], jobs[4]]:
            registry.add_job(new)
        newest = [*twins[::-1], *jobs[::-1]]
        assert registry.jobs_of(record.id) == jobs
        assert registry.jobs(None) == newest
        assert registry.jobs("a") == [new for new in newest if new.project == "a"]
        assert registry.jobs("c") == []
        for size in (1, 2, 3):
            pages: list[Job] = []
            while page := registry.jobs(None, pages[-1] if pages else None, size):
                assert len(page) <= size
                pages += page
                assert len(pages) <= len(newest)
            assert pages == newest

    @pytest.mark.parametrize("descending", [True, False])
    @pytest.mark.parametrize("sort", ["created_at", "updated_at", "state", "kind", "id"])
    def test_selected_jobs(self, registry: Registry, sort: str, descending: bool) -> None:
        jobs = [
            job(
                state=(JobState.SUCCESS, JobState.FAIL)[number % 2],
                kind="abc"[number % 3],
                created_at=after(number // 2),
                updated_at=after(9 - number),
                project="a",
                id=f"job-{number:02}",
            )
            for number in range(12)
        ]
        for new in jobs:
            registry.add_job(new)
        for states, kinds in (
            (None, None),
            ([JobState.FAIL], None),
            (None, ["a", "b"]),
            ([JobState.SUCCESS], ["a"]),
            (None, []),
        ):
            query = JobQuery(states=states, kinds=kinds, sort=sort, descending=descending)
            expected = [
                one
                for one in sorted(
                    jobs,
                    key=lambda one: (getattr(one, sort), one.created_at, one.id),
                    reverse=descending,
                )
                if (states is None or one.state in states) and (kinds is None or one.kind in kinds)
            ]
            found: list[Job] = []
            while page := registry.jobs("a", found[-1] if found else None, 5, query):
                found += page
                assert len(found) <= len(expected)
            assert found == expected

    def test_change_of_a_job(self, registry: Registry) -> None:
        taken, bystander = running(registry), job()
        registry.add_job(bystander)
        before = model.now()
        fields: dict[str, Any] = {"progress": 2**40, "total": 2**41, "lease": LEASE + 0.125}
        changed = registry.change_job(taken.id, 1, fields)
        assert before <= changed.updated_at <= model.now()
        assert changed == registry.get_job(taken.id)
        assert changed == dataclasses.replace(taken, updated_at=changed.updated_at, **fields)
        assert registry.get_job(bystander.id) == bystander

    def test_job_that_is_not_running_is_not_changed(self, registry: Registry) -> None:
        waiting = job()
        registry.add_job(waiting)
        with pytest.raises(Conflict):
            registry.change_job(waiting.id, 0, {"progress": 9})
        taken = claim(registry)
        assert taken is not None
        ended = registry.change_job(taken.id, 1, ENDED)
        late: list[dict[str, Any]] = [{"progress": 9}, {"state": JobState.FAIL}, ENDED]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_job(taken.id, 1, fields)
        assert registry.get_job(taken.id) == ended

    def test_job_and_image_change_together(self, registry: Registry) -> None:
        record = image(status=Status.IMPORTING, properties={"a": "1"})
        registry.add(record)
        taken = running(registry, image_id=record.id)
        was = {"status": Status.IMPORTING}
        data: dict[str, Any] = {"locations": (Location("s", "u"),), "size": 3}
        with pytest.raises(Conflict):
            registry.change_job(taken.id, 1, ENDED, {"status": Status.QUEUED}, name="changed")
        assert registry.get_job(taken.id) == taken
        assert registry.get(record.id) == record
        ended = registry.change_job(taken.id, 1, ENDED, was, status=Status.ACTIVE, **data)
        assert ended.state == JobState.SUCCESS
        stored = registry.get(record.id)
        assert (stored.status, stored.size, stored.properties) == (Status.ACTIVE, 3, {"a": "1"})
        assert stored.locations == data["locations"]

    def test_renewing_leaves_the_image_alone(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        taken = running(registry, image_id=record.id)
        registry.change_job(taken.id, 1, {"progress": 1})
        assert registry.get(record.id).updated_at == START

    def test_cancel(self, registry: Registry) -> None:
        record, other = image(), image()
        for shown in (record, other):
            registry.add(shown)
        ended, bystander = job(record.id, state=JobState.SUCCESS), job(other.id, kind="other")
        for new in (ended, bystander):
            registry.add_job(new)
        taken = running(registry, image_id=record.id, created_at=after(1))
        registry.cancel_jobs(record.id)
        flags = {shown.id: shown.cancelled for shown in registry.jobs(None)}
        assert flags == {taken.id: True, ended.id: False, bystander.id: False}
        assert registry.change_job(taken.id, 1, {"progress": 1}).cancelled

    def test_ended_jobs_are_forgotten(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        ended = [job(record.id, state=JobState.FAIL, end_at=after(number)) for number in range(3)]
        waiting, taken = job(), running(registry)
        for new in [*ended, waiting]:
            registry.add_job(new)
        assert registry.forget_jobs(after(2)) == 2
        assert registry.jobs_of(record.id) == ended[2:]
        assert registry.get_job(waiting.id) == waiting
        assert registry.get_job(taken.id) == taken
        assert registry.forget_jobs(after(2)) == 0
