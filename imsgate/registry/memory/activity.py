"""What is in progress in the memory of one process."""

from collections import Counter

from imsgate.model import INCOMING, PASSING, UNFINISHED, Activity, JobState, UploadState
from imsgate.registry.memory.jobs import MemoryJobs
from imsgate.registry.memory.uploads import MemoryUploads


class MemoryActivity(MemoryJobs, MemoryUploads):
    def activity(self) -> Activity:
        with self._lock:
            images = list(self._images.values())
            jobs = [job for job in self._jobs.values() if job.state in UNFINISHED]
            uploads = list(self._uploads.values())
        waiting = [job.created_at for job in jobs if job.state is JobState.INIT]
        working = {job.image_id for job in jobs}
        open_keys = {
            (upload.image_id, upload.key)
            for upload in uploads
            if upload.state is UploadState.OPEN and not upload.writing
        }
        return Activity(
            images=Counter(image.status for image in images if image.status in PASSING),
            jobs=Counter((job.kind, job.state) for job in jobs),
            waiting_since=min(waiting, default=None),
            suspended_uploads=sum(
                image.status in INCOMING and (image.id, image.upload_key) in open_keys
                for image in images
            ),
            reserved_bytes=sum(
                image.upload_reserved
                for image in images
                if image.upload_expires is not None
                or image.status in INCOMING
                or image.id in working
            ),
            damaged_copies=Counter(
                copy.store for image in images for copy in image.locations if copy.damage
            ),
        )
