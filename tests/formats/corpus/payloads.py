"""Files that are not disk images, and rare disk formats that are not accepted by default."""

import io
import tarfile
import zipfile

from tests.formats import craft
from tests.formats.corpus.entry import DISK, Entry, bad
from tests.formats.workshop import MIB, Recipe, created, packed, written

_COMPRESSORS = ("gzip", "bzip2", "xz", "zstd")

_HEADERS_OF_PAYLOADS = {
    "7z": b"7z\xbc\xaf\x27\x1c\0\4".ljust(999, b"\0"),
    "rar": b"Rar!\x1a\7\1\0".ljust(999, b"\0"),
    "lz4": b'\4"M\x18'.ljust(999, b"\0"),
    "cpio": b"070701".ljust(999, b"0"),
}

_HEADERS_OF_OTHER_FORMATS = {
    "elf": b"\x7fELF\2\1\1".ljust(9999, b"\0"),
    "mach-o": b"\xcf\xfa\xed\xfe".ljust(9999, b"\0"),
    "bochs": b"Bochs Virtual HD Image\0".ljust(9999, b"\0"),
    "cloop": b"#!/bin/sh\n#V2.0 Format\n".ljust(9999, b"\0"),
}


def payloads() -> list[Entry]:
    archives = {"tar": _tar("disk.raw"), "ova": _tar("vm.ovf"), "zip": _zip()}
    qcow2 = craft.qcow2(backing=0x200)
    return [
        *(_payload(tool, packed(tool), tool) for tool in _COMPRESSORS),
        _payload("bomb", packed("gzip", data=bytes(MIB)), "gzip", declared="qcow2"),
        _payload("qcow2-in-gzip", packed("gzip", data=qcow2), "gzip", declared="qcow2"),
        *(
            _payload(name, written(data), name)
            for name, data in {**archives, **_HEADERS_OF_PAYLOADS}.items()
        ),
        *(
            bad(name, written(data), name, None, "format", "declared_format", declared="raw")
            for name, data in _HEADERS_OF_OTHER_FORMATS.items()
        ),
        bad("parallels", created("parallels"), "parallels", DISK, "format", declared="ploop"),
    ]


def _payload(name: str, make: Recipe, format_: str, declared: str = "raw") -> Entry:
    return bad(name, make, format_, None, "payload", "declared_format", declared=declared)


def _tar(name: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as file:
        member = tarfile.TarInfo(name)
        member.size = 1000
        file.addfile(member, io.BytesIO(bytes(1000)))
    return archive.getvalue()


def _zip() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("disk.raw", bytes(1000))
    return archive.getvalue()
