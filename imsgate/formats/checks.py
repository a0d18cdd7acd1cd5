"""The checks of a format inspection: name, default verdict, and what a user can do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    ``meaning`` completes the sentence "Refuse ..." in the help of the option
    ``[sniff] refuse_NAME``. ``refuse`` is the default of that option. ``hint`` tells the user
    whose image is refused how to get an image that is accepted.
    """

    meaning: str
    refuse: bool
    hint: str


_FLATTEN = "Convert it to a self-contained image: qemu-img convert -O qcow2 <image> <new image>"
_EXPORT_AGAIN = "The file is damaged or was made by hand. Export the image again"
_SINGLE_VMDK = (
    "Convert it to a VMDK in a single file: "
    "qemu-img convert -O vmdk -o subformat=streamOptimized <image> <new image>"
)
_DECRYPT = (
    "Decrypt it: qemu-img convert, with the key (--object secret) and without encryption options "
    "for the new image"
)
_REPAIR = "Repair it: qemu-img check -r all <image>"

CHECKS = {
    # The image refers to other files: a program that opens it would read them.
    "backing_file": Check(
        meaning="an image that has a backing file: reading the image would read that file too",
        refuse=True,
        hint=_FLATTEN,
    ),
    "data_file": Check(
        meaning="an image whose data is in an external file", refuse=True, hint=_FLATTEN
    ),
    "parent": Check(
        meaning="a differencing disk, which is incomplete without its parent disk",
        refuse=True,
        hint="Merge it into its parent and upload the merged disk",
    ),
    "extent_outside": Check(
        meaning="a VMDK whose data is in other files or devices",
        refuse=True,
        hint=_SINGLE_VMDK,
    ),
    "polyglot": Check(
        meaning="a file that is valid in two formats, because programs may disagree on its content",
        refuse=True,
        hint="Convert the image to a new file, which is valid in one format only",
    ),
    # The image cannot be opened safely, or not at all.
    "unknown_features": Check(
        meaning="an image that uses format features which this server does not support",
        refuse=True,
        hint="Convert it with a current qemu-img to a new image without optional features",
    ),
    "bad_header": Check(
        meaning="an image with invalid or contradictory header fields",
        refuse=True,
        hint=_EXPORT_AGAIN,
    ),
    "bad_table": Check(
        meaning="an image whose internal tables are too large or at an invalid offset",
        refuse=True,
        hint=_EXPORT_AGAIN,
    ),
    "bad_descriptor": Check(
        meaning="a VMDK whose descriptor is missing, too long or invalid",
        refuse=True,
        hint=_SINGLE_VMDK,
    ),
    "footer_mismatch": Check(
        meaning="an image whose header and footer, or whose two copies of a header, contradict "
        "each other",
        refuse=True,
        hint=_EXPORT_AGAIN,
    ),
    "truncated": Check(
        meaning="an image that is shorter than its own header and tables require",
        refuse=True,
        hint=(
            "The file is incomplete. Compare its size and checksum with the original, then upload "
            "it again"
        ),
    ),
    "corrupt": Check(
        meaning="an image that is marked as corrupt",
        refuse=True,
        hint=_REPAIR,
    ),
    "dirty_log": Check(
        meaning="a VHDX with unreplayed log entries: opening it would change its content",
        refuse=True,
        hint=(
            "Shut down the virtual machine cleanly, or attach and detach the disk (Mount-VHD, "
            "Dismount-VHD), then upload it again"
        ),
    ),
    # It depends on the site whether these are a problem.
    "encrypted": Check(
        meaning="a qcow2 image that is encrypted with LUKS inside the format",
        refuse=False,
        hint=_DECRYPT,
    ),
    "legacy_encryption": Check(
        meaning=(
            "an image with the old AES encryption of qcow and qcow2, which is insecure and which "
            "QEMU no longer accepts for virtual machines"
        ),
        refuse=True,
        hint=_DECRYPT,
    ),
    "internal_snapshots": Check(
        meaning="an image with internal snapshots, whose data is uploaded with it",
        refuse=False,
        hint="Delete them: qemu-img snapshot -d <name> <image>",
    ),
    "dirty": Check(
        meaning=(
            "an image that was not closed cleanly. Its data is complete, but its reference counts "
            "or tables may be outdated"
        ),
        refuse=False,
        hint=_REPAIR + ", or convert it to a new image with qemu-img convert",
    ),
    "virtual_size": Check(
        meaning="an image with a virtual size above the limit",
        refuse=True,
        hint="Shrink the disk (qemu-img resize --shrink), or ask the operator for a higher limit",
    ),
    "size_ratio": Check(
        meaning="an image whose virtual size is too many times the size of the file",
        refuse=True,
        hint=(
            "Shrink the disk (qemu-img resize --shrink), or preallocate its data (qemu-img convert "
            "-o preallocation=full)"
        ),
    ),
    # The content is not of a format that is accepted or declared.
    "format": Check(
        meaning="an image in a format that is not accepted",
        refuse=True,
        hint="Convert it to an accepted format: qemu-img convert -O qcow2 <image> <new image>",
    ),
    "payload": Check(
        meaning="a compressed file or an archive instead of a disk image",
        refuse=True,
        hint="Unpack it and upload the disk image that it contains",
    ),
    "declared_format": Check(
        meaning="content that does not match disk_format, or container_format if it wraps the disk",
        refuse=True,
        hint="Set disk_format (or container_format) to the format of the content, or convert the "
        "image",
    ),
    # Reported while an import decompresses an image, not by the inspection.
    "compression": Check(
        meaning="compressed data that is damaged or decompresses to too many times its size",
        refuse=True,
        hint="Compress the image again, or upload it uncompressed",
    ),
}

HINTS = {name: check.hint for name, check in CHECKS.items()}
