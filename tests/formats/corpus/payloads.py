"""What is no image."""

import io
import tarfile
import zipfile

from tests.formats import craft
from tests.formats.corpus.entry import DISK, Entry, bad
from tests.formats.workshop import MIB, created, packed, written


def payloads() -> list[Entry]:
    tar, ova, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    for buffer, name in ((tar, "disk.raw"), (ova, "vm.ovf")):
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
            member = tarfile.TarInfo(name)
            member.size = 1000
            file.addfile(member, io.BytesIO(bytes(1000)))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("disk.raw", bytes(1000))
    plain = {
        "tar": tar.getvalue(),
        "ova": ova.getvalue(),
        "zip": archive.getvalue(),
        "7z": b"7z\xbc\xaf\x27\x1c\0\4".ljust(999, b"\0"),
        "rar": b"Rar!\x1a\7\1\0".ljust(999, b"\0"),
        "lz4": b'\4"M\x18'.ljust(999, b"\0"),
        "cpio": b"070701".ljust(999, b"0"),
    }
    programs = {
        "elf": b"\x7fELF\2\1\1".ljust(9999, b"\0"),
        "mach-o": b"\xcf\xfa\xed\xfe".ljust(9999, b"\0"),
        "bochs": b"Bochs Virtual HD Image\0".ljust(9999, b"\0"),
        "cloop": b"#!/bin/sh\n#V2.0 Format\n".ljust(9999, b"\0"),
    }
    image = craft.qcow2(backing=0x200)
    return [
        *(
            bad(tool, packed(tool), name, None, "payload", "declared_format", declared="raw")
            for tool, name in (("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz"), ("zstd", "zstd"))
        ),
        bad(
            "bomb",
            packed("gzip", data=bytes(MIB)),
            "gzip",
            None,
            "payload",
            "declared_format",
            declared="qcow2",
        ),
        bad(
            "qcow2-in-gzip",
            packed("gzip", data=image),
            "gzip",
            None,
            "payload",
            "declared_format",
            declared="qcow2",
        ),
        *(
            bad(name, written(data), name, None, "payload", "declared_format", declared="raw")
            for name, data in plain.items()
        ),
        *(
            bad(name, written(data), name, None, "format", "declared_format", declared="raw")
            for name, data in programs.items()
        ),
        bad("parallels", created("parallels"), "parallels", DISK, "format", declared="ploop"),
    ]
