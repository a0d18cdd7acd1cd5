"""The part of the registry contract about resumable uploads: records, fencing, and changes with
their image."""

import dataclasses
import datetime
from typing import Any

import pytest

from imsgate import model
from imsgate.errors import AlreadyExists, Conflict, NotFound, OverLimit
from imsgate.model import Limits, Status, UploadState
from imsgate.registry.base import Registry
from imsgate.testing.records import START, after, image, upload
from imsgate.testing.registries.threads import together, winner

_FULL_UPLOAD: dict[str, Any] = {
    "user": "Üser ",
    "project": "Project",
    "staged": True,
    "store": "slow",
    "key": "attempt-10",
    "planned_size": 2**63 - 1,
    "length": 2**40 + 1,
    "offset": 2**40,
    "writing": True,
    "epoch": 7,
    "state": UploadState.FINISHING,
    "digest": "sha-512=:" + "A" * 5000 + ":",
    "job_id": "f" * 36,
    "reason": "Ünï 🐧 " + "x" * 5000,
    "expires": 1_700_000_000.123_456,
    "created_at": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "updated_at": datetime.datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
}

_QUEUED, _SAVING = {"status": Status.QUEUED}, {"status": Status.SAVING}


class UploadContract:
    """The promises of ``imsgate.registry.base`` about resumable uploads."""

    @pytest.mark.parametrize("fields", [{}, _FULL_UPLOAD], ids=["bare", "full"])
    def test_upload_comes_back_as_it_was(self, registry: Registry, fields: dict[str, Any]) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id, **fields)
        registry.add_upload(new)
        assert registry.get_upload(new.id) == registry.upload_of(record.id) == new
        assert registry.get(record.id) == record

    def test_unknown_upload(self, registry: Registry) -> None:
        with pytest.raises(NotFound):
            registry.get_upload("nothing")
        with pytest.raises(NotFound):
            registry.change_upload("nothing", 0, {"offset": 1})
        assert registry.upload_of(image().id) is None

    def test_upload_id_is_used_once(self, registry: Registry) -> None:
        record, other = image(), image()
        for one in (record, other):
            registry.add(one)
        first = upload(record.id)
        registry.add_upload(first)
        with pytest.raises(AlreadyExists):
            registry.add_upload(upload(other.id, id=first.id), {}, name="changed")
        assert registry.get_upload(first.id) == first
        assert registry.get(other.id) == other

    def test_upload_takes_its_image(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id)
        with pytest.raises(Conflict):
            registry.add_upload(new, {"status": Status.ACTIVE}, **_SAVING)
        with pytest.raises(ValueError, match=record.id):
            registry.add_upload(new, _QUEUED, status=Status.ACTIVE)
        assert registry.get(record.id) == record
        assert registry.upload_of(record.id) is None
        registry.add_upload(new, _QUEUED, upload_key=new.key, **_SAVING)
        stored = registry.get(record.id)
        assert (stored.status, stored.upload_key) == (Status.SAVING, new.key)
        assert registry.get_upload(new.id) == new
        homeless = upload(image().id)
        with pytest.raises(NotFound):
            registry.add_upload(homeless)
        with pytest.raises(NotFound):
            registry.get_upload(homeless.id)

    def test_one_of_many_uploads_takes_the_image(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        uploads = [upload(record.id, key=f"key-{number}") for number in range(8)]

        def take(number: int) -> object:
            new = uploads[number]
            registry.add_upload(new, _QUEUED, upload_key=new.key, **_SAVING)
            return new

        taken = uploads[winner(together(8, take), Conflict)]
        assert registry.upload_of(record.id) == taken
        assert registry.get(record.id).upload_key == taken.key

    def test_newest_upload_of_an_image(self, registry: Registry) -> None:
        record, other = image(), image()
        for one in (record, other):
            registry.add(one)
        registry.add_upload(upload(other.id, created_at=after(9)))
        uploads = [
            upload(record.id, created_at=after(age), id=name)
            for age, name in ((1, "z"), (2, "b"), (2, "a"), (0, "y"))
        ]
        for new, newest in zip(uploads, (0, 1, 1, 1), strict=True):
            registry.add_upload(new)
            assert registry.upload_of(record.id) == uploads[newest]
        registry.change_upload(uploads[3].id, 0, {"offset": 1})
        assert registry.upload_of(record.id) == uploads[1]

    def test_upload_of_a_deleted_image(self, registry: Registry) -> None:
        record = image(status=Status.PENDING_DELETE)
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)
        registry.change(record.id, {}, status=Status.DELETED)
        assert registry.get_upload(new.id) == registry.upload_of(record.id) == new

    def test_change_of_an_upload(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        new, bystander = upload(record.id), upload(record.id)
        for one in (new, bystander):
            registry.add_upload(one)
        before = model.now()
        fixed = ("user", "project", "staged", "store", "key", "planned_size")
        fields = {name: value for name, value in _FULL_UPLOAD.items() if name not in fixed}
        del fields["created_at"], fields["updated_at"]
        changed = registry.change_upload(new.id, 0, fields)
        assert before <= changed.updated_at <= model.now()
        assert changed == registry.get_upload(new.id)
        assert changed == dataclasses.replace(new, updated_at=changed.updated_at, **fields)
        assert registry.get_upload(bystander.id) == bystander

    def test_former_request_is_fenced_off(self, registry: Registry) -> None:
        record = image(**_SAVING)
        registry.add(record)
        new = upload(record.id, offset=5)
        registry.add_upload(new)
        taken = registry.change_upload(new.id, 0, {"epoch": 1})
        assert (taken.epoch, taken.offset) == (1, 5)
        late: list[dict[str, Any]] = [
            {"offset": 9},
            {"offset": 4},
            {"expires": 2e9},
            {"epoch": 1},
            {"epoch": 2},
            {"state": UploadState.ENDED},
        ]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_upload(new.id, 0, fields, _SAVING, name="stale")
        with pytest.raises(Conflict):
            registry.change_upload(new.id, 2, {"offset": 9})
        assert registry.get_upload(new.id) == taken
        assert registry.get(record.id) == record
        assert registry.change_upload(new.id, 1, {"offset": 9}).offset == 9

    def test_one_of_many_requests_takes_the_upload_over(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)
        for epoch in range(10):

            def take(number: int, epoch: int = epoch) -> object:
                fields = {"epoch": epoch + 1, "offset": epoch * 10 + number}
                return registry.change_upload(new.id, epoch, fields)

            offset = epoch * 10 + winner(together(8, take), Conflict)
            stored = registry.get_upload(new.id)
            assert (stored.epoch, stored.offset) == (epoch + 1, offset)

    def test_one_of_many_requests_changes_upload_and_image(self, registry: Registry) -> None:
        """Others change the image as well, and none of them is blocked forever."""
        record = image()
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)

        def take(number: int) -> object:
            if number % 2:
                return registry.change(record.id, {}, tags={str(number)})
            return registry.change_upload(new.id, 0, {"epoch": 1}, {}, name=str(number))

        outcomes = together(8, take)
        name = str(2 * winner(outcomes[::2], Conflict))
        assert not any(isinstance(outcome, Exception) for outcome in outcomes[1::2]), outcomes
        assert registry.get(record.id).name == name

    @pytest.mark.parametrize("field", ["offset", "epoch"])
    def test_some_fields_never_go_down(self, registry: Registry, field: str) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id, offset=2**40, epoch=7)
        registry.add_upload(new)
        before = getattr(new, field)
        with pytest.raises(ValueError, match=new.id):
            registry.change_upload(new.id, 7, {field: before - 1}, {}, name="changed")
        assert registry.get_upload(new.id) == new
        assert registry.get(record.id) == record
        for value in (before, before + 1):
            assert (
                getattr(registry.change_upload(new.id, new.epoch, {field: value}), field) == value
            )

    @pytest.mark.parametrize("state", [UploadState.COMPLETE, UploadState.ENDED])
    def test_upload_that_is_over_is_not_changed(
        self, registry: Registry, state: UploadState
    ) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id, offset=5)
        registry.add_upload(new)
        ended = registry.change_upload(new.id, 0, {"state": state, "reason": "first"})
        late: list[dict[str, Any]] = [
            {},
            {"offset": 4},
            {"epoch": 1},
            {"reason": "second"},
            *({"state": other} for other in UploadState),
        ]
        for fields in late:
            with pytest.raises(Conflict):
                registry.change_upload(new.id, 0, fields, {}, name="changed")
        assert registry.get_upload(new.id) == ended
        assert registry.get(record.id) == record

    def test_upload_and_image_change_together(self, registry: Registry) -> None:
        record = image(properties={"a": "1"}, **_SAVING)
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)
        over: dict[str, Any] = {"state": UploadState.COMPLETE, "offset": 3}
        with pytest.raises(Conflict):
            registry.change_upload(new.id, 0, over, _QUEUED, name="changed")
        with pytest.raises(ValueError, match=record.id):
            registry.change_upload(new.id, 0, over, _SAVING, status=Status.DEACTIVATED)
        assert registry.get_upload(new.id) == new
        assert registry.get(record.id) == record
        changed = registry.change_upload(new.id, 0, over, _SAVING, status=Status.ACTIVE, size=3)
        assert (changed.state, changed.offset) == (UploadState.COMPLETE, 3)
        stored = registry.get(record.id)
        assert (stored.status, stored.size, stored.properties) == (Status.ACTIVE, 3, {"a": "1"})

    def test_upload_changes_only_if_the_image_is_as_it_was(self, registry: Registry) -> None:
        record = image(**_SAVING)
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)
        with pytest.raises(Conflict):
            registry.change_upload(new.id, 0, {"offset": 1}, _QUEUED)
        assert registry.get_upload(new.id) == new
        assert registry.change_upload(new.id, 0, {"offset": 1}, _SAVING).offset == 1

    def test_progress_leaves_the_image_alone(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        new = upload(record.id)
        registry.add_upload(new)
        registry.change_upload(new.id, 0, {"offset": 1})
        assert registry.get(record.id).updated_at == START

    def test_uploads_keep_within_limits(self, registry: Registry) -> None:
        limits = Limits("project", {"image_size_total": 5})
        record = image(owner="project")
        registry.add(record)
        new = upload(record.id)
        with pytest.raises(OverLimit):
            registry.add_upload(new, _QUEUED, limits, upload_reserved=6, **_SAVING)
        with pytest.raises(NotFound):
            registry.get_upload(new.id)
        assert registry.get(record.id) == record
        registry.add_upload(new, _QUEUED, limits, upload_reserved=4, **_SAVING)
        with pytest.raises(OverLimit):
            registry.change_upload(new.id, 0, {"length": 6}, {}, limits, upload_reserved=6)
        assert registry.get_upload(new.id) == new
        assert registry.get(record.id).upload_reserved == 4
        registry.change_upload(new.id, 0, {"length": 5}, {}, limits, upload_reserved=5)
        assert registry.get(record.id).upload_reserved == 5

    def test_expired_uploads_are_forgotten(self, registry: Registry) -> None:
        record = image()
        registry.add(record)
        early, late = 1_700_000_000.25, 1_700_000_000.5
        expired = [upload(record.id, state=state, expires=early) for state in UploadState]
        others = [upload(record.id, state=state, expires=late) for state in UploadState]
        for new in (*expired, *others):
            registry.add_upload(new)
        assert registry.forget_uploads(late) == 3
        for gone in expired:
            if gone.state == UploadState.FINISHING:
                others.append(gone)
            else:
                with pytest.raises(NotFound):
                    registry.get_upload(gone.id)
        assert [registry.get_upload(kept.id) for kept in others] == others
        assert registry.forget_uploads(late) == 0
        assert registry.get(record.id) == record
