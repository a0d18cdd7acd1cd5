"""Registries that break one promise about resumable uploads each, and the test to fail."""

import contextlib
import dataclasses
import threading

from imsgate.errors import Conflict
from imsgate.model import UploadState
from imsgate.registry.base import NOTHING
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import START


class LosesFields(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        super().add_upload(dataclasses.replace(upload, digest=None), was, within, **to)


class MissingUploadIsAConflict(MemoryRegistry):
    def get_upload(self, upload_id):
        try:
            return self._uploads[upload_id]
        except KeyError:
            raise Conflict(problem="no such upload") from None


class ReplacesUploads(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        self._uploads.pop(upload.id, None)
        super().add_upload(upload, was, within, **to)


class TakesTheImageFirst(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        self.change(upload.image_id, was, within, **to)
        super().add_upload(upload)


class RecordsTheUploadFirst(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        self._uploads.setdefault(upload.id, upload)
        self.change(upload.image_id, was, within, **to)


class NeedsNoImage(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        if upload.image_id in self._images:
            super().add_upload(upload, was, within, **to)
        else:
            self._uploads[upload.id] = upload


class ComparesNothing(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        super().add_upload(upload, NOTHING, within, **to)


class NeedsAnImageThatExists(MemoryRegistry):
    def upload_of(self, image_id):
        self.get(image_id)
        return super().upload_of(image_id)


class ReturnsTheOldest(MemoryRegistry):
    def upload_of(self, image_id):
        uploads = [one for one in self._uploads.values() if one.image_id == image_id]
        return min(uploads, key=lambda one: one.created_at, default=None)


class ReturnsTheLastAdded(MemoryRegistry):
    def upload_of(self, image_id):
        uploads = [one for one in self._uploads.values() if one.image_id == image_id]
        return uploads[-1] if uploads else None


class ReturnsTheLastChanged(MemoryRegistry):
    def upload_of(self, image_id):
        uploads = [one for one in self._uploads.values() if one.image_id == image_id]
        return max(uploads, key=lambda one: (one.updated_at, one.created_at, one.id), default=None)


class ReturnsTheNewestOfAll(MemoryRegistry):
    def upload_of(self, image_id):
        return max(self._uploads.values(), key=lambda one: (one.created_at, one.id), default=None)


class ChangesAllOfTheImage(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        changed = super().change_upload(upload_id, epoch, fields, was, within, **to)
        for one in self._uploads.values():
            if one.image_id == changed.image_id and one.id != upload_id:
                self._uploads[one.id] = dataclasses.replace(one, offset=changed.offset)
        return changed


class KeepsUpdatedAt(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        fields = {**fields, "updated_at": START}
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class ReturnsTheUploadAsItWas(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        before = self.get_upload(upload_id)
        super().change_upload(upload_id, epoch, fields, was, within, **to)
        return before


class IgnoresTheEpoch(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        epoch = self.get_upload(upload_id).epoch
        fields = {name: value for name, value in fields.items() if name != "epoch"} | (
            {"epoch": max(epoch, fields["epoch"])} if "epoch" in fields else {}
        )
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class AcceptsNewerEpochs(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        epoch = min(epoch, self.get_upload(upload_id).epoch)
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class LooksAtTheOffsetFirst(MemoryRegistry):
    """A former request is told that it is wrong, not that it is late."""

    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        if fields.get("offset", 2**63) < self.get_upload(upload_id).offset:
            raise ValueError(upload_id)
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class ChecksThenWrites(MemoryRegistry):
    """All threads may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        upload = self.get_upload(upload_id)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        with self._lock:
            self._uploads[upload_id] = upload
            return super().change_upload(upload_id, epoch, fields, was, within, **to)


class RecordsManyUploadsAtOnce(MemoryRegistry):
    """All threads may have looked before one writes."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        self.change(upload.image_id, was)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        super().add_upload(upload, NOTHING, within, **to)


class GoesDown(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        upload = self.get_upload(upload_id)
        low = {name: fields[name] for name in ("offset", "epoch") if name in fields}
        rest = {name: value for name, value in fields.items() if name not in low}
        super().change_upload(upload_id, epoch, rest, was, within, **to)
        self._uploads[upload_id] = dataclasses.replace(self._uploads[upload_id], **low)
        return self._uploads[upload.id]


class StaysAtItsOffset(MemoryRegistry):
    """Takes a lower offset for no change."""

    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        upload = self.get_upload(upload_id)
        highest = {
            name: max(fields[name], getattr(upload, name))
            for name in ("offset", "epoch")
            if name in fields
        }
        return super().change_upload(upload_id, epoch, {**fields, **highest}, was, within, **to)


class RefusesTheSameAgain(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        if fields.get("offset") == self.get_upload(upload_id).offset:
            raise ValueError(upload_id)
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class ChangesTheImageFirst(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        if was or to:
            self.change(self.get_upload(upload_id).image_id, was, within, **to)
        return super().change_upload(upload_id, epoch, fields)


class ChangesTheUploadFirst(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        changed = super().change_upload(upload_id, epoch, fields)
        if was or to:
            self.change(changed.image_id, was, within, **to)
        return changed


class ComparesOnlyToChange(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        return super().change_upload(upload_id, epoch, fields, was if to else {}, within, **to)


class _ChangesIn(MemoryRegistry):
    """Also changes uploads in one of the states that are final."""

    state: UploadState

    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        upload = self.get_upload(upload_id)
        if upload.state == self.state:
            self._uploads[upload_id] = dataclasses.replace(upload, state=UploadState.OPEN)
        return super().change_upload(upload_id, epoch, fields, was, within, **to)


class ChangesComplete(_ChangesIn):
    state = UploadState.COMPLETE


class ChangesEnded(_ChangesIn):
    state = UploadState.ENDED


class ProgressMovesUpdatedAt(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        changed = super().change_upload(upload_id, epoch, fields, was, within, **to)
        if not to:
            self.change(changed.image_id, {}, updated_at=changed.updated_at)
        return changed


class BeginsBeyondLimits(MemoryRegistry):
    def add_upload(self, upload, was=NOTHING, within=None, /, **to):
        super().add_upload(upload, was, None, **to)


class GrowsBeyondLimits(MemoryRegistry):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        return super().change_upload(upload_id, epoch, fields, was, None, **to)


class ForgetsNothing(MemoryRegistry):
    def forget_uploads(self, before):
        return 0


class _Forgets(MemoryRegistry):
    def forget_uploads(self, before):
        gone = [one.id for one in self._uploads.values() if self.is_forgotten(one, before)]
        for upload_id in gone:
            del self._uploads[upload_id]
        return len(gone)


class ForgetsTheFinishing(_Forgets):
    def is_forgotten(self, upload, before):
        return upload.expires < before


class ForgetsTheEndedOnly(_Forgets):
    def is_forgotten(self, upload, before):
        ended = upload.state in (UploadState.COMPLETE, UploadState.ENDED)
        return ended and upload.expires < before


class ForgetsEarly(_Forgets):
    def is_forgotten(self, upload, before):
        return upload.expires <= before and upload.state != UploadState.FINISHING


class ForgetsUncounted(MemoryRegistry):
    def forget_uploads(self, before):
        return super().forget_uploads(before) and 1


REJECTED = [
    (LosesFields, "upload_comes_back_as_it_was"),
    (MissingUploadIsAConflict, "unknown_upload"),
    (ReplacesUploads, "upload_id_is_used_once"),
    (TakesTheImageFirst, "upload_id_is_used_once"),
    (RecordsTheUploadFirst, "upload_takes_its_image"),
    (NeedsNoImage, "upload_takes_its_image"),
    (ComparesNothing, "upload_takes_its_image"),
    (ComparesNothing, "one_of_many_uploads_takes_the_image"),
    (RecordsManyUploadsAtOnce, "one_of_many_uploads_takes_the_image"),
    (NeedsAnImageThatExists, "upload_of_a_deleted_image"),
    (NeedsAnImageThatExists, "unknown_upload"),
    (ReturnsTheOldest, "newest_upload_of_an_image"),
    (ReturnsTheLastAdded, "newest_upload_of_an_image"),
    (ReturnsTheLastChanged, "newest_upload_of_an_image"),
    (ReturnsTheNewestOfAll, "newest_upload_of_an_image"),
    (ChangesAllOfTheImage, "change_of_an_upload"),
    (KeepsUpdatedAt, "change_of_an_upload"),
    (ReturnsTheUploadAsItWas, "change_of_an_upload"),
    (IgnoresTheEpoch, "former_request_is_fenced_off"),
    (IgnoresTheEpoch, "one_of_many_requests_takes_the_upload_over"),
    (IgnoresTheEpoch, "one_of_many_requests_changes_upload_and_image"),
    (AcceptsNewerEpochs, "former_request_is_fenced_off"),
    (LooksAtTheOffsetFirst, "former_request_is_fenced_off"),
    (ChangesTheImageFirst, "former_request_is_fenced_off"),
    (ChecksThenWrites, "one_of_many_requests_takes_the_upload_over"),
    (GoesDown, "some_fields_never_go_down"),
    (StaysAtItsOffset, "some_fields_never_go_down"),
    (RefusesTheSameAgain, "some_fields_never_go_down"),
    (ChangesTheImageFirst, "some_fields_never_go_down"),
    (ChangesComplete, "upload_that_is_over_is_not_changed"),
    (ChangesEnded, "upload_that_is_over_is_not_changed"),
    (ChangesTheUploadFirst, "upload_and_image_change_together"),
    (ComparesOnlyToChange, "upload_changes_only_if_the_image_is_as_it_was"),
    (ProgressMovesUpdatedAt, "progress_leaves_the_image_alone"),
    (BeginsBeyondLimits, "uploads_keep_within_limits"),
    (GrowsBeyondLimits, "uploads_keep_within_limits"),
    (ForgetsNothing, "expired_uploads_are_forgotten"),
    (ForgetsTheFinishing, "expired_uploads_are_forgotten"),
    (ForgetsTheEndedOnly, "expired_uploads_are_forgotten"),
    (ForgetsEarly, "expired_uploads_are_forgotten"),
    (ForgetsUncounted, "expired_uploads_are_forgotten"),
]
