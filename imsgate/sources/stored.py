"""Objects that are already in a store and become an image's data in place."""

import contextlib
import dataclasses
from collections.abc import Iterator

from imsgate.model import Image, Location
from imsgate.sources.base import ByteStream
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.stores.enabled import Stores


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredSources:
    """Opens objects in stores."""

    stores: Stores
    inspector: SourceInspector

    @contextlib.contextmanager
    def open(
        self,
        image: Image,
        location: Location,
        *,
        certificate: bytes | None,
        is_signed: bool = True,
    ) -> Iterator[InspectedSource]:
        """The object at ``location``, as it is, inspected as the data of ``image``.

        ``is_signed`` is false for data that the image's signature does not cover, since staged data
        may be compressed. Raises ObjectNotFound, TooLarge, SignatureRefused.
        """
        store = self.stores.get(location.store)
        size = store.size(location.url)
        with contextlib.closing(ByteStream.of(store.read(location.url))) as stream:
            if is_signed:
                yield self.inspector.open(image, stream, size, certificate)
            else:
                yield self.inspector.open_unverified(image, stream, size)
