"""Where imports take data from that is in no store in its final form yet."""

import base64
import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imsgate import errors
from imsgate.formats.inspector import Inspector
from imsgate.http import body
from imsgate.inspection import declared_format, fields_from_content
from imsgate.jobs.context import Context
from imsgate.jobs.imports import WEB, held
from imsgate.model import Image, Job, Location
from imsgate.signatures.verify import Signatures, signed
from imsgate.sources.decompress import HEAD, Decompressor
from imsgate.sources.web import Web
from imsgate.stores.base import Sink, Store
from imsgate.stores.loader import Stores


class InspectedSource:
    """Image data as it passes the gate, counted against the largest image."""

    def __init__(
        self,
        image: Image,
        stream: Any,
        size: int | None,
        inspection: Any,
        limit: int,
        container: str | None = None,
        verification: body.Tap | None = None,
    ) -> None:
        """``container`` is what the data is in once it is unpacked. Raises TooLarge."""
        self._image = image
        if size is not None and size > limit:
            raise errors.TooLarge(limit=limit)
        self.size = size
        self._inspection = inspection
        self._container = container
        self._body = body.Tapped(stream, size)
        self._body.join(body.Limit(limit))
        self._body.join(inspection)
        if verification is not None:
            self._body.join(verification)
        self.read = self._body.read

    def copied(self, store: Store, key: str) -> Sink | None:
        return None

    def facts(self) -> Mapping[str, Any]:
        found = fields_from_content(self._image, self._inspection.image_info)
        return found if self._container is None else {**found, "container_format": self._container}


class _Peeked:
    """A stream whose first bytes were looked at."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._then = read
        self._first = b""

    def head(self) -> bytes:
        while len(self._first) < HEAD and (chunk := self._then(HEAD - len(self._first))):
            self._first += chunk
        return self._first

    def read(self, size: int) -> bytes:
        first, self._first = self._first[:size], self._first[size:]
        return first or self._then(size)


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Downloads, and staged data to unpack. ``limit`` is the largest image in bytes."""

    stores: Stores
    web: Web
    unpacker: Decompressor
    gate: Inspector
    limit: int
    signatures: Signatures

    def as_is(self, image: Image) -> bool:
        """Whether staged data is the image's as it lies there: neither packed nor signed."""
        (staged, *_) = image.locations
        return not (signed(image) or self._packed(staged))

    def _packed(self, staged: Location) -> bool:
        store = self.stores.get(staged.store)
        with held(staged):
            size = min(HEAD, store.size(staged.url))
            chunks: Any = store.read(staged.url, 0, size)
        with contextlib.closing(chunks):
            return self.unpacker.packing(b"".join(chunks)) is not None

    @contextlib.contextmanager
    def stored(self, image: Image, location: Location, job: Job) -> Iterator[InspectedSource]:
        """What lies in a store, as it is. Raises ObjectNotFound."""
        store = self.stores.get(location.store)
        size = store.size(location.url)
        chunks: Any = store.read(location.url)
        with contextlib.closing(chunks):
            inspection = self.gate.begin(declared_format(image))
            stream = types.SimpleNamespace(read=sized(chunks))
            watch = verification(self.signatures, image, job)
            yield InspectedSource(image, stream, size, inspection, self.limit, verification=watch)

    @contextlib.contextmanager
    def open(self, image: Image, job: Job, context: Context) -> Iterator[InspectedSource]:
        """The download, or the staged data, unpacked where it is packed."""
        method = job.arguments["method"]
        if method["name"] == WEB:
            source = method["uri"], method.get("digest")
            with self.web.download(*source, context.wait, context.check) as found:
                yield self._gated(image, job, found.read, found.size)
            return
        (staged, *_) = image.locations
        with held(staged):
            chunks: Any = self.stores.get(staged.store).read(staged.url)
        with contextlib.closing(chunks):
            read = _asking(context.check, sized(chunks))
            yield self._gated(image, job, read, image.size)

    def _gated(
        self, image: Image, job: Job, read: Callable[[int], bytes], size: int | None
    ) -> InspectedSource:
        watch = verification(self.signatures, image, job)
        stream: Any = _Peeked(read)
        packing = self.unpacker.packing(stream.head())
        if packing is None:
            inspection = self.gate.begin(declared_format(image))
            return InspectedSource(image, stream, size, inspection, self.limit, verification=watch)
        if image.container_format == "compressed":
            image = dataclasses.replace(image, container_format="bare")
        inspection = self.gate.begin(declared_format(image))
        stream = self.unpacker.unpack(packing, stream.read)
        container = image.container_format
        return InspectedSource(image, stream, None, inspection, self.limit, container, watch)


def verification(signatures: Signatures, image: Image, job: Job) -> body.Tap | None:
    """What a signed image's data must pass as well, by the certificate that the job keeps."""
    certificate = job.arguments.get("certificate")
    return signatures.begin(image, base64.b64decode(certificate) if certificate else None)


def _asking(check: Callable[[], object], read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """``read`` with ``check`` before each: much may be read before anything comes out unpacked."""

    def asking(size: int) -> bytes:
        check()
        return read(size)

    return asking


def sized(chunks: Iterator[bytes]) -> Callable[[int], bytes]:
    """A ``read`` that gives no more than it was asked for."""
    rest = b""

    def read(size: int) -> bytes:
        nonlocal rest
        data = rest or next(chunks, b"")
        data, rest = data[:size], data[size:]
        return data

    return read
