"""The part of the registry contract about limits on what a project's images add up to."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from imsgate.errors import AlreadyExists, Conflict, NotFound, OverLimit
from imsgate.model import Limits, Location, Status, Usage
from imsgate.registry.base import Registry
from imsgate.testing.records import image, job
from imsgate.testing.registries import walk
from imsgate.testing.registries.jobs import running
from imsgate.testing.registries.statuses import bring
from imsgate.testing.registries.threads import together

_COPIES = (Location("fast", "a"), Location("slow", "b"))

#: Fields of an image, and its usage: bytes stored, bytes staged, images, images with data
#: coming in.
_COUNTED: list[tuple[dict[str, Any], tuple[int, int, int, int]]] = [
    ({}, (0, 0, 1, 0)),
    ({"status": Status.SAVING, "upload_reserved": 7}, (7, 0, 1, 1)),
    ({"status": Status.UPLOADING, "upload_reserved": 7}, (0, 7, 1, 1)),
    ({"status": Status.UPLOADING, "size": 5, "locations": _COPIES[:1]}, (0, 5, 1, 1)),
    (
        {"status": Status.IMPORTING, "size": 5, "locations": _COPIES[:1], "upload_reserved": 10},
        (10, 5, 1, 1),
    ),
    ({"status": Status.ACTIVE, "size": 2**40, "locations": _COPIES}, (2**41, 0, 1, 0)),
    ({"status": Status.DEACTIVATED, "size": 5, "locations": _COPIES}, (10, 0, 1, 0)),
    ({"status": Status.ACTIVE, "size": 5, "locations": ()}, (0, 0, 1, 0)),
    (
        {"status": Status.ACTIVE, "size": 5, "locations": _COPIES, "upload_reserved": 5},
        (15, 0, 1, 1),
    ),
    ({"status": Status.KILLED, "upload_reserved": 7}, (7, 0, 1, 1)),
    ({"status": Status.PENDING_DELETE, "size": 5, "locations": _COPIES}, (0, 0, 0, 0)),
    ({"status": Status.DELETED, "size": 5, "upload_reserved": 7}, (0, 0, 0, 0)),
    (
        {"status": Status.DELETED, "upload_reserved": 7, "upload_key": "a", "upload_expires": 1.0},
        (7, 0, 0, 1),
    ),
]


def _usage(amounts: tuple[int, ...]) -> Usage:
    stored, staged, count, coming = amounts
    return Usage(
        image_size_total=stored,
        image_stage_total=staged,
        image_count_total=count,
        image_count_uploading=coming,
    )


def within(project: str = "project", **maximum: int) -> Limits:
    return Limits(project, maximum)


class LimitContract:
    """The promises of ``imsgate.registry.base`` about limits."""

    @pytest.mark.parametrize(("fields", "amounts"), _COUNTED)
    def test_what_an_image_counts_for(
        self, registry: Registry, fields: dict[str, Any], amounts: tuple[int, int, int, int]
    ) -> None:
        registry.add(image(owner="project", **fields))
        assert registry.usage("project") == _usage(amounts)

    def test_usage_is_the_sum_over_the_projects_images(self, registry: Registry) -> None:
        assert registry.usage("project") == Usage()
        for owner in ("project", "Project", None):
            for fields, _ in _COUNTED:
                record = image(owner=owner, **fields)
                copies = tuple(Location(copy.store, record.id) for copy in record.locations)
                registry.add(dataclasses.replace(record, locations=copies))
        sums = map(sum, zip(*(amounts for _, amounts in _COUNTED), strict=True))
        assert registry.usage("project") == registry.usage("Project") == _usage(tuple(sums))

    def test_number_of_images_is_limited(self, registry: Registry) -> None:
        registry.add(image(owner="other"))
        limits = within(image_count_total=2)
        allowed = [image(owner="project") for _ in range(2)]
        for record in allowed:
            registry.add(record, limits)
        refused = image(owner="project")
        with pytest.raises(OverLimit) as refusal:
            registry.add(refused, limits)
        assert str(refusal.value) == (
            "Project project is over a limit for [Resource image_count_total is over limit of 2 "
            "due to current usage 2 and delta 1]"
        )
        with pytest.raises(NotFound):
            registry.get(refused.id)
        bring(registry, allowed[0].id, Status.DELETED)
        registry.add(refused, limits)

    def test_bytes_are_limited_to_the_last(self, registry: Registry) -> None:
        mib = 1 << 20
        limits = within(image_size_total=3 * mib)
        first, second = (image(owner="project", status=Status.SAVING) for _ in range(2))
        for record in (first, second):
            registry.add(record, limits)
        registry.change(first.id, {}, limits, upload_reserved=2 * mib)
        with pytest.raises(OverLimit) as refusal:
            registry.change(second.id, {}, limits, upload_reserved=mib + 1, tags={"t"})
        assert (refusal.value.status, refusal.value.details) == (
            413,
            {
                "project": "project",
                "resource": "image_size_total",
                "limit": 3,
                "usage": 2,
                "delta": 2,
            },
        )
        assert registry.get(second.id) == second
        registry.change(second.id, {}, limits, upload_reserved=mib)
        assert registry.usage("project").image_size_total == 3 * mib
        with pytest.raises(OverLimit):
            registry.change(first.id, {}, limits, upload_reserved=2 * mib + 1)

    def test_jobs_are_limited_with_their_images(self, registry: Registry) -> None:
        record = image(owner="project", status=Status.ACTIVE, size=5, locations=_COPIES[:1])
        registry.add(record)
        limits = within(image_size_total=10)
        with pytest.raises(OverLimit):
            registry.add_job(job(record.id), {}, limits, upload_reserved=6)
        assert registry.jobs_of(record.id) == []
        taken = running(registry, image_id=record.id)
        with pytest.raises(OverLimit):
            registry.change_job(
                taken.id, taken.epoch, {"progress": 1}, {}, limits, upload_reserved=6
            )
        assert registry.get_job(taken.id) == taken
        registry.change_job(taken.id, taken.epoch, {"progress": 1}, {}, limits, upload_reserved=5)
        assert registry.usage("project").image_size_total == 10

    def test_new_images_with_jobs_are_limited(self, registry: Registry) -> None:
        record = image(owner="project", status=Status.IMPORTING, upload_reserved=6)
        for limits in (within(image_size_total=5), within(image_count_uploading=0)):
            with pytest.raises(OverLimit):
                registry.add_with_job(record, job(record.id), limits)
            assert registry.jobs(None) == []
        registry.add_with_job(record, job(record.id), within(image_size_total=6))
        assert registry.usage("project").image_size_total == 6

    def test_what_does_not_grow_is_not_refused(self, registry: Registry) -> None:
        """For example after a limit was lowered."""
        limits = within(image_size_total=1, image_count_total=0, image_count_uploading=0)
        record = image(owner="project", status=Status.SAVING, upload_reserved=10)
        registry.add(record)
        registry.change(record.id, {}, limits, name="named")
        with pytest.raises(OverLimit):
            registry.change(record.id, {}, limits, upload_reserved=11)
        registry.change(record.id, {}, limits, upload_reserved=9)
        registry.change(
            record.id, {}, limits, status=Status.ACTIVE, size=9, locations=_COPIES[:1],
            upload_reserved=0,
        )  # fmt: skip
        assert registry.usage("project") == _usage((9, 0, 1, 0))

    def test_what_is_not_named_is_not_limited(self, registry: Registry) -> None:
        limits = within(image_stage_total=0)
        record = image(owner="project", status=Status.QUEUED, upload_reserved=2**50)
        registry.add(record, limits)
        with pytest.raises(OverLimit):
            registry.change(record.id, {}, limits, status=Status.UPLOADING)

    def test_limits_are_those_of_the_owner(self, registry: Registry) -> None:
        record = image(owner="project", status=Status.SAVING, upload_reserved=5)
        registry.add(record)
        limits = within("other", image_size_total=5, image_count_total=1)
        for refused in (
            lambda: registry.change(record.id, {}, limits, upload_reserved=1),
            lambda: registry.add(image(owner="project"), limits),
        ):
            with pytest.raises(Conflict):
                refused()
        registry.change(record.id, {}, limits, owner="other")
        with pytest.raises(OverLimit):
            registry.add(image(owner="other"), limits)

    def test_all_else_is_refused_as_without_limits(self, registry: Registry) -> None:
        limits = within(image_count_total=100)
        record = image(owner="project")
        registry.add(record, limits)
        with pytest.raises(AlreadyExists):
            registry.add(record, limits)
        with pytest.raises(Conflict):
            registry.change(record.id, {"status": Status.SAVING}, limits, name="n")
        with pytest.raises(NotFound):
            registry.change(image().id, {}, limits, name="n")

    def test_random_walk_within_limits(self, registry: Registry) -> None:
        walk.walk(registry, limited=True, max_examples=15)

    def test_many_at_once_keep_within_the_limit(self, registry: Registry) -> None:
        limits = within(image_size_total=20, image_count_total=8)

        def work(number: int) -> object:
            record = image(owner="project", status=Status.SAVING)
            registry.add(record, limits)
            return _count_steps(
                lambda reserved: registry.change(record.id, {}, limits, upload_reserved=reserved)
            )

        outcomes = together(8, work)
        assert sum(outcomes) == 20, outcomes  # type: ignore[arg-type]
        assert registry.usage("project") == _usage((20, 0, 8, 8))

    def test_many_first_ones_at_once(self, registry: Registry) -> None:
        """The first images of a project, for which the registry may have no row to lock yet."""
        for number in range(5):
            limits = within(f"project {number}", image_count_total=3)

            def create(_: int, limits: Limits = limits) -> object:
                return registry.add(image(owner=limits.project), limits)

            outcomes = together(8, create)
            assert sum(isinstance(outcome, OverLimit) for outcome in outcomes) == 5, outcomes
            assert outcomes.count(None) == 3, outcomes


def _count_steps(reserve: Callable[[int], object]) -> int:
    """How many bytes could be reserved, at most five, one more at a time."""
    for reserved in range(1, 6):
        try:
            reserve(reserved)
        except OverLimit:
            return reserved - 1
    return 5
