"""Files that are not disk images, and rare disk formats that are not accepted by default."""

import io
import lzma
import struct
import tarfile
import zipfile

from tests.formats import craft
from tests.formats.corpus.entry import DISK, Entry, bad, good
from tests.formats.workshop import MIB, Recipe, created, packed, written

_COMPRESSORS = ("gzip", "bzip2", "xz", "zstd")

_HEADERS_OF_PAYLOADS = {
    "7z": b"7z\xbc\xaf\x27\x1c\0\4".ljust(999, b"\0"),
    "rar": b"Rar!\x1a\7\1\0".ljust(999, b"\0"),
    "lz4": b'\4"M\x18'.ljust(999, b"\0"),
    "cpio": b"070701".ljust(999, b"0"),
}

_PACKED = lzma.compress(b"imsgate" * 999, lzma.FORMAT_ALONE)


def _lzma(lc: int, lp: int, pb: int, size: int | None) -> bytes:
    """A file whose header contains its size, or says that the size is unknown."""
    filters = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": 3 << 19}]
    data = lzma.compress(b"imsgate" * 999, lzma.FORMAT_ALONE, filters=filters)
    return data if size is None else data[:5] + size.to_bytes(8, "little") + data[13:]


_SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"more"

#: Formats without a magic number at byte 0, or with a rare one: name, format, beginning.
_RARE_PAYLOADS = [
    ("lzma", "lzma", _PACKED),
    ("lzma-size", "lzma", _PACKED[:5] + (6993).to_bytes(8, "little") + _PACKED[13:]),
    *(
        (f"lzma-{lc}{lp}{pb}", "lzma", _lzma(lc, lp, pb, size))
        for lc, lp, pb, size in ((0, 0, 0, None), (4, 0, 0, 6993), (1, 3, 4, 6993), (0, 2, 2, None))
    ),
    ("lzip", "lzip", b"LZIP\1\x0c"),
    ("lzop", "lzop", b"\x89LZO\0\r\n\x1a\n\x10\x40"),
    ("compress", "compress", b"\x1f\x9d\x90abc"),
    ("compress-12", "compress", b"\x1f\x9d\x8cabc"),
    ("zstd-skippable", "zstd", _SKIPPED * 2 + b"\x28\xb5\x2f\xfd"),
    ("zstd-skippable-long", "zstd", b"\x5f\x2a\x4d\x18\0\0\1\0"),
    ("lz4-skippable", "lz4", _SKIPPED + b"\x04\x22\x4d\x18"),
    ("lz4-legacy", "lz4", b"\x02\x21\x4c\x18"),
    ("zip-spanned", "zip", b"PK\x07\x08PK\x03\x04"),
    ("rar-old", "rar", b"RE\x7e\x5e"),
    ("cpio-odc", "cpio", b"070707"),
    (
        "cpio-binary",
        "cpio",
        struct.pack("<13H", 0o70707, 1, 2, 0o100644, 0, 0, 1, 0, 0, 0, 4, 0, 9) + b"raw\0",
    ),
    (
        "cpio-big-endian",
        "cpio",
        struct.pack(">13H", 0o70707, 1, 2, 0o40755, 0, 0, 1, 0, 0, 0, 2, 0, 9) + b".\0",
    ),
    ("deb", "ar", b"!<arch>\ndebian-binary   "),
    ("rpm", "rpm", b"\xed\xab\xee\xdb\3\0"),
    ("cab", "cab", b"MSCF\0\0\0\0"),
    ("wim", "wim", b"MSWIM\0\0\0\xd0"),
    ("esd", "wim", b"WLPWM\0\0\0\xd0"),
    ("xar", "xar", b"xar!\0\x1c\0\1"),
    ("arj", "arj", b"\x60\xea\x2c\0\x22\x0b\1\2\x10\0\2\0"),
    ("lha", "lha", b"\x24\x9d-lh5-\0"),
    ("android-sparse", "android-sparse", b"\x3a\xff\x26\xed\1\0\0\0"),
    ("dmg-encrypted", "dmg", b"encrcdsa\0\0\0\2"),
    ("sparseimage", "sparseimage", b"sprs\0\0\0\3"),
    ("ewf", "ewf", b"EVF\x09\r\n\xff\0\1"),
    ("ewf2", "ewf", b"EVF2\r\n\x81\0"),
    ("aff", "aff", b"AFF10\r\n\0"),
    ("vma", "vma", b"VMA\0\0\0\0\1"),
    ("lrzip", "lrzip", b"LRZI\0\6"),
    ("partclone", "partclone", b"partclone-image\0002.0"),
]

_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>\xe9</body></html>\n"
)
_DIGEST = b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_SIGNED = (
    b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n%s"
    b"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=3Gx1\n-----END PGP SIGNATURE-----\n"
)

