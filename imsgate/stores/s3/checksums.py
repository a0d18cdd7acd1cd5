"""Proof that what was stored is what was sent, without reading it back.

Everything is sent with a checksum that the service refuses to differ from, and
its reply is compared as well: old Ceph gateways ignore CRC32.
"""

import base64
import dataclasses
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: The ETag of an object, or with ``-N`` of one in N parts, where it is made of MD5 sums.
_MD5_ETAG = re.compile(r"[0-9a-f]{32}(?:-[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """One object or part that was stored. ``etag`` is as the service quotes it."""

    etag: str
    md5: bytes | None = None
    crc32: bytes | None = None

    def completing(self, number: int) -> dict[str, Any]:
        """The entry of this part in the request that completes the upload."""
        entry: dict[str, Any] = {"PartNumber": number, "ETag": self.etag}
        if self.crc32 is not None:
            entry["ChecksumCRC32"] = _text(self.crc32)
        return entry


class Checksums:
    """MD5, or CRC32 with MD5 where the service does not repeat the CRC32."""

    def __init__(self, mode: str, etag_is_md5: bool) -> None:
        """``mode`` is ``when_required`` for MD5 or ``when_supported`` for CRC32."""
        self._crc = mode == "when_supported"
        self._etag_is_md5 = etag_is_md5

    def beginning(self) -> dict[str, str]:
        """What a multipart upload is begun with."""
        return {"ChecksumAlgorithm": "CRC32"} if self._crc else {}

    def sending(self, data: bytes | bytearray) -> tuple[dict[str, str], Receipt]:
        """What ``data`` is sent with, and the receipt to expect but for its ETag."""
        if self._crc:
            crc32 = _crc32(data)
            return {"ChecksumCRC32": _text(crc32)}, Receipt("", crc32=crc32)
        md5 = _md5(data)
        return {"ContentMD5": _text(md5)}, Receipt("", md5=md5)

    def received(
        self, expected: Receipt, data: bytes | bytearray, reply: Mapping[str, Any]
    ) -> Receipt | None:
        """The receipt for ``data``, or None when the reply proves that it is not what was sent."""
        etag = str(reply.get("ETag", ""))
        repeated = reply.get("ChecksumCRC32")
        if expected.crc32 is not None and repeated is not None:
            return (
                Receipt(etag, crc32=expected.crc32) if repeated == _text(expected.crc32) else None
            )
        md5 = expected.md5 or _md5(data)
        if self._comparable(reply) and etag.strip('"') != md5.hex():
            return None
        return Receipt(etag, md5=md5)

    def copied(self, reply: Mapping[str, Any]) -> Receipt | None:
        """The receipt for a part that the service copied by itself, or None where it has none."""
        etag, crc32 = str(reply.get("ETag", "")), reply.get("ChecksumCRC32")
        known = base64.b64decode(crc32) if self._crc and crc32 else None
        return Receipt(etag, crc32=known) if etag else None

    def proves(self, reply: Mapping[str, Any], receipts: Sequence[Receipt], parts: bool) -> bool:
        """Whether nothing in a reply about the whole object speaks against ``receipts``.

        ``parts`` is whether it was sent in parts; otherwise there is one receipt.
        """
        etag = str(reply.get("ETag", "")).strip('"')
        suffix = f"-{len(receipts)}" if parts else ""
        md5 = _whole([receipt.md5 for receipt in receipts], parts, _md5)
        if md5 is not None and self._comparable(reply) and etag.endswith(suffix):
            return etag == md5.hex() + suffix
        crc32 = _whole([receipt.crc32 for receipt in receipts], parts, _crc32)
        told = str(reply.get("ChecksumCRC32", ""))
        if crc32 is not None and told and told.endswith(suffix):
            return told == _text(crc32) + suffix
        return True

    def _comparable(self, reply: Mapping[str, Any]) -> bool:
        """Whether the ETag of ``reply`` is made of MD5 sums, as far as can be known."""
        return (
            self._etag_is_md5
            and not str(reply.get("ServerSideEncryption", "")).startswith("aws:kms")
            and "SSECustomerAlgorithm" not in reply
            and _MD5_ETAG.fullmatch(str(reply.get("ETag", "")).strip('"')) is not None
        )


def _whole(
    sums: Sequence[bytes | None], parts: bool, digest: Callable[[bytes], bytes]
) -> bytes | None:
    """The checksum that services give the whole: that of the parts' checksums, if all are known."""
    known = [checksum for checksum in sums if checksum is not None]
    if len(known) < len(sums):
        return None
    return digest(b"".join(known)) if parts else known[0]


def _md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _crc32(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
