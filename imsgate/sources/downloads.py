"""Downloads of files that are what their publisher says, as the data of images."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from imsgate.errors import BadRequest, ChecksumUntrusted, SourceFailed
from imsgate.model import Image
from imsgate.sources.base import ByteStream
from imsgate.sources.checksums import Digest, digest_of
from imsgate.sources.deadline import Deadline
from imsgate.sources.download_request import DownloadRequest, file_name
from imsgate.sources.inspected import InspectedSource, SourceInspector
from imsgate.sources.mirrors import MirroredDownload
from imsgate.sources.openpgp import Keyring
from imsgate.sources.web import Web
from imsgate.sources.web_download import WebDownload

#: The largest file of digests in bytes; that of a large directory has 100 KB.
_MAX_CHECKSUM_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Downloads:
    """Opens the files that requests ask for."""

    web: Web
    keyring: Keyring | None = None

    def check(self, request: DownloadRequest) -> None:
        """Refuse what can be refused without a look-up. Raises UriRefused, BadRequest."""
        if request.checksum_signature_url is not None and self.keyring is None:
            raise BadRequest(problem="this service has no keyring to verify signatures with")
        for url in request.urls:
            self.web.check(url)

    @contextlib.contextmanager
    def open(
        self,
        request: DownloadRequest,
        *,
        attempt: int,
        wait: Callable[[float], None],
        check: Callable[[], object],
    ) -> Iterator[MirroredDownload]:
        """The file that a request asks for; ``attempt`` is as for MirroredDownload.

        ``wait`` lets seconds pass; ``check`` is called before each read from a server, and raises
        to stop. Raises UriRefused, SourceFailed, ChecksumUnknown, ChecksumUntrusted.
        """
        deadline = self.web.deadline(check)
        digest = request.digest or self._published_digest(request, deadline, wait)

        def open_uri(uri: str, start: int, size: int | None) -> WebDownload:
            return self.web.download(
                uri, deadline, wait, start=start, size=size, has_digest=digest is not None
            )

        download = MirroredDownload(
            open_uri, request.uris, digest, attempt=attempt, deadline=deadline
        )
        with contextlib.closing(download):
            yield download

    def _published_digest(
        self, request: DownloadRequest, deadline: Deadline, wait: Callable[[float], None]
    ) -> Digest | None:
        """The digest that the file at ``checksum_url`` has for this file, once the signature of
        that file is verified if the request names one."""
        if request.checksum_url is None:
            return None
        data = self._small_file(request.checksum_url, deadline, wait)
        if request.checksum_signature_url is not None:
            signature = self._small_file(request.checksum_signature_url, deadline, wait)
            self._verify(data, signature)
        return digest_of(
            request.file_name, data.decode(errors="replace"), file_name(request.checksum_url)
        )

    def _verify(self, data: bytes, signature: bytes) -> None:
        if self.keyring is None:  # it had one when the request was accepted
            raise ChecksumUntrusted(problem="this service has no keyring")
        self.keyring.verify(data, signature)

    def _small_file(self, url: str, deadline: Deadline, wait: Callable[[float], None]) -> bytes:
        def open_uri(uri: str, start: int, size: int | None) -> WebDownload:
            return self.web.download(uri, deadline, wait)

        download = MirroredDownload(open_uri, [url], None, attempt=0, deadline=deadline)
        with contextlib.closing(download):
            stream = ByteStream(download.read, download.close)
            data = stream.peek(_MAX_CHECKSUM_BYTES + 1)
        if len(data) > _MAX_CHECKSUM_BYTES:
            problem = f"{file_name(url)!r} is larger than {_MAX_CHECKSUM_BYTES} bytes"
            raise SourceFailed(problem=problem)
        return data


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebSources:
    """Opens downloads as the data of images."""

    downloads: Downloads
    inspector: SourceInspector

    @contextlib.contextmanager
    def open(
        self,
        image: Image,
        *,
        request: DownloadRequest,
        certificate: bytes | None,
        attempt: int,
        wait: Callable[[float], None],
        check: Callable[[], object],
    ) -> Iterator[InspectedSource]:
        """The requested file, decompressed if it is a compressed file; the rest as in
        ``Downloads.open``. Raises TooLarge and SignatureRefused as well."""
        with self.downloads.open(request, attempt=attempt, wait=wait, check=check) as download:
            stream = ByteStream(download.read, download.close)
            yield self.inspector.open_decompressed(image, stream, download.size, certificate, check)
