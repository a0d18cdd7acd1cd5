"""The part of the registry contract about numbers of what is in progress."""

from imsgate.model import (
    PASSING,
    Activity,
    Damage,
    JobState,
    Location,
    Status,
    UploadState,
)
from imsgate.registry.base import Registry
from imsgate.testing.records import START, after, image, job, upload


class ActivityContract:
    """The promises of ``imsgate.registry.base`` about ``activity``."""

    def test_nothing_is_in_progress(self, registry: Registry) -> None:
        registry.add(image(status=Status.ACTIVE))
        assert registry.activity() == Activity(
            images={},
            jobs={},
            waiting_since=None,
            suspended_uploads=0,
            reserved_bytes=0,
            damaged_copies={},
        )

    def test_images_are_counted_by_status(self, registry: Registry) -> None:
        for status in Status:
            registry.add(image(status=status))
        registry.add(image(status=Status.SAVING))
        assert registry.activity().images == {**dict.fromkeys(PASSING, 1), Status.SAVING: 2}

    def test_jobs_are_counted_by_kind_and_state(self, registry: Registry) -> None:
        states = (JobState.INIT, JobState.INIT, *JobState)
        for number, state in enumerate(states):
            registry.add_job(job(state=state, created_at=after(-number)))
        registry.add_job(job(kind="other", state=JobState.RUNNING, created_at=after(-100)))
        found = registry.activity()
        assert found.jobs == {
            ("test", JobState.INIT): 3,
            ("test", JobState.RUNNING): 1,
            ("other", JobState.RUNNING): 1,
        }
        assert found.waiting_since == after(-2)
        assert found.waiting_since < START

    def test_uploads_that_wait_for_their_client(self, registry: Registry) -> None:
        for state in UploadState:
            for writing in (False, True):
                record = image(status=Status.SAVING, upload_key="attempt-1")
                registry.add(record)
                registry.add_upload(upload(record.id, state=state, writing=writing))
        staged = image(status=Status.UPLOADING, upload_key="attempt-1")
        later = image(status=Status.SAVING, upload_key="attempt-2")
        ended = image(status=Status.QUEUED)
        for record in (staged, later, ended):
            registry.add(record)
            registry.add_upload(upload(record.id))
        assert registry.activity().suspended_uploads == 2

    def test_reserved_bytes(self, registry: Registry) -> None:
        registry.add(image(status=Status.SAVING, upload_reserved=1, upload_expires=1e9))
        registry.add(image(status=Status.IMPORTING, upload_reserved=10))
        registry.add(image(status=Status.DELETED, upload_reserved=100, upload_expires=1e9))
        copied = image(status=Status.ACTIVE, upload_reserved=1000)
        registry.add(copied)
        registry.add_job(job(copied.id, state=JobState.RUNNING))
        registry.add_job(job())
        assert registry.activity().reserved_bytes == 1111

    def test_damaged_copies(self, registry: Registry) -> None:
        for url in "ab":
            places = (Location("fast", url), Location("slow", url))
            record = image(status=Status.ACTIVE, locations=places)
            registry.add(record)
            for place, damage in zip(places, (Damage.SIZE, None), strict=True):
                registry.record_check(record.id, place, 1.0, damage)
        assert registry.activity().damaged_copies == {"fast": 2}
