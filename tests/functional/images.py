"""Images that must not get in, made by hand: no program has to be installed for them."""

import struct

SECTOR = 512


def qcow2(*, incompatible: int = 0, backing: bytes = b"", size: int = 1 << 30) -> bytes:
    """The head of a qcow2 of version 3, as the format's specification has it, and its tables."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 112 if backing else 0, len(backing), 16, size, 0),
        *(2, 3 << 16, 1 << 16, 1, 0, 0, incompatible, 0, 0, 4, 104),
    )
    return (header + bytes(8) + backing).ljust(4 << 16, b"\0")


def vmdk(extent: str) -> bytes:
    """A VMDK that is its descriptor alone, with this extent."""
    descriptor = (
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\n\n{extent}\n\nddb.virtualHWVersion = "4"\n'
    )
    return descriptor.encode().ljust(SECTOR * 4, b"\0")


BACKING_FILE = qcow2(backing=b"/etc/passwd")
DATA_FILE = qcow2(incompatible=4)
UNKNOWN_FEATURE = qcow2(incompatible=1 << 40)
OUTSIDE = vmdk('RW 20480 FLAT "/etc/hosts" 0')
