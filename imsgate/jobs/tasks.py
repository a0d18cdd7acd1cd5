"""Jobs as tasks: their types and statuses by Glance's names."""

from collections.abc import Mapping
from types import MappingProxyType

from imsgate.jobs import locations, methods
from imsgate.model import JobState

STATUSES: Mapping[JobState, str] = MappingProxyType(
    {
        JobState.INIT: "pending",
        JobState.RUNNING: "processing",
        JobState.SUCCESS: "success",
        JobState.FAIL: "failure",
    }
)

#: Glance's names for kinds of jobs. Other kinds keep their own name.
TYPES: Mapping[str, str] = MappingProxyType(
    {methods.IMPORT: "api_image_import", locations.KIND: "location_import"}
)
