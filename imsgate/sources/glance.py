"""Images of another region's image service as the data of images: Glance's ``glance-download``.

The caller's token goes to the service that the caller's catalog names, and nowhere else.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imsgate import hashing
from imsgate.errors import SourceFailed
from imsgate.model import Image, Job
from imsgate.sources.base import ByteStream, Source
from imsgate.sources.checksums import Digest
from imsgate.sources.download_request import parse_digest
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.sources.mirrors import MirroredDownload
from imsgate.sources.uris import TrustedService
from imsgate.sources.web import Web
from imsgate.sources.web_download import WebDownload
from imsgate.stores.base import Sink, Store

#: The largest record in bytes; one has up to 128 KiB of properties here.
_MAX_RECORD_BYTES = 1 << 20

#: The version, which some catalogs contain.
_VERSION = re.compile(r"(/v2(\.[0-9]+)?)?/*$")

#: The fields of a record that an image takes over from the record of another service.
Adopt = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class _AdoptedSource:
    """A source whose image also gets fields from another record."""

    def __init__(self, source: InspectedSource, fields: Mapping[str, Any]) -> None:
        self.body = source.body
        self.size = source.size
        self._source = source
        self._fields = fields

    def copy_into(self, store: Store, key: str) -> Sink | None:
        return self._source.copy_into(store, key)

    @property
    def content_format(self) -> str:
        return self._source.content_format

    def content_fields(self) -> Mapping[str, Any]:
        return {**self._fields, **self._source.content_fields()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GlanceSources:
    """Opens images of other image services.

    ``token(job)`` returns the token of the user who asked for a job. ``adopt(job, image, record)``
    returns the fields that an image takes over from a record.
    """

    web: Web
    inspector: SourceInspector
    token: Callable[[Job], str]
    adopt: Callable[[Job, Image, Mapping[str, Any]], Mapping[str, Any]]

    @contextlib.contextmanager
    def open(
        self,
        image: Image,
        *,
        endpoint: str,
        image_id: str,
        token: str,
        adopt: Adopt,
        certificate: bytes | None,
        wait: Callable[[float], None],
        check: Callable[[], object],
    ) -> Iterator[Source]:
        """The data of the image ``image_id`` of the service at ``endpoint``.

        It is compared with the size and the digest in that service's record, and inspected as
        what the record says. ``wait`` and ``check`` are as for ``Downloads.open``. Raises as that,
        and what ``adopt`` raises.
        """
        service = TrustedService.at(endpoint, {"X-Auth-Token": token})
        uri = f"{_VERSION.sub('', endpoint)}/v2/images/{image_id}"
        deadline = self.web.deadline(check)

        def open_uri(uri: str, start: int, size: int | None) -> WebDownload:
            return self.web.download(
                uri,
                deadline,
                wait,
                start=start,
                size=size,
                has_digest=digest is not None,
                service=service,
            )

        with contextlib.closing(self.web.download(uri, deadline, wait, service=service)) as found:
            record = _record(found.read)
        size, digest = _size(record, image_id), _digest(record)
        fields = adopt(record)
        formats = {name: fields[name] for name in ("disk_format", "container_format")}
        image = dataclasses.replace(image, **formats)
        data = MirroredDownload(open_uri, [f"{uri}/file"], digest, attempt=0, deadline=deadline)
        with contextlib.closing(data) as download:
            if download.size != size and not (download.size is None and digest):
                problem = f"its record says {size} bytes, the response {download.size}"
                raise SourceFailed(problem=problem)
            stream = ByteStream(download.read, download.close)
            source = self.inspector.open_decompressed(
                image, stream, download.size, certificate, check
            )
            yield _AdoptedSource(source, fields)


def _record(read: Callable[[int], bytes]) -> Mapping[str, Any]:
    """The record of an active image. Raises SourceFailed."""
    text = b""
    while chunk := read(1 << 16):
        text += chunk
        if len(text) > _MAX_RECORD_BYTES:
            raise SourceFailed(problem="the record of the source image is too large")
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise SourceFailed(problem="the record of the source image is not a JSON object")
    status = record.get("status")
    if status != "active":
        problem = f"Source image status should be active instead of {str(status)[:32]}"
        raise SourceFailed(problem=problem)
    return record


def _size(record: Mapping[str, Any], image_id: str) -> int:
    size = record.get("size")
    if not isinstance(size, int):
        problem = f"Size attribute of remote image {image_id} could not be determined."
        raise SourceFailed(problem=problem)
    return size


def _digest(record: Mapping[str, Any]) -> Digest | None:
    """The digest that the data must have, as for a download; None if the record has none that can
    be computed here."""
    for algorithm, value in (
        (record.get("os_hash_algo"), record.get("os_hash_value")),
        (hashing.CHECKSUM, record.get("checksum")),
    ):
        if algorithm in hashing.DOWNLOAD and value:
            return parse_digest(f"{algorithm}:{value}")
    return None
