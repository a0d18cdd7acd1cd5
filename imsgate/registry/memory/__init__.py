"""The registry in the memory of one process: for tests, and as the contract in plain Python."""

from imsgate.config import Section
from imsgate.registry.memory.jobs import MemoryJobs
from imsgate.registry.memory.members import MemoryMembers
from imsgate.registry.memory.uploads import MemoryUploads


class MemoryRegistry(MemoryMembers, MemoryJobs, MemoryUploads):
    """Records of one process, lost when it ends."""

    def __init__(self, settings: Section | None = None) -> None:
        super().__init__()
