"""The checks: their names, whether they refuse by default, and what a user can do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """``meaning`` is for operators, ``hint`` for the user whose image is refused."""

    meaning: str
    refuse: bool
    hint: str


CHECKS = {
    # what an image must never have, because it reads what is not in it
    "backing_file": Check(
        "an image that is an overlay over another file",
        True,
        "Flatten it: qemu-img convert -O qcow2 <image> <new image>",
    ),
    "data_file": Check(
        "an image whose data lies in another file",
        True,
        "Convert it to an image that holds its data: qemu-img convert -O qcow2 <image> <new>",
    ),
    "parent": Check(
        "a differencing image that needs its parent",
        True,
        "Merge it with its parent and upload the whole disk",
    ),
    "extent_outside": Check(
        "a VMDK whose extents are other files or devices",
        True,
        "Convert it to one file: qemu-img convert -O vmdk -o subformat=streamOptimized",
    ),
    "polyglot": Check(
        "bytes that are valid as two formats",
        True,
        "Convert the image to a new file of one format",
    ),
    # what nobody can open safely or at all
    "unknown_features": Check(
        "feature bits that must be understood and are not",
        True,
        "Convert it with a current qemu-img to a plain image",
    ),
    "bad_header": Check(
        "header fields that cannot be",
        True,
        "The file is damaged or made by hand; export the image again",
    ),
    "bad_table": Check(
        "tables beyond the format's maxima, or placed where none can be",
        True,
        "The file is damaged or made by hand; export the image again",
    ),
    "bad_descriptor": Check(
        "a VMDK descriptor that is missing, too long or cannot be read",
        True,
        "Convert it again: qemu-img convert -O vmdk -o subformat=streamOptimized",
    ),
    "footer_mismatch": Check(
        "a footer that contradicts the header",
        True,
        "The file is damaged or made by hand; export the image again",
    ),
    "truncated": Check(
        "an image shorter than its own tables say",
        True,
        "The file was cut; compare its size and checksum with the original and upload it again",
    ),
    "corrupt": Check(
        "an image marked as corrupt by the program that wrote it",
        True,
        "Repair it: qemu-img check -r all <image>",
    ),
    "dirty_log": Check(
        "a VHDX log that would change the image when replayed",
        True,
        "Shut the machine down cleanly, or Mount-VHD and Dismount-VHD, and upload it again",
    ),
    # what depends on the site
    "encrypted": Check(
        "an image encrypted inside its format with LUKS",
        False,
        "Decrypt it: qemu-img convert with the key and no encryption options",
    ),
    "legacy_encryption": Check(
        "an image encrypted with the old AES scheme, which no current program runs",
        True,
        "Decrypt it: qemu-img convert with the key and no encryption options",
    ),
    "internal_snapshots": Check(
        "snapshots inside the image, whose data is uploaded with it",
        False,
        "Remove them: qemu-img snapshot -d <name> <image>",
    ),
    "dirty": Check(
        "an image not closed cleanly; its counts may be stale, its data is whole",
        False,
        "Repair it: qemu-img check -r all <image>",
    ),
    "virtual_size": Check(
        "a virtual size above the cap",
        True,
        "Shrink the disk (qemu-img resize --shrink), or ask the operator for a higher cap",
    ),
    "size_ratio": Check(
        "a virtual size too many times the size of the file",
        True,
        "Shrink the disk, or write the image with preallocated data",
    ),
    # what the gate itself says
    "format": Check(
        "a format that is not accepted here",
        True,
        "Convert the image to an accepted format",
    ),
    "payload": Check(
        "a compressed or archived file instead of an image",
        True,
        "Unpack it and upload the disk image inside",
    ),
    "declared_format": Check(
        "content that is not what disk_format, or a container that wraps the disk, says",
        True,
        "Set disk_format (container_format) to the format of the content, or convert the image",
    ),
}

HINTS = {name: check.hint for name, check in CHECKS.items()}
