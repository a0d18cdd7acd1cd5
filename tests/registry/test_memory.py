import pytest

from imsgate.registry.base import Query
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import after, image
from imsgate.testing.registries import RegistryContract


class TestMemoryRegistry(RegistryContract):
    @pytest.fixture
    def registry(self):
        return MemoryRegistry()


def test_page_ends_when_it_is_long_enough():
    registry = MemoryRegistry()
    for number in range(250):
        registry.add(image(created_at=after(number)))
    query = Query(admin=True, limit=1000)
    images = registry.list(query, lambda images: len(images) >= 150)
    assert images == registry.list(query)[:200]
