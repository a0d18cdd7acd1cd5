"""Read-only mode in the memory of one process."""

import datetime

from imsgate.registry.maintenance import Maintenance


class MemoryMaintenance(Maintenance):
    _read_only_since: datetime.datetime | None = None

    def read_only_since(self) -> datetime.datetime | None:
        return self._read_only_since

    def begin_read_only(self, since: datetime.datetime) -> None:
        self._read_only_since = self._read_only_since or since

    def end_read_only(self) -> None:
        self._read_only_since = None
