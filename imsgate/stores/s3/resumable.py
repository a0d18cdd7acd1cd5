"""Takes over attempts that can be suspended: finds their upload, parts and rest."""

import dataclasses

from imsgate import errors
from imsgate.stores.base import ResumableSink
from imsgate.stores.committed import CommittedAttempt
from imsgate.stores.s3 import failures
from imsgate.stores.s3.bucket import Bucket, MultipartUpload
from imsgate.stores.s3.checksums import Receipt
from imsgate.stores.s3.multipart import ResumedUpload
from imsgate.stores.s3.plan import Plan
from imsgate.stores.s3.rests import Rest, Rests
from imsgate.stores.s3.resumable_sink import ResumableS3Sink


@dataclasses.dataclass(frozen=True, slots=True)
class _Taken:
    """What exists of an unfinished attempt. ``receipts`` are those of its parts, in order."""

    upload: str
    receipts: list[Receipt]
    rests: list[Rest]

    def rest_at(self, start: int, least: int = 1) -> Rest | None:
        """The newest rest that begins at ``start`` and has at least ``least`` bytes."""
        fitting = (rest for rest in self.rests if rest.start == start and rest.size >= least)
        return next(fitting, None)


class ResumableAttempts:
    """The resumable attempts in one bucket."""

    def __init__(self, bucket: Bucket, plan: Plan, threads: int, memory: int) -> None:
        """Up to ``threads`` parts of an upload are sent in parallel and fill ``memory`` bytes."""
        self._bucket = bucket
        self._plan = plan
        self._threads = threads
        self._memory = memory
        self._rests = Rests(bucket)

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableS3Sink:
        """See Resumable."""
        return ResumableS3Sink(
            self._bucket,
            key,
            size,
            epoch,
            plan=self._plan,
            threads=self._threads,
            memory=self._memory,
        )

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        """See Resumable."""
        taken = self._take_over(key, size, epoch)
        if isinstance(taken, int):
            return taken
        end = self._plan.end(len(taken.receipts), size)
        rest = taken.rest_at(end)
        return end + rest.size if rest else end

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        """See Resumable."""
        taken = self._take_over(key, size, epoch)
        if isinstance(taken, int):
            sink = CommittedAttempt(self._bucket.store, key, taken, offset)
            self.remove(key)
            return sink
        receipts = taken.receipts
        while self._plan.end(len(receipts), size) > offset:
            receipts.pop()
        rest = self._read_rest(taken, self._plan.end(len(receipts), size), offset)
        return ResumableS3Sink(
            self._bucket,
            key,
            size,
            epoch,
            plan=self._plan,
            threads=self._threads,
            memory=self._memory,
            resumed=ResumedUpload(taken.upload, receipts),
            rest=rest,
        )

    def remove(self, key: str) -> None:
        """Remove everything of an attempt except the object."""
        self._bucket.abort_all(key)
        self._rests.delete(self._rests.of(key))

    def _read_rest(self, taken: _Taken, end: int, offset: int) -> bytes:
        if offset == end:
            return b""
        rest = taken.rest_at(end, offset - end)
        if rest is None:
            problem = f"it lacks bytes {end} to {offset} of this attempt"
            raise errors.StoreUnavailable(store=self._bucket.store, problem=problem)
        return self._rests.read(rest, offset - end)

    def _take_over(self, key: str, size: int | None, epoch: int) -> _Taken | int:
        """What exists of an attempt, or the size of its object. Raises ObjectNotFound."""
        taken = self._unfinished(key, size, epoch)
        if taken is not None and taken.receipts:
            return taken
        try:
            committed = int(self._bucket.head(key)["ContentLength"])
        except errors.ObjectNotFound:
            if taken is None:
                raise
            return taken
        if taken is not None:
            # The commit left an upload without parts, which a repeated request had begun.
            self._rests.delete([Rest(key, epoch, None)])
        return committed

    def _unfinished(self, key: str, size: int | None, epoch: int) -> _Taken | None:
        """Fence off all lower epochs. Returns what exists of an attempt without an object."""
        uploads = [upload for upload in self._bucket.uploads(key) if upload.key == key]
        if not uploads:
            return None
        rests = self._rests.take_over(key, epoch)
        try:
            # A repeated request may have begun two of them; all parts are in one.
            candidates = [_Taken(upload.id, self._parts(upload, size), rests) for upload in uploads]
            return max(candidates, key=lambda taken: len(taken.receipts))
        except (failures.UploadGone, errors.ObjectNotFound):
            self._rests.delete([Rest(key, epoch, None)])  # it was committed or removed just now
            return None

    def _parts(self, upload: MultipartUpload, size: int | None) -> list[Receipt]:
        """The receipts of the parts up to the first one that is missing or has an unplanned
        size."""
        # SeaweedFS lists a part that was sent twice as two parts, in any order.
        parts = sorted(self._bucket.parts(upload), key=lambda part: part["LastModified"])
        latest = {part["PartNumber"]: part for part in parts}
        receipts: list[Receipt] = []
        while part := latest.get(len(receipts) + 1):
            if part["Size"] != self._plan.size(len(receipts) + 1, size):
                break
            receipts.append(self._bucket.checksums.of_listed(part))
        return receipts
