"""The part of the registry contract about what cleanup looks for: expired uploads, deletions."""

from imsgate.model import Status
from imsgate.registry.base import Registry
from imsgate.testing.records import FULL_IMAGE, image


class CleanupContract:
    """The promises of ``imsgate.registry.base`` about ``expired``."""

    def test_expired(self, registry: Registry) -> None:
        for status in Status:
            registry.add(image(name=f"late {status}", status=status, upload_expires=9.999_999))
            registry.add(image(name=f"early {status}", status=status, upload_expires=10.0))
            registry.add(image(name=f"none {status}", status=status))
        late = {f"late {status}" for status in Status}
        pending = {"early pending_delete", "none pending_delete"}
        names = [str(record.name) for record in registry.expired(10.0)]
        assert sorted(names) == sorted(late | pending)

    def test_expired_images_are_whole(self, registry: Registry) -> None:
        record = image(**FULL_IMAGE)
        registry.add(record)
        assert registry.expired(2e9) == [record]
