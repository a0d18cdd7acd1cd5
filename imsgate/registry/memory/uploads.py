"""Resumable uploads in the memory of one process."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imsgate import model
from imsgate.errors import AlreadyExists, NotFound
from imsgate.model import Limits, Upload, UploadState
from imsgate.registry.base import NOTHING
from imsgate.registry.memory.images import MemoryImages


class MemoryUploads(MemoryImages):
    def __init__(self) -> None:
        super().__init__()
        self._uploads: dict[str, Upload] = {}

    def add_upload(
        self,
        upload: Upload,
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> None:
        with self._lock:
            if upload.id in self._uploads:
                raise AlreadyExists(what=f"Upload {upload.id}")
            self.change(upload.image_id, was, within, **to)
            self._uploads[upload.id] = upload

    def get_upload(self, upload_id: str) -> Upload:
        try:
            return self._uploads[upload_id]
        except KeyError:
            raise NotFound(what=f"Upload {upload_id}") from None

    def upload_of(self, image_id: str) -> Upload | None:
        with self._lock:
            uploads = [upload for upload in self._uploads.values() if upload.image_id == image_id]
        return max(uploads, key=lambda upload: (upload.created_at, upload.id), default=None)

    def change_upload(
        self,
        upload_id: str,
        epoch: int,
        fields: Mapping[str, Any],
        was: Mapping[str, Any] = NOTHING,
        within: Limits | None = None,
        /,
        **to: Any,
    ) -> Upload:
        with self._lock:
            upload = self.get_upload(upload_id)
            upload.check_change(epoch, fields)
            changed = dataclasses.replace(upload, **{"updated_at": model.now(), **fields})
            if was or to:
                self.change(upload.image_id, was, within, **to)
            self._uploads[upload_id] = changed
            return changed

    def forget_uploads(self, before: float) -> int:
        with self._lock:
            expired = [
                upload.id
                for upload in self._uploads.values()
                if upload.expires < before and upload.state != UploadState.FINISHING
            ]
            for upload_id in expired:
                del self._uploads[upload_id]
            return len(expired)
