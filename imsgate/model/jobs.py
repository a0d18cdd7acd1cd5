"""Jobs: work that continues after the request that started it."""

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class JobState(enum.StrEnum):
    """The state of a job, as IMS names it (``GET /v1/{project_id}/jobs/{job_id}``)."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAIL = "FAIL"


#: The states of jobs that have not ended.
UNFINISHED = frozenset({JobState.INIT, JobState.RUNNING})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that continues after the request that started it.

    ``kind`` names the code that does the work, and ``arguments`` (a JSON object) are its input.
    ``progress`` and ``total`` are bytes. A running job belongs to the worker that claimed it,
    until ``lease`` (seconds since 1970). Each claim increments ``epoch``, which fences the
    former worker off. ``error_code`` and ``reason`` say why a job failed.
    """

    id: str
    kind: str
    project: str | None = None
    image_id: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    state: JobState = JobState.INIT
    progress: int = 0
    total: int | None = None
    cancelled: bool = False
    error_code: str | None = None
    reason: str | None = None
    lease: float | None = None
    epoch: int = 0
    created_at: datetime.datetime
    updated_at: datetime.datetime
    begin_at: datetime.datetime | None = None
    end_at: datetime.datetime | None = None
