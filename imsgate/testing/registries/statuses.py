"""The part of the registry contract about statuses: only legal changes, whoever makes them."""

from collections.abc import Mapping
from typing import Any

import pytest

from imsgate.errors import Conflict, NotFound
from imsgate.model import TRANSITIONS, Image, Status, may_become
from imsgate.registry.base import NOTHING, Registry
from imsgate.testing.records import image, job
from imsgate.testing.registries.jobs import running
from imsgate.testing.registries.threads import together


def path(before: Status, after: Status) -> list[Status]:
    """The statuses on a shortest legal path from one to another, without the first."""
    paths: dict[Status, list[Status]] = {before: []}
    queue = [before]
    for status in queue:  # grows as statuses are reached, the nearest first
        for following in sorted(TRANSITIONS[status] - paths.keys()):
            paths[following] = [*paths[status], following]
            queue.append(following)
    return paths[after]


def bring(registry: Registry, image_id: str, status: Status) -> Image:
    """Change an image's status by legal steps, and return the record."""
    record = registry.recall(image_id)
    for step in path(record.status, status):
        record = registry.change(image_id, {}, status=step)
    return record


#: What the caller expects of an image: nothing at all, or what each image here has.
_EXPECTATIONS: list[Mapping[str, Any]] = [NOTHING, {"name": None}]


class StatusContract:
    """The promises of ``imsgate.registry.base`` about changes of status."""

    @pytest.mark.parametrize("before", Status)
    def test_legal_changes_of_status(self, registry: Registry, before: Status) -> None:
        """Staying in a status is legal as well."""
        for after in Status:
            if may_become(before, after):
                record = image(status=before)
                registry.add(record)
                changed = registry.change(record.id, {"status": before}, status=after, name="n")
                assert (changed.status, changed.name) == (after, "n")
                assert registry.recall(record.id) == changed

    @pytest.mark.parametrize("before", Status)
    def test_illegal_changes_of_status(self, registry: Registry, before: Status) -> None:
        """Only a bug asks for one. Nothing else is changed, either."""
        others: dict[str, Any] = {"properties": {"a": "1"}, "upload_key": "k"}
        for after in Status:
            for was in (*_EXPECTATIONS, {"status": before}):
                if not may_become(before, after):
                    record = image(status=before)
                    registry.add(record)
                    with pytest.raises(ValueError, match=f"{record.id}.*{before}.*{after}"):
                        registry.change(record.id, was, status=after, **others)
                    assert registry.recall(record.id) == record

    def test_conflict_comes_before_an_illegal_change_of_status(self, registry: Registry) -> None:
        record = image(status=Status.ACTIVE)
        registry.add(record)
        with pytest.raises(Conflict):
            registry.change(record.id, {"status": Status.SAVING}, status=Status.QUEUED)
        with pytest.raises(NotFound):
            registry.change(image().id, {}, status=Status.QUEUED)
        assert registry.get(record.id) == record

    @pytest.mark.parametrize("was", _EXPECTATIONS)
    def test_illegal_change_of_status_by_a_new_job(
        self, registry: Registry, was: Mapping[str, Any]
    ) -> None:
        record = image(status=Status.ACTIVE)
        registry.add(record)
        with pytest.raises(ValueError, match=record.id):
            registry.add_job(job(record.id), was, status=Status.IMPORTING)
        assert registry.jobs_of(record.id) == []
        assert registry.get(record.id) == record

    @pytest.mark.parametrize("was", _EXPECTATIONS)
    def test_illegal_change_of_status_by_a_worker(
        self, registry: Registry, was: Mapping[str, Any]
    ) -> None:
        record = image(status=Status.QUEUED)
        registry.add(record)
        taken = running(registry, image_id=record.id)
        with pytest.raises(ValueError, match=record.id):
            registry.change_job(taken.id, taken.epoch, {"progress": 1}, was, status=Status.ACTIVE)
        assert registry.get_job(taken.id) == taken
        assert registry.get(record.id) == record

    def test_stored_status_is_judged(self, registry: Registry) -> None:
        """Not the status that was read before another thread changed it."""
        for _ in range(3):
            record = image(status=Status.PENDING_DELETE)
            registry.add(record)

            def change(number: int, image_id: str = record.id) -> object:
                status = Status.PENDING_DELETE if number else Status.DELETED
                return registry.change(image_id, {}, status=status)

            outcomes = together(8, change)
            assert registry.recall(record.id).status == Status.DELETED
            assert isinstance(outcomes[0], Image), outcomes
            assert all(isinstance(outcome, Image | ValueError) for outcome in outcomes), outcomes
