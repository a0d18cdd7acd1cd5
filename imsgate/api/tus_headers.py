"""The headers of tus 1.0.0: what they contain, and their schemas."""

import base64
from collections.abc import Mapping

from imsgate import errors, hashing
from imsgate.api.description import NUMBER, TEXT, Schema
from imsgate.http import headers
from imsgate.http.request import Request

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
#: hashlib's names, which are also tus's.
CHECKSUMS = hashing.available("sha1", "sha256", "sha512", "md5")

VERSION_SCHEMA: Mapping[str, Schema] = {"Tus-Resumable": {"const": VERSION}}
LENGTH_SCHEMA: Mapping[str, Schema] = {
    "Upload-Length": {**NUMBER, "description": "Bytes of all data"}
}
PART_SCHEMA: Mapping[str, Schema] = {
    "Upload-Checksum": {
        **TEXT,
        "description": f"One of {', '.join(CHECKSUMS)}, a space, and the digest in Base64",
    },
    **LENGTH_SCHEMA,
    **VERSION_SCHEMA,
}
STATE_SCHEMA: Mapping[str, Schema] = {
    "Upload-Offset": NUMBER,
    "Upload-Expires": TEXT,
    **VERSION_SCHEMA,
}


def parse_metadata(text: str | None) -> dict[str, str]:
    """Upload-Metadata: keys, each with a value in Base64 unless it is empty. Raises BadHeader."""
    metadata: dict[str, str] = {}
    for pair in (text or "").split(","):
        key, _, value = pair.strip().partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            problem = "each value must be text, encoded in Base64"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem) from error
        if "\0" in decoded:
            problem = "a value contains a NUL character"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem)
        if key in metadata or (not key and text):
            problem = "each key must be unique and not be empty"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem)
        if key:
            metadata[key] = decoded
    return metadata


def length(request: Request) -> int | None:
    """Upload-Length in bytes, or None. Raises BadHeader."""
    return headers.digits("Upload-Length", request.headers.get("Upload-Length") or None)


def checksum(request: Request) -> dict[str, bytes]:
    """The digest of Upload-Checksum by its algorithm. Raises BadHeader."""
    text = request.headers.get("Upload-Checksum")
    if not text:
        return {}
    algorithm, _, value = text.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        problem = f"the algorithm must be one of {', '.join(CHECKSUMS)}"
        raise errors.BadHeader(header="Upload-Checksum", problem=problem)
    try:
        return {algorithm: base64.b64decode(value, validate=True)}
    except ValueError as error:
        problem = "the digest must be encoded in Base64"
        raise errors.BadHeader(header="Upload-Checksum", problem=problem) from error
