import pytest

from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.registries import RegistryContract


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registry(self):
        return MemoryRegistry()
