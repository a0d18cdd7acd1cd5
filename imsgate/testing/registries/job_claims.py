"""The part of the registry contract about claims: who works on a job, and fencing."""

import dataclasses
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import Conflict
from imsgate.model import JobState, Status
from imsgate.registry.base import Registry
from imsgate.testing.records import after, image, job
from imsgate.testing.registries.jobs import ENDED, LEASE, NOW, claim, running
from imsgate.testing.registries.threads import together


class JobClaimContract:
    """The promises of ``imsgate.registry.base`` about claiming jobs."""

    def test_claim(self, registry: Registry) -> None:
        new = job()
        registry.add_job(new)
        before = model.now()
        taken = claim(registry)
        assert taken is not None
        assert taken.begin_at is not None
        assert before <= taken.begin_at <= taken.updated_at <= model.now()
        assert taken == registry.get_job(new.id)
        expected: dict[str, Any] = {"state": JobState.RUNNING, "epoch": 1, "lease": LEASE}
        expected |= {"begin_at": taken.begin_at, "updated_at": taken.updated_at}
        assert taken == dataclasses.replace(new, **expected)
        assert claim(registry) is None

    def test_oldest_is_claimed_first(self, registry: Registry) -> None:
        for number in (3, 1, 2):
            registry.add_job(job(created_at=after(number)))
        order = [claim(registry) for _ in range(4)]
        assert [taken and taken.created_at for taken in order] == [
            after(1),
            after(2),
            after(3),
            None,
        ]

    def test_job_is_claimed_by_its_id(self, registry: Registry) -> None:
        jobs = [job(created_at=after(number)) for number in range(3)]
        for new in jobs:
            registry.add_job(new)
        job_id = jobs[1].id
        assert registry.claim_job(["other"], NOW, LEASE, job_id) is None
        taken = registry.claim_job(["test"], NOW, LEASE, job_id)
        assert taken is not None
        assert (taken.id, taken.epoch, taken.state) == (job_id, 1, JobState.RUNNING)
        assert registry.claim_job(["test"], NOW, LEASE, job_id) is None
        assert registry.claim_job(["test"], NOW, LEASE, "nothing") is None
        again = registry.claim_job(["test"], LEASE + 1, LEASE + 60, job_id)
        assert again is not None
        assert again.epoch == 2

    def test_jobs_of_some_projects_are_left_out(self, registry: Registry) -> None:
        projects = ("a", "b", "A", None)
        for number, project in enumerate(projects):
            registry.add_job(job(project=project, created_at=after(number)))

        def take(*without: str) -> str | None:
            taken = registry.claim_job(["test"], NOW, LEASE, None, without)
            assert taken is not None
            return taken.project

        assert [take("a", "b"), take("a", "b"), take("a", "c")] == ["A", None, "b"]
        assert registry.claim_job(["test"], NOW, LEASE, None, ["a"]) is None
        (left,) = registry.free_jobs(["test"], NOW)
        assert registry.claim_job(["test"], NOW, LEASE, left.id, ["a"]) is None
        assert take() == "a"

    def test_free_jobs(self, registry: Registry) -> None:
        """Jobs that wait, and jobs whose lease has run out. Listing does not change them."""
        jobs = [job(created_at=after(number)) for number in range(4)]
        for new in (*jobs, job(kind="other")):
            registry.add_job(new)
        claim(registry)
        ended = claim(registry)
        assert ended is not None
        registry.change_job(ended.id, 1, ENDED)

        def free(now: float, **limit: int) -> list[str]:
            return [free.id for free in registry.free_jobs(["test"], now, **limit)]

        assert free(LEASE) == [jobs[2].id, jobs[3].id]
        assert free(LEASE + 1) == [jobs[0].id, jobs[2].id, jobs[3].id]
        assert free(LEASE + 1, limit=2) == [jobs[0].id, jobs[2].id]
        assert registry.free_jobs([], NOW) == []

    def test_only_known_kinds_are_claimed(self, registry: Registry) -> None:
        registry.add_job(job(kind="other"))
        registry.add_job(job(kind="Test"))
        assert claim(registry) is None
        assert registry.claim_job([], NOW, LEASE) is None
        taken = registry.claim_job(["test", "other"], NOW, LEASE)
        assert taken is not None
        assert taken.kind == "other"

    def test_expired_job_is_taken_over(self, registry: Registry) -> None:
        first = running(registry)
        registry.change_job(first.id, 1, {"progress": 5})
        assert claim(registry, now=LEASE) is None
        taken = claim(registry, now=LEASE + 0.001, lease=LEASE + 60)
        assert taken is not None
        assert (taken.id, taken.epoch, taken.lease) == (first.id, 2, LEASE + 60)
        assert (taken.begin_at, taken.progress) == (first.begin_at, 5)
        assert claim(registry, now=LEASE + 1) is None

    @pytest.mark.parametrize("state", [JobState.SUCCESS, JobState.FAIL])
    def test_ended_job_is_not_claimed(self, registry: Registry, state: JobState) -> None:
        registry.add_job(job(state=state, lease=1.0))
        assert claim(registry) is None

    def test_cancelled_job_is_claimed_too(self, registry: Registry) -> None:
        """The worker that claims it cleans up after it."""
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
        claimed = [job_id for ids in outcomes if isinstance(ids, list) for job_id in ids]
        assert len(claimed) == len(set(claimed)), outcomes
        while taken := claim(registry):  # a thread may have lost every race
            claimed.append(taken.id)
        assert sorted(claimed) == sorted(recorded.id for recorded in registry.jobs(None))

    def test_former_worker_is_fenced_off(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        first = running(registry, image_id=record.id)
        second = claim(registry, now=LEASE + 1, lease=LEASE + 60)
        assert second is not None
        late: list[dict[str, Any]] = [{"progress": 9}, {"lease": 2e9}, ENDED]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_job(first.id, 1, fields, {"status": Status.QUEUED}, name="stale")
        assert registry.get_job(first.id) == second
        assert registry.get(record.id) == record
        assert registry.change_job(first.id, 2, ENDED).state == JobState.SUCCESS
