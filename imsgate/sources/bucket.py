"""Objects in users' buckets: the source of the jobs that register and create images."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imsgate import errors
from imsgate.buckets.base import Accounts, Buckets, ObjectInfo
from imsgate.buckets.image_url import Allowed, ImageUrl
from imsgate.model import Image
from imsgate.sources.base import ByteStream
from imsgate.sources.copied import copy_by_service
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.stores.base import Copies, CopySource, Sink, Store

LOG = logging.getLogger(__name__)

#: Bytes that are inspected before an object is copied: they contain every header.
HEAD_BYTES = 1 << 20

_STANDARD = "STANDARD"


class BucketObject(InspectedSource):
    """An object as it is read and inspected, from its bucket or from a copy in a store."""

    def __init__(
        self,
        image: Image,
        stream: ByteStream,
        info: ObjectInfo,
        *,
        formats: Sequence[str],
        buckets: Buckets,
        inspector: SourceInspector,
        certificate: bytes | None,
        check: Callable[[], object],
        renew: Callable[[], object],
    ) -> None:
        """``formats`` are the formats the object may have; if empty, any image is accepted."""
        super().__init__(image, stream, info.size, **inspector.taps(image, certificate))
        self._stream = stream
        self._info = info
        self._formats = formats
        self._buckets = buckets
        self._inspector = inspector
        self._check = check
        self._renew = renew

    def copy_into(self, store: Store, key: str) -> Sink | None:
        """Have the store copy the object where it can, and read the copy."""
        origin = self._info.copy_source
        if origin is None or not isinstance(store, Copies) or not store.copies_from(origin):
            return None
        self._inspect_head(origin)
        made = copy_by_service(
            store, key, origin, self._info.size, check=self._check, renew=self._renew
        )
        if made is None:
            return None
        sink, stream = made
        self._stream.replace(stream)
        LOG.info("%s has copied image %s from bucket %s", store.name, self._image.id, origin.bucket)
        return sink

    def _inspect_head(self, origin: CopySource) -> None:
        """Most bad images are refused by their first bytes, and are then not copied."""
        size = min(HEAD_BYTES, self._info.size)
        with contextlib.closing(
            ByteStream.of(self._buckets.read(origin.bucket, origin.key, size))
        ) as head:
            self._inspector.begin(self._image).feed(head.peek(size))

    def content_fields(self) -> Mapping[str, Any]:
        if self._formats and self.content_format not in self._formats:
            raise errors.QuickImportFormat(found=self.content_format)
        return super().content_fields()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BucketSources:
    """Opens objects in users' buckets."""

    accounts: Accounts
    allowed: Allowed
    inspector: SourceInspector

    @contextlib.contextmanager
    def open(
        self,
        image: Image,
        *,
        project: str | None,
        url: ImageUrl,
        formats: Sequence[str],
        certificate: bytes | None,
        check: Callable[[], object],
        renew: Callable[[], object],
    ) -> Iterator[InspectedSource]:
        """The object at ``url``, which has one of ``formats``, if any are named.

        Whether ``project`` may still use the bucket is checked again. ``check`` may raise to
        stop a copy, as may ``renew``, which is called before a copy is committed. Raises
        SourceMissing, WrongStorageClass, TooLarge, SignatureRefused, and as ``Buckets`` does.
        """
        self.allowed.check(project, url.bucket)
        buckets = self.accounts.of(project)
        info = buckets.find(url.bucket, url.key)
        if info is None or info.size == 0:
            raise errors.SourceMissing(bucket=url.bucket, object=url.key)
        if info.storage_class != _STANDARD:
            raise errors.WrongStorageClass(object=url.key, found=info.storage_class)
        with contextlib.closing(ByteStream.of(buckets.read(url.bucket, url.key))) as stream:
            yield BucketObject(
                image,
                stream,
                info,
                formats=formats,
                buckets=buckets,
                inspector=self.inspector,
                certificate=certificate,
                check=check,
                renew=renew,
            )
