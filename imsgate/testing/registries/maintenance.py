"""The part of the registry contract about read-only mode."""

from imsgate.registry.base import Registry
from imsgate.testing.records import START, after, image


class MaintenanceContract:
    """The promises of ``imsgate.registry.maintenance``."""

    def test_a_service_is_not_read_only_at_first(self, registry: Registry) -> None:
        assert registry.read_only_since() is None
        registry.end_read_only()
        assert registry.read_only_since() is None

    def test_read_only_until_it_ends(self, registry: Registry) -> None:
        registry.begin_read_only(after(1))
        assert registry.read_only_since() == after(1)
        registry.begin_read_only(after(2))
        assert registry.read_only_since() == after(1)
        registry.end_read_only()
        assert registry.read_only_since() is None
        registry.begin_read_only(START)
        assert registry.read_only_since() == START

    def test_a_running_upload_can_end_while_it_is_read_only(self, registry: Registry) -> None:
        registry.begin_read_only(START)
        record = image()
        registry.add(record)
        assert registry.change(record.id, {}, name="other").name == "other"
