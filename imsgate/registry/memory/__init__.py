"""The registry in the memory of one process: for tests, and as the contract in plain Python."""

from imsgate.config import Section
from imsgate.registry.memory.activity import MemoryActivity
from imsgate.registry.memory.checks import MemoryChecks
from imsgate.registry.memory.maintenance import MemoryMaintenance
from imsgate.registry.memory.members import MemoryMembers


class MemoryRegistry(MemoryMembers, MemoryActivity, MemoryChecks, MemoryMaintenance):
    """Records of one process, lost when it ends."""

    def __init__(self, settings: Section | None = None) -> None:
        super().__init__()
