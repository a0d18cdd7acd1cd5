"""What a user can do whose image is refused for its format."""

from collections.abc import Collection

from imsgate.formats.checks import HINTS
from imsgate.formats.names import (
    DOCUMENTS,
    PAYLOADS,
    PROGRAMS,
    Declaration,
    could_be_boot_file,
    disk_format_of,
    is_vhd,
    option_of,
)

_AS_BOOT_FILE = "If it is a kernel or a ramdisk, set disk_format to aki or ari"
_NO_FOOTER = (
    "A fixed VHD ends with a footer of 512 bytes, which this file lacks. It is incomplete or not a "
    "VHD: compare its size and checksum with the original, or export it again"
)


_INSTEAD = (
    "The file is a text or a document instead of an image, for instance an error page of the "
    "server it was downloaded from. Check the address or the path, and upload the image itself"
)
_PGP = "The file is a signature, a key or encrypted data of PGP. Upload the image itself, decrypted"
_DESCRIPTION = "The file describes a download. Upload the image that it leads to"
_PROGRAM = "The file belongs on a disk. Upload a disk image that contains it"


def _for_content(content: str) -> str:
    if content == "pgp":
        return _PGP
    if content in ("torrent", "zsync", "jigdo"):
        return _DESCRIPTION
    if content in DOCUMENTS:
        return _INSTEAD
    if content in PROGRAMS:
        return _PROGRAM
    return HINTS["payload" if content in PAYLOADS else "format"]


def for_refused(candidates: Collection[str], declared: Declaration | None) -> str:
    """For content that the operator does not accept."""
    if len(candidates) != 1:
        return HINTS["format"]
    content = min(candidates)
    steps = [_for_content(content)]
    if could_be_boot_file(content) and declared is None:
        steps.append(_AS_BOOT_FILE)
    steps.append(f"The operator can accept this format: [sniff] {option_of(content)}")
    return ". ".join(steps)


def for_mismatch(
    candidates: Collection[str],
    declared: Declaration,
    allowed: Collection[str],
    accepted: Collection[str],
) -> str:
    """For content whose format is not one of ``allowed``, those that are declared."""
    if len(candidates) != 1:
        return HINTS["declared_format"]
    content = min(candidates)
    if content == "raw" and is_vhd(declared.name):
        return _NO_FOOTER
    disk_format = disk_format_of(content)
    if "raw" not in allowed:
        return HINTS["declared_format"] if disk_format else _for_content(content)
    steps = [
        f"Set disk_format to {disk_format}, or convert the image"
        if disk_format
        else _for_content(content)
    ]
    if could_be_boot_file(content):
        steps.append(_AS_BOOT_FILE)
    options = [f"[sniff] raw_may_hold = {content}"]
    if content not in accepted:
        options.insert(0, f"[sniff] {option_of(content)}")
    steps.append(f"The operator can accept it as it is: {' and '.join(options)}")
    return ". ".join(steps)
