"""Verifies that the service stored what was sent, without reading it back.

All data is sent with a checksum that the service must verify. The checksum in its response is
compared as well, because old Ceph gateways ignore CRC32.
"""

import base64
import dataclasses
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imsgate import hashing

#: An ETag made from MD5 digests; that of an object in N parts ends in ``-N``.
_MD5_ETAG = re.compile(r"[0-9a-f]{32}(?:-[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """The checksums of a stored object or part. ``etag`` includes the service's quotes."""

    etag: str
    md5: bytes | None = None
    crc32: bytes | None = None

    def part_entry(self, number: int) -> dict[str, Any]:
        """The entry for this part in the request that completes the upload."""
        entry: dict[str, Any] = {"PartNumber": number, "ETag": self.etag}
        if self.crc32 is not None:
            entry["ChecksumCRC32"] = _text(self.crc32)
        return entry


class Checksums:
    """MD5, or CRC32. With CRC32, MD5 is used too if the service does not return the CRC32."""

    def __init__(self, mode: str, etag_is_md5: bool) -> None:
        """``mode`` is ``when_required`` for MD5 or ``when_supported`` for CRC32."""
        self._crc = mode == "when_supported"
        self._has_md5 = hashing.is_available("md5")
        self._etag_is_md5 = etag_is_md5 and self._has_md5

    def upload_params(self) -> dict[str, str]:
        """Parameters of the request that begins a multipart upload."""
        return {"ChecksumAlgorithm": "CRC32"} if self._crc else {}

    def of_body(self, data: bytes | bytearray) -> tuple[dict[str, str], Receipt]:
        """Parameters of a request that sends ``data``, and the expected receipt without ETag."""
        if self._crc:
            crc32 = _crc32(data)
            return {"ChecksumCRC32": _text(crc32)}, Receipt("", crc32=crc32)
        md5 = _md5(data)
        return {"ContentMD5": _text(md5)}, Receipt("", md5=md5)

    def verify(
        self, expected: Receipt, data: bytes | bytearray, reply: Mapping[str, Any]
    ) -> Receipt | None:
        """The receipt for ``data``. None if ``reply`` proves that other data was stored, or if
        nothing proves anything: the service ignores CRC32, and this host has no MD5."""
        etag = str(reply.get("ETag", ""))
        returned = reply.get("ChecksumCRC32")
        if expected.crc32 is not None and returned is not None:
            matches = returned == _text(expected.crc32)
            return Receipt(etag, crc32=expected.crc32) if matches else None
        if not self._has_md5:
            return None
        md5 = expected.md5 or _md5(data)
        if self._comparable(reply) and etag.strip('"') != md5.hex():
            return None
        return Receipt(etag, md5=md5)

    def of_copy(self, reply: Mapping[str, Any]) -> Receipt | None:
        """The receipt for a part that the service copied, or None if ``reply`` has no ETag."""
        etag, crc32 = str(reply.get("ETag", "")), reply.get("ChecksumCRC32")
        decoded = base64.b64decode(crc32) if self._crc and crc32 else None
        return Receipt(etag, crc32=decoded) if etag else None

    def of_listed(self, part: Mapping[str, Any]) -> Receipt:
        """The receipt for a part that another process sent, as ListParts describes it.

        It contains what the service says about the part. Unlike other receipts, it does not prove
        what was sent; the process that sent the part has verified that.
        """
        etag, crc32 = str(part.get("ETag", "")), part.get("ChecksumCRC32")
        md5 = bytes.fromhex(etag.strip('"')) if self._comparable(part) and "-" not in etag else None
        return Receipt(etag, md5, base64.b64decode(crc32) if self._crc and crc32 else None)

    def match_object(
        self, reply: Mapping[str, Any], receipts: Sequence[Receipt], parts: bool
    ) -> bool:
        """Whether ``reply``, about the whole object, contradicts none of ``receipts``.

        ``parts`` is whether the object was sent in parts; otherwise there is one receipt.
        """
        etag = str(reply.get("ETag", "")).strip('"')
        suffix = f"-{len(receipts)}" if parts else ""
        md5 = _combined([receipt.md5 for receipt in receipts], parts, _md5)
        if md5 is not None and self._comparable(reply) and etag.endswith(suffix):
            return etag == md5.hex() + suffix
        crc32 = _combined([receipt.crc32 for receipt in receipts], parts, _crc32)
        returned = str(reply.get("ChecksumCRC32", ""))
        if crc32 is not None and returned and returned.endswith(suffix):
            return returned == _text(crc32) + suffix
        return True

    def _comparable(self, reply: Mapping[str, Any]) -> bool:
        """Whether the ETag in ``reply`` is made from MD5 digests, as far as one can tell."""
        return (
            self._etag_is_md5
            and not str(reply.get("ServerSideEncryption", "")).startswith("aws:kms")
            and "SSECustomerAlgorithm" not in reply
            and _MD5_ETAG.fullmatch(str(reply.get("ETag", "")).strip('"')) is not None
        )


def _combined(
    checksums: Sequence[bytes | None], parts: bool, digest: Callable[[bytes], bytes]
) -> bytes | None:
    """The service's checksum of the whole object; None if that of a part is unknown.

    For an object in parts it is the checksum of the parts' checksums.
    """
    known = [checksum for checksum in checksums if checksum is not None]
    if len(known) < len(checksums):
        return None
    return digest(b"".join(known)) if parts else known[0]


def _md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _crc32(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
