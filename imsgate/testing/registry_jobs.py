"""The part of the registry contract that is about jobs: who holds one, and fencing."""

import dataclasses
import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound
from imsgate.model import Job, JobState, Location, Status
from imsgate.registry.base import Registry
from imsgate.testing.records import START, after, image, job

_FULL: dict[str, Any] = {
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

#: Of claims, in seconds since the epoch.
_NOW, _LEASE = 1_700_000_000.25, 1_700_000_060.75

_ENDED: dict[str, Any] = {"state": JobState.SUCCESS, "lease": None}


def claim(registry: Registry, now: float = _NOW, lease: float = _LEASE) -> Job | None:
    return registry.claim_job(["test"], now, lease)


def running(registry: Registry, **fields: Any) -> Job:
    """A job that a worker has just claimed."""
    registry.add_job(job(**fields))
    found = claim(registry)
    assert found is not None
    return found


class JobContract:
    """The promises of ``imsgate.registry.base`` about jobs."""

    @pytest.mark.parametrize("fields", [{}, _FULL], ids=["bare", "full"])
    def test_job_comes_back_as_it_was(self, registry: Registry, fields: dict[str, Any]) -> None:
        given = job(**fields)
        registry.add_job(given)
        assert registry.get_job(given.id) == given
        assert registry.jobs(None) == [given]

    def test_job_does_not_follow_what_it_was_made_from(self, registry: Registry) -> None:
        arguments = {"stores": ["a"]}
        given = job(arguments=arguments)
        registry.add_job(given)
        arguments["stores"].append("b")
        assert registry.get_job(given.id).arguments == {"stores": ["a"]}

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
        given = image()
        registry.add(given)
        with pytest.raises(Conflict):
            registry.add_job(job(given.id), {"status": Status.ACTIVE}, status=Status.IMPORTING)
        assert registry.get(given.id) == given
        one = job(given.id)
        registry.add_job(one, {"status": Status.QUEUED}, status=Status.IMPORTING)
        assert registry.get(given.id).status == Status.IMPORTING
        with pytest.raises(NotFound):
            registry.add_job(job(image().id), {}, name="changed")
        assert registry.jobs_of(given.id) == registry.jobs(None) == [one]

    def test_one_of_many_jobs_takes_the_image(self, registry: Registry) -> None:
        given = image()
        registry.add(given)

        def take(number: int) -> object:
            one = job(given.id, project=str(number))
            registry.add_job(one, {"status": Status.QUEUED}, status=Status.IMPORTING)
            return one

        won = [one for one in together(8, take) if isinstance(one, Job)]
        assert len(won) == 1
        assert registry.jobs_of(given.id) == won

    def test_image_has_one_job_at_a_time(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        registry.add_job(job(given.id))
        for _ in ("waiting", "running"):
            with pytest.raises(Conflict):
                registry.add_job(job(given.id), {}, name="changed")
            claim(registry)
        assert registry.get(given.id) == given
        (first,) = registry.jobs_of(given.id)
        registry.change_job(first.id, 1, _ENDED)
        registry.add_job(job(given.id))
        assert len(registry.jobs_of(given.id)) == 2

    def test_one_of_many_jobs_of_an_active_image_is_taken(self, registry: Registry) -> None:
        given = image(status=Status.ACTIVE)
        registry.add(given)
        outcomes = together(8, lambda number: registry.add_job(job(given.id)))
        assert sum(isinstance(one, Conflict) for one in outcomes) == 7, outcomes
        assert len(registry.jobs_of(given.id)) == 1

    def test_lists_of_jobs(self, registry: Registry) -> None:
        one, other = image(), image()
        for record in (one, other):
            registry.add(record)
        ended = {"state": JobState.SUCCESS}
        jobs = [
            job(
                one.id,
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
        for given in [jobs[3], twins[1], jobs[0], jobs[5], twins[0], *jobs[1:3], jobs[4]]:
            registry.add_job(given)
        newest = [*twins[::-1], *jobs[::-1]]
        assert registry.jobs_of(one.id) == jobs
        assert registry.jobs(None) == newest
        assert registry.jobs("a") == [given for given in newest if given.project == "a"]
        assert registry.jobs("c") == []
        for size in (1, 2, 3):
            pages: list[Job] = []
            while page := registry.jobs(None, pages[-1] if pages else None, size):
                assert len(page) <= size
                pages += page
                assert len(pages) <= len(newest)
            assert pages == newest

    # Claims

    def test_claim(self, registry: Registry) -> None:
        given = job()
        registry.add_job(given)
        before = model.now()
        taken = claim(registry)
        assert taken is not None
        assert taken.begin_at is not None
        assert before <= taken.begin_at <= taken.updated_at <= model.now()
        assert taken == registry.get_job(given.id)
        expected: dict[str, Any] = {"state": JobState.RUNNING, "epoch": 1, "lease": _LEASE}
        expected |= {"begin_at": taken.begin_at, "updated_at": taken.updated_at}
        assert taken == dataclasses.replace(given, **expected)
        assert claim(registry) is None

    def test_oldest_is_claimed_first(self, registry: Registry) -> None:
        given = [job(created_at=after(number)) for number in (3, 1, 2)]
        for one in given:
            registry.add_job(one)
        order = [claim(registry) for _ in range(4)]
        assert [one and one.created_at for one in order] == [after(1), after(2), after(3), None]

    def test_job_is_claimed_by_its_id(self, registry: Registry) -> None:
        jobs = [job(created_at=after(number)) for number in range(3)]
        for one in jobs:
            registry.add_job(one)
        wanted = jobs[1].id
        assert registry.claim_job(["other"], _NOW, _LEASE, wanted) is None
        taken = registry.claim_job(["test"], _NOW, _LEASE, wanted)
        assert taken is not None
        assert (taken.id, taken.epoch, taken.state) == (wanted, 1, JobState.RUNNING)
        assert registry.claim_job(["test"], _NOW, _LEASE, wanted) is None
        assert registry.claim_job(["test"], _NOW, _LEASE, "nothing") is None
        again = registry.claim_job(["test"], _LEASE + 1, _LEASE + 60, wanted)
        assert again is not None
        assert again.epoch == 2

    def test_free_jobs(self, registry: Registry) -> None:
        """Those that wait and those whose lease has run out, and nothing is done to them."""
        jobs = [job(created_at=after(number)) for number in range(4)]
        for one in (*jobs, job(kind="other")):
            registry.add_job(one)
        claim(registry)
        ended = claim(registry)
        assert ended is not None
        registry.change_job(ended.id, 1, _ENDED)

        def free(now: float, **how: int) -> list[str]:
            return [one.id for one in registry.free_jobs(["test"], now, **how)]

        assert free(_LEASE) == [jobs[2].id, jobs[3].id]
        assert free(_LEASE + 1) == [jobs[0].id, jobs[2].id, jobs[3].id]
        assert free(_LEASE + 1, limit=2) == [jobs[0].id, jobs[2].id]
        assert registry.free_jobs([], _NOW) == []

    def test_only_known_kinds_are_claimed(self, registry: Registry) -> None:
        registry.add_job(job(kind="other"))
        registry.add_job(job(kind="Test"))
        assert claim(registry) is None
        assert registry.claim_job([], _NOW, _LEASE) is None
        taken = registry.claim_job(["test", "other"], _NOW, _LEASE)
        assert taken is not None
        assert taken.kind == "other"

    def test_expired_job_is_taken_over(self, registry: Registry) -> None:
        first = running(registry)
        registry.change_job(first.id, 1, {"progress": 5})
        assert claim(registry, now=_LEASE) is None
        taken = claim(registry, now=_LEASE + 0.001, lease=_LEASE + 60)
        assert taken is not None
        assert (taken.id, taken.epoch, taken.lease) == (first.id, 2, _LEASE + 60)
        assert (taken.begin_at, taken.progress) == (first.begin_at, 5)
        assert claim(registry, now=_LEASE + 1) is None

    @pytest.mark.parametrize("state", [JobState.SUCCESS, JobState.FAIL])
    def test_ended_job_is_not_claimed(self, registry: Registry, state: JobState) -> None:
        registry.add_job(job(state=state, lease=1.0))
        assert claim(registry) is None

    def test_cancelled_job_is_claimed_too(self, registry: Registry) -> None:
        """Whoever claims it clears up."""
        registry.add_job(job(cancelled=True))
        taken = claim(registry)
        assert taken is not None
        assert taken.cancelled

    def test_each_job_is_claimed_once(self, registry: Registry) -> None:
        for number in range(20):
            registry.add_job(job(created_at=after(number)))

        def work(number: int) -> object:
            return [taken.id for _ in range(20) if (taken := claim(registry))]

        outcomes = together(6, work)
        claimed = [one for found in outcomes if isinstance(found, list) for one in found]
        assert len(claimed) == len(set(claimed)), outcomes
        while taken := claim(registry):  # a claimer may have lost to another one and given up
            claimed.append(taken.id)
        assert sorted(claimed) == sorted(one.id for one in registry.jobs(None))

    # Changes

    def test_change_of_a_job(self, registry: Registry) -> None:
        taken, bystander = running(registry), job()
        registry.add_job(bystander)
        before = model.now()
        fields: dict[str, Any] = {"progress": 2**40, "total": 2**41, "lease": _LEASE + 0.125}
        changed = registry.change_job(taken.id, 1, fields)
        assert before <= changed.updated_at <= model.now()
        assert changed == registry.get_job(taken.id)
        assert changed == dataclasses.replace(taken, updated_at=changed.updated_at, **fields)
        assert registry.get_job(bystander.id) == bystander

    def test_former_worker_is_fenced_off(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        first = running(registry, image_id=given.id)
        second = claim(registry, now=_LEASE + 1, lease=_LEASE + 60)
        assert second is not None
        late: list[dict[str, Any]] = [{"progress": 9}, {"lease": 2e9}, _ENDED]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_job(first.id, 1, fields, {"status": Status.QUEUED}, name="stale")
        assert registry.get_job(first.id) == second
        assert registry.get(given.id) == given
        assert registry.change_job(first.id, 2, _ENDED).state == JobState.SUCCESS

    def test_job_that_is_not_running_is_not_changed(self, registry: Registry) -> None:
        waiting = job()
        registry.add_job(waiting)
        with pytest.raises(Conflict):
            registry.change_job(waiting.id, 0, {"progress": 9})
        taken = claim(registry)
        assert taken is not None
        ended = registry.change_job(taken.id, 1, _ENDED)
        late: list[dict[str, Any]] = [{"progress": 9}, {"state": JobState.FAIL}, _ENDED]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_job(taken.id, 1, fields)
        assert registry.get_job(taken.id) == ended

    def test_job_and_image_change_together(self, registry: Registry) -> None:
        given = image(status=Status.IMPORTING, properties={"a": "1"})
        registry.add(given)
        taken = running(registry, image_id=given.id)
        was = {"status": Status.IMPORTING}
        data: dict[str, Any] = {"locations": (Location("s", "u"),), "size": 3}
        with pytest.raises(Conflict):
            registry.change_job(taken.id, 1, _ENDED, {"status": Status.QUEUED}, name="changed")
        assert registry.get_job(taken.id) == taken
        assert registry.get(given.id) == given
        ended = registry.change_job(taken.id, 1, _ENDED, was, status=Status.ACTIVE, **data)
        assert ended.state == JobState.SUCCESS
        found = registry.get(given.id)
        assert (found.status, found.size, found.properties) == (Status.ACTIVE, 3, {"a": "1"})
        assert found.locations == data["locations"]

    def test_renewing_leaves_the_image_alone(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        taken = running(registry, image_id=given.id)
        registry.change_job(taken.id, 1, {"progress": 1})
        assert registry.get(given.id).updated_at == START

    def test_cancel(self, registry: Registry) -> None:
        one, other = image(), image()
        for record in (one, other):
            registry.add(record)
        ended, bystander = job(one.id, state=JobState.SUCCESS), job(other.id, kind="other")
        for given in (ended, bystander):
            registry.add_job(given)
        taken = running(registry, image_id=one.id, created_at=after(1))
        registry.cancel_jobs(one.id)
        flags = {found.id: found.cancelled for found in registry.jobs(None)}
        assert flags == {taken.id: True, ended.id: False, bystander.id: False}
        assert registry.change_job(taken.id, 1, {"progress": 1}).cancelled

    def test_ended_jobs_are_forgotten(self, registry: Registry) -> None:
        given = image()
        registry.add(given)
        ended = [job(given.id, state=JobState.FAIL, end_at=after(number)) for number in range(3)]
        waiting, taken = job(), running(registry)
        for one in [*ended, waiting]:
            registry.add_job(one)
        assert registry.forget_jobs(after(2)) == 2
        assert registry.jobs_of(given.id) == ended[2:]
        assert registry.get_job(waiting.id) == waiting
        assert registry.get_job(taken.id) == taken
        assert registry.forget_jobs(after(2)) == 0


def together(runners: int, step: Callable[[int], object]) -> list[object]:
    """What threads that start together got: a result, or an error."""
    start = threading.Barrier(runners)
    outcomes: list[object] = [None] * runners

    def run(number: int) -> None:
        start.wait()
        try:
            outcomes[number] = step(number)
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