_DOCUMENTS = [
    ("html", "html", _PAGE),
    ("html-upper", "html", b"\r\n<HTML>\r\n<HEAD>"),
    ("html-comment", "html", b"\xef\xbb\xbf<!-- a -->\n<!-- --> <html>" + b" " * 9999),
    ("xhtml", "html", b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">'),
    ("xml", "xml", b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>None</Code></Error>'),
    ("xml-bare", "xml", b"<Error><Code>AccessDenied</Code></Error>"),
    ("json", "json", b'{"error": {"code": 404, "message": "not found"}}'),
    ("json-list", "json", b'[\n {"a": 1}]\n'),
    ("json-long", "json", b'{"a": "' + b"x" * 9000 + b'"}'),
    ("sha256sums", "checksums", _DIGEST + b"  disk.raw\n" + _DIGEST + b" *b.iso\n"),
    ("sha256sums-long", "checksums", (_DIGEST + b"  disk.raw\n") * 99),
    ("md5", "checksums", _DIGEST[:32] + b"  disk.raw"),
    ("bsd", "checksums", b"# made today\nSHA256 (disk.raw) = " + _DIGEST + b"\n"),
    ("signed", "checksums", b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSHA256 (a) = "
     + _DIGEST + b"\n"),
    ("digest", "checksums", _DIGEST + b"\n"),
    ("signed-whole", "checksums", _SIGNED % (_DIGEST + b" *disk.raw\n")),
    ("signed-text", "pgp", _SIGNED % b"Hello\n"),
    ("armor", "pgp", b"-----BEGIN PGP SIGNATURE-----\n\niQIz\n-----END PGP SIGNATURE-----\n"),
    ("armor-key", "pgp", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: 1\n\nmQIN\n"),
    ("pem", "pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
    ("ovf", "xml", b"\xef\xbb\xbf<?xml version='1.0'?>\n<Envelope/>"),
    ("ovf-manifest", "checksums", b"SHA256(disk1.vmdk)= " + _DIGEST + b"\n"),
    ("ovf-certificate", "checksums", b"SHA1(vm.mf)= " + _DIGEST * 8
     + b"\n-----BEGIN CERTIFICATE-----\nMIIB\n"),
    ("powershell", "checksums", (
        "\ufeff\r\nAlgorithm       Hash          Path\r\n---------       ----          ----\r\n"
        f"SHA256          {_DIGEST.decode().upper()}       C:\\disk.raw\r\n").encode("utf-16-le")),
    *((f"html-{code}", "html", _PAGE.decode("latin-1").encode(code))
      for code in ("utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-8-sig")),
    ("xml-utf-16", "xml", '<?xml version="1.0" encoding="UTF-16"?><e/>'.encode("utf-16-be")),
    ("json-utf-16", "json", '{"error": "not found"}'.encode("utf-16")),
    ("json-bom", "json", b'\xef\xbb\xbf{"error": "not found"}'),
    ("json-lines", "json", b'{"a": 1}\n{"b": 2}\n'),
    ("json-several", "json", b'{"a": 1} [2]'),
    ("yaml", "yaml", b"---\nimages:\n  - name: a\n"),
    ("yaml-keys", "yaml", b"version: 2\n# text\nimage:\n  name: a\nlist:\n- b\n"),
    ("yaml-long", "yaml", b"a: 1\nb:\n" + b"  - value of more\n" * 999),
    ("cloud-config", "yaml", b"#cloud-config\npackages: [nginx]\n"),
    ("script", "script", b"#!/bin/sh\nexec true\n"),
    ("registry-text", "registry", "Windows Registry Editor Version 5.00\r\n".encode("utf-16")),
    ("jigdo", "jigdo", b"# JIGsaw DOwnload\n# more\n\n[Jigdo]\nVersion=1.1\n"),
    ("lfs", "git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + _DIGEST
     + b"\nsize 12345\n"),
]  # fmt: skip

#: Small files that are none of the above.
_TINY = {
    "byte": b"*",
    "words": b"some data",
    "line": b"image data\n",
    "id": b"6d3c5b1a4f7e4d0f8a2b9c1d3e5f7a9b",
    "digest-alone": _DIGEST,
    "brace": b"{",
    "brackets": b"[x]",
    "not-json": b'{"a": }',
    "smaller": b"< 5 > 3",
    "version": b"version 1\n",
    "mz": b"MZ" + bytes(600),
    "lzma-like": b"\x5d\0\0\x80\0" + bytes([7]) * 99,
    "torrent-like": b"d8:announcement",
    "zsync-like": b"zsync: done",
    "compress-like": b"\x1f\x9d\xff",
    "cpio-like": b"\xc7\x71" + b"\7" * 99,
    "page-and-nul": _PAGE + bytes(512),
    "one-key": b"name: value\n",
    "prose": b"Note: this is\nsome data\n",
    "dashes": b"---\n",
    "hash-mark": b"#!x",
    "utf-16-words": "some data".encode("utf-16"),
    "lzma-like-known": b"\x5e\0\0\x10\0" + (9).to_bytes(8, "little") + b"\0" + b"\xff" * 99,
    "lzma-like-zeros": b"\0\0\0\x10\0" + (9).to_bytes(8, "little") + bytes(600),
    "mz-far": craft.patched(bytes(9000), (0, b"MZ\x90\0\3\0\0\0\4\0"), (60, b"\0\x20")),
}

#: Programs, signatures and keys: name, format, beginning.
_RARE_HEADERS = [
    ("mach-o-fat", "mach-o", b"\xca\xfe\xba\xbe\0\0\0\2"),
    ("java", "java", b"\xca\xfe\xba\xbe\0\0\0\x3d"),
    ("registry", "registry", b"regf" + bytes(16) + struct.pack("<II", 1, 5)),
    ("pgp-signature", "pgp", bytes.fromhex("8901b30400010a001d")),
    ("pgp-signature-eddsa", "pgp", bytes.fromhex("88750400160a001d")),
    ("pgp-key", "pgp", bytes.fromhex("99020d045f0a0b0c01")),
    ("pgp-encrypted", "pgp", bytes.fromhex("85010c03010203040506070801")),
    ("uimage", "uimage", bytes.fromhex("27051956")),
    ("dtb", "dtb", bytes.fromhex("d00dfeed00001000")),
    ("android-boot", "android-boot", b"ANDROID!"),
    ("android-vendor-boot", "android-boot", b"VNDRBOOT\4"),
    ("torrent", "torrent", b"d8:announce41:http://tracker.example.org/announce"),
    ("torrent-without-tracker", "torrent", b"d4:infod6:lengthi4e4:name8:disk.iso"),
    ("zsync", "zsync", b"zsync: 0.6.2\nFilename: disk.iso\n\n\xff"),
    ("jigdo-template", "jigdo", b"JigsawDownload template 1.0 jigit/1.22\r\n"),
    ("pdf", "pdf", b"%PDF-1.7\n%\xb5\xb5"),
    ("pgp-passphrase", "pgp", bytes.fromhex("8c0d04090308")),
]

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
            _payload(name, written(data.ljust(999, b"\0")), kind)
            for name, kind, data in _RARE_PAYLOADS
        ),
        _payload("tar-v7", written(_tar_of_v7()), "tar"),
        _payload(
            "dmg", written(bytes(MIB // 2) + b"koly\0\0\0\4\0\0\2\0".ljust(512, b"\0")), "dmg"
        ),
        _payload("dmg-old", written(bytes(MIB // 2) + b"cdsaencr"), "dmg"),
        *(
            bad(name, written(data), kind, None, "format", "declared_format", declared="raw")
            for name, kind, data in _DOCUMENTS
        ),
        *(good(f"tiny-{name}", written(data), "raw", len(data)) for name, data in _TINY.items()),
        good("efi-kernel", written(_pe()), "pe", None, declared="aki"),
        *(
            good(f"{name}-kernel", written(data.ljust(999)), name, None, declared="aki")
            for name, data in (
                ("uimage", b"\x27\x05\x19\x56"),
                ("dtb", b"\xd0\x0d\xfe\xed"),
                ("android-boot", b"ANDROID!"),
            )
        ),
        good("lz4-ramdisk", written(b"\x02\x21\x4c\x18".ljust(999)), "lz4", None, declared="ari"),
        *(
            bad(
                f"pe-at-{at}",
                written(_pe(at)),
                "pe",
                None,
                "format",
                "declared_format",
                declared="raw",
            )
            for at in (4093, 4096, 20000, 32764)
        ),
        *(
            bad(
                name,
                written(data.ljust(999, b"\0")),
                kind,
                None,
                "format",
                "declared_format",
                declared="raw",
            )
            for name, kind, data in _RARE_HEADERS
        ),
        bad("pe", written(_pe()), "pe", None, "format", "declared_format", declared="raw"),
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


def _tar_of_v7() -> bytes:
    """An archive without magic number: only the checksum of the header shows what it is."""
    archive = craft.patched(_tar("disk.raw"), (257, bytes(255)))
    return craft.patched(
        archive, (148, b"%06o\0 " % sum(archive[:148] + b" " * 8 + archive[156:512]))
    )


def _pe(at: int = 0x800) -> bytes:
    kernel = craft.kernel(setup_sectors=27, magic=b"HdrS", stub=b"MZ\x90\0\3\0\0\0\4\0")
    return craft.patched(kernel, (60, at.to_bytes(4, "little")), (at, b"PE\0\0"))


def _zip() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("disk.raw", bytes(1000))
    return archive.getvalue()
