"""Resumable uploads."""

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from typing import Any

from imsgate.errors import Conflict


class UploadState(enum.StrEnum):
    """The state of a resumable upload."""

    OPEN = "open"  # it waits for data, or a request is writing some
    FINISHING = "finishing"  # all data is there, and a job verifies it
    COMPLETE = "complete"
    ENDED = "ended"  # refused, cancelled or failed


#: An upload in one of these states never changes again.
OVER = frozenset({UploadState.COMPLETE, UploadState.ENDED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A resumable upload of one image's data, which several requests bring one after the other.

    Only the ``user`` in the ``project`` that began it may continue it. ``staged`` says whether
    it stages data (``/stage``). ``store`` and ``key`` are the store's id and the attempt's key,
    as the image's ``upload_store`` and ``upload_key``. ``target`` is the id of the image's
    store, if that one cannot suspend an attempt.

    ``planned_size`` is the size that the store was told at the beginning (None: unknown), and
    never changes. ``length`` is the size of the whole, None until it is known. ``offset`` is how
    much is durable in the store, and never goes down. All three are in bytes. ``writing`` says
    whether a request may have written beyond ``offset``. Each request that takes the upload over
    increments ``epoch``, which fences the former request off.

    ``digest`` is the Repr-Digest field that the whole must match, ``metadata`` the Upload-Metadata
    field of a client that speaks tus. ``job_id`` names the job that
    verifies an upload in FINISHING. ``reason`` says why an upload ended. ``expires`` is in
    seconds since the epoch.
    """

    id: str
    image_id: str
    user: str | None = None
    project: str | None = None
    staged: bool = False
    store: str
    key: str
    target: str | None = None
    planned_size: int | None = None
    length: int | None = None
    offset: int = 0
    writing: bool = False
    epoch: int = 0
    state: UploadState = UploadState.OPEN
    digest: str | None = None
    metadata: str | None = None
    job_id: str | None = None
    reason: str | None = None
    expires: float
    created_at: datetime.datetime
    updated_at: datetime.datetime

    def check_change(self, epoch: int, fields: Mapping[str, Any]) -> None:
        """Check a change of ``fields`` by the request that took the upload over at ``epoch``.

        Raises Conflict if the upload has ended or has another epoch, and ValueError if
        ``offset`` or ``epoch`` would go down.
        """
        if self.state in OVER:
            raise Conflict(problem=f"Upload {self.id} has ended")
        if self.epoch != epoch:
            raise Conflict(problem=f"Upload {self.id} was taken over by another request")
        for field in ("offset", "epoch"):
            before, after = getattr(self, field), fields.get(field)
            if after is not None and after < before:
                raise ValueError(f"upload {self.id}: {field} cannot go down: {before} to {after}")
