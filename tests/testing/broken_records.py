"""Registries that break one promise about records or cleanup each, and the test to fail."""

import contextlib
import dataclasses
import struct
import threading

from imsgate.errors import NotFound
from imsgate.model import DELETED, Status
from imsgate.registry.memory import MemoryRegistry


class UsesDeletedIdsAgain(MemoryRegistry):
    def add(self, image):
        if image.id in self._images and self._images[image.id].status in DELETED:
            del self._images[image.id]
        super().add(image)


class Overwrites(MemoryRegistry):
    def add(self, image):
        self._images.pop(image.id, None)
        super().add(image)


class LooksBeforeItAdds(MemoryRegistry):
    """All threads may have looked before one adds."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def add(self, image):
        free = image.id not in self._images
        with contextlib.suppress(threading.BrokenBarrierError):
            self.all_looked.wait()
        if free:
            self._images.pop(image.id, None)
        super().add(image)


class ShowsDeleted(MemoryRegistry):
    def get(self, image_id):
        if image_id not in self._images:
            raise NotFound(what=image_id)
        return self._images[image_id]


class RecallsLivingOnly(MemoryRegistry):
    def recall(self, image_id):
        return self.get(image_id)


class RecallsDeletedOnly(MemoryRegistry):
    def recall(self, image_id):
        image = super().recall(image_id)
        if image.status not in DELETED:
            raise NotFound(what=image_id)
        return image


class ForgetsFieldsOfDeletedImages(MemoryRegistry):
    """Keeps only a tombstone of a deleted image."""

    def recall(self, image_id):
        image = super().recall(image_id)
        return dataclasses.replace(image, name=None) if image.status in DELETED else image


class RecallsUnknownImagesAsNone(MemoryRegistry):
    def recall(self, image_id):
        return self._images.get(image_id)


class _Stores(MemoryRegistry):
    """Stores a modified copy of the record."""

    def add(self, image):
        super().add(self.stored(image))


class StoresNoMicroseconds(_Stores):
    def stored(self, image):
        return dataclasses.replace(image, updated_at=image.updated_at.replace(microsecond=0))


class StoresNoZone(_Stores):
    def stored(self, image):
        return dataclasses.replace(image, updated_at=image.updated_at.replace(tzinfo=None))


class StoresExpiryInSinglePrecision(_Stores):
    def stored(self, image):
        (expires,) = struct.unpack("f", struct.pack("f", image.upload_expires or 0.0))
        return dataclasses.replace(image, upload_expires=image.upload_expires and expires)


class StoresNoTrailingSpaces(_Stores):
    def stored(self, image):
        return dataclasses.replace(image, tags={tag.strip() for tag in image.tags})


class StoresOneCase(_Stores):
    def stored(self, image):
        properties = {name.lower(): value for name, value in image.properties.items()}
        return dataclasses.replace(image, properties=properties)


class CutsLongValues(_Stores):
    """As MariaDB's TEXT column does if the server is not in strict mode."""

    def stored(self, image):
        properties = {name: value[:65_535] for name, value in image.properties.items()}
        return dataclasses.replace(image, properties=properties)


class StoresTheCallersMapping(MemoryRegistry):
    def add(self, image):
        self._images[image.id] = image


# Cleanup


class SweepsLivingOnly(MemoryRegistry):
    def expired(self, now):
        return [image for image in super().expired(now) if image.status != Status.DELETED]


class SweepsLateOnly(MemoryRegistry):
    def expired(self, now):
        return [image for image in super().expired(now) if (image.upload_expires or now) < now]


class SweepsTooEarly(MemoryRegistry):
    def expired(self, now):
        return super().expired(now + 1e-6)


REJECTED = [
    (UsesDeletedIdsAgain, "id_is_used_once"),
    (Overwrites, "id_is_used_once"),
    (LooksBeforeItAdds, "one_of_many_creators_wins"),
    (ShowsDeleted, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsLivingOnly, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsDeletedOnly, "living_image_is_recalled_as_it_is"),
    (ForgetsFieldsOfDeletedImages, "deleted_record_is_seen_by_change_and_recall"),
    (RecallsUnknownImagesAsNone, "unknown_image"),
    (StoresNoMicroseconds, "record_comes_back_as_it_was"),
    (StoresNoZone, "times_come_back_in_utc"),
    (StoresExpiryInSinglePrecision, "record_comes_back_as_it_was"),
    (StoresNoTrailingSpaces, "record_comes_back_as_it_was"),
    (StoresOneCase, "record_comes_back_as_it_was"),
    (CutsLongValues, "long_values_come_back"),
    (StoresTheCallersMapping, "record_does_not_follow_what_it_was_made_from"),
    (SweepsLivingOnly, "expired"),
    (SweepsLateOnly, "expired"),
    (SweepsTooEarly, "expired"),
]
