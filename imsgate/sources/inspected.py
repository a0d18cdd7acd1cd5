"""Data that passes the same inspection as a request body, whatever it is read from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from imsgate import errors
from imsgate.formats.inspector import Inspection, Inspector
from imsgate.http import body
from imsgate.inspection import declared_format, fields_from_content
from imsgate.model import Image
from imsgate.signatures.verify import Signatures
from imsgate.sources.base import ByteStream
from imsgate.sources.decompress import MAGIC_BYTES, Decompressor
from imsgate.stores.base import Sink, Store


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class InspectedSource:
    """Image data that is inspected, verified and limited in size as it is read."""

    def __init__(
        self,
        image: Image,
        stream: _Readable,
        size: int | None,
        *,
        limit: int,
        inspection: Inspection,
        verification: body.Tap | None,
        container_format: str | None = None,
    ) -> None:
        """``limit`` is the largest size in bytes. ``container_format`` is set if it differs from
        the declared one because the data is decompressed. Raises TooLarge."""
        if size is not None and size > limit:
            raise errors.TooLarge(limit=limit)
        self.size = size
        self.body = body.Tapped(stream, size)
        self.body.join(body.Limit(limit))
        self.body.join(inspection)
        if verification is not None:
            self.body.join(verification)
        self._image = image
        self._inspection = inspection
        self._container_format = container_format

    def copy_into(self, store: Store, key: str) -> Sink | None:
        return None

    @property
    def content_format(self) -> str:
        """The format that the inspection has detected; ``raw`` if there is no data."""
        info = self._inspection.image_info
        return "raw" if info is None or info.format is None else info.format

    def content_fields(self) -> Mapping[str, Any]:
        fields = fields_from_content(self._image, self._inspection.image_info)
        if self._container_format is None:
            return fields
        return {**fields, "container_format": self._container_format}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceInspector:
    """Begins the inspection of sources. ``limit`` returns the largest size of an image in bytes."""

    inspector: Inspector
    signatures: Signatures
    decompressor: Decompressor
    limit: Callable[[], int]

    def begin(self, image: Image) -> Inspection:
        """The inspection of data that is declared as this image's."""
        return self.inspector.begin(declared_format(image))

    def taps(self, image: Image, certificate: bytes | None) -> dict[str, Any]:
        """How an InspectedSource checks this image's data. Raises SignatureRefused.

        ``certificate`` (DER) verifies a signed image.
        """
        return {
            "limit": self.limit(),
            "verification": self.signatures.begin(image, certificate),
            "inspection": self.begin(image),
        }

    def open(
        self, image: Image, stream: _Readable, size: int | None, certificate: bytes | None
    ) -> InspectedSource:
        """The data of ``stream``, ``size`` bytes if that is known, as it is."""
        return InspectedSource(image, stream, size, **self.taps(image, certificate))

    def open_unverified(self, image: Image, stream: _Readable, size: int | None) -> InspectedSource:
        """As ``open``, without the image's signature."""
        inspection = self.begin(image)
        return InspectedSource(
            image, stream, size, limit=self.limit(), inspection=inspection, verification=None
        )

    def open_decompressed(
        self,
        image: Image,
        stream: ByteStream,
        size: int | None,
        certificate: bytes | None,
        check: Callable[[], object],
    ) -> InspectedSource:
        """The data of ``stream``, decompressed if it is a compressed file and the operator allows
        that. ``check`` may raise to stop before anything is decompressed."""
        compression = self.decompressor.compression_of(stream.peek(MAGIC_BYTES))
        if compression is None:
            return self.open(image, stream, size, certificate)
        if image.container_format == "compressed":
            image = dataclasses.replace(image, container_format="bare")
        return InspectedSource(
            image,
            self.decompressor.open(compression, stream.read, check),
            None,
            **self.taps(image, certificate),
            container_format=image.container_format,
        )
