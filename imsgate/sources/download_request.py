"""What a web-download asks for: the members of ``method`` in the import request."""

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Self

from imsgate import hashing
from imsgate.errors import BadRequest, UriRefused
from imsgate.sources.checksums import Digest

#: The members, beside ``name``. Glance has ``uri``; the others are imsgate's own.
URI, URIS, DIGEST = "uri", "uris", "digest"
CHECKSUM_URL, CHECKSUM_SIGNATURE_URL = "checksum_url", "checksum_signature_url"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """A file to download, from the first of ``uris`` that delivers it.

    ``digest`` is its expected digest, or is in the file at ``checksum_url``, which may be signed
    by the detached OpenPGP signature at ``checksum_signature_url``.
    """

    uris: tuple[str, ...]
    digest: Digest | None = None
    checksum_url: str | None = None
    checksum_signature_url: str | None = None

    @classmethod
    def of(cls, method: Mapping[str, Any]) -> Self:
        """Raises UriRefused without a URI, and BadRequest for other invalid members."""
        single = [method[URI]] if URI in method else []
        request = cls(
            uris=tuple(dict.fromkeys([*single, *method.get(URIS, ())])),
            digest=parse_digest(method.get(DIGEST)),
            checksum_url=method.get(CHECKSUM_URL),
            checksum_signature_url=method.get(CHECKSUM_SIGNATURE_URL),
        )
        request._check()
        return request

    def _check(self) -> None:
        if not self.uris:
            raise UriRefused(problem=f"there is none; set {URI} or {URIS}")
        if self.digest and self.checksum_url:
            raise BadRequest(problem=f"use only one of {DIGEST} and {CHECKSUM_URL}")
        if self.checksum_signature_url and not self.checksum_url:
            raise BadRequest(problem=f"{CHECKSUM_SIGNATURE_URL} requires {CHECKSUM_URL}")
        if self.checksum_url:
            names = {file_name(uri) for uri in self.uris}
            if len(names) > 1 or "" in names:
                problem = f"with {CHECKSUM_URL}, every URI must end in the same file name"
                raise BadRequest(problem=problem)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL to which a request is sent."""
        others = (self.checksum_url, self.checksum_signature_url)
        return (*self.uris, *(url for url in others if url is not None))

    @property
    def file_name(self) -> str:
        """The name that decides which line of the file of digests counts."""
        return file_name(self.uris[0])


def file_name(uri: str) -> str:
    """The last segment of a URI's path, decoded; empty for a directory or an invalid URI."""
    try:
        path = urllib.parse.urlsplit(uri).path
    except ValueError:
        return ""
    return urllib.parse.unquote(path.rpartition("/")[2])


def parse_digest(text: str | None) -> Digest | None:
    """``sha256:HEX`` as algorithm and digest. Raises BadRequest."""
    if text is None:
        return None
    algorithm, _, value = text.lower().partition(":")
    if algorithm in hashing.DOWNLOAD:
        length = 2 * hashing.digest_size(algorithm)
        if re.fullmatch(f"[0-9a-f]{{{length}}}", value):
            return Digest(algorithm, value)
    problem = f"digest must be ALGORITHM:HEX with one of {', '.join(hashing.DOWNLOAD)}"
    raise BadRequest(problem=problem)
