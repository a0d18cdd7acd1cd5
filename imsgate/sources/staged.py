"""Staged data: uploaded to a store before, and imported from there."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from imsgate.model import Image
from imsgate.signatures.verify import signed
from imsgate.sources.base import ByteStream, lost_data_fails_source
from imsgate.sources.decompress import MAGIC_BYTES
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.stores.enabled import Stores


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StagedSources:
    """Opens the staged data of images."""

    stores: Stores
    inspector: SourceInspector

    def is_final(self, image: Image) -> bool:
        """Whether the staged data can become the image's data unchanged and unread.

        Compressed data cannot, nor can that of a signed image. Raises SourceFailed.
        """
        return not (signed(image) or self._is_compressed(image))

    def _is_compressed(self, image: Image) -> bool:
        (location, *_) = image.locations
        store = self.stores.get(location.store)
        with lost_data_fails_source(location):
            size = min(MAGIC_BYTES, store.size(location.url))
            stream = ByteStream.of(store.read(location.url, 0, size))
        with contextlib.closing(stream):
            head = stream.peek(size)
        return self.inspector.decompressor.compression_of(head) is not None

    @contextlib.contextmanager
    def open(
        self, image: Image, *, certificate: bytes | None, check: Callable[[], object]
    ) -> Iterator[InspectedSource]:
        """The staged data, decompressed if it is compressed.

        ``check`` may raise to stop. Raises SourceFailed, TooLarge, SignatureRefused.
        """
        (location, *_) = image.locations
        with lost_data_fails_source(location):
            stream = ByteStream.of(self.stores.get(location.store).read(location.url))
        with contextlib.closing(stream):
            yield self.inspector.open_decompressed(image, stream, image.size, certificate, check)
