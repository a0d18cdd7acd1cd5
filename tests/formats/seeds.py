"""Small images of every format, written by hand, from which fuzzing starts."""

from tests.formats import craft
from tests.formats.craft import be, le

SEEDS = {
    "qcow2": craft.qcow2(),
    "qcow2-extension": craft.with_extension(craft.qcow2(), 0x44415441, b"x"),
    "qcow1": (b"QFI\xfb" + be(1, 4) + bytes(16) + be(1 << 20, 8) + b"\x0c\x09" + bytes(6))
    + be(48, 8)
    + be(4096, 8) * 99
    + bytes(8192),
    "vmdk": craft.vmdk(craft.descriptor()),
    "stream": craft.vmdk_stream(),
    "descriptor": craft.descriptor("vmfs", 'RW 8 VMFS "x"'),
    "cowd": b"COWD".ljust(600, b"\1"),
    "vhd": craft.vhd_dynamic(bat=4),
    "fixed": bytes(1024) + craft.vhd_footer(1024),
    "vdi": craft.vdi(allocated=1, entry=0),
    "qed": craft.patched(craft.qed(), (65536, le(131072, 8)), (131072, le(65536, 8))),
    "zvhd": craft.zvhd(),
    "zvhd2": craft.zvhd(b"z2strm"),
    "luks1": b"LUKS\xba\xbe\0\1".ljust(104, b"\0") + be(4, 4).ljust(4096, b"\0"),
    "luks2": (b"LUKS\xba\xbe\0\2" + be(16384, 8)).ljust(4096, b"\0")
    + b'{"segments":{"0":{"offset":"32768"}}}'.ljust(36000, b"\0"),
    "iso": craft.iso_primary(),
    "mbr": craft.mbr((0x83, 1, 9), (0xEE, 1, 9)).ljust(8192, b"\0"),
    "tar": bytes(257) + b"ustar\x0000".ljust(900, b"\0"),
    "text": b"stream of words\n" * 9,
}
VHDX = craft.vhdx()[: (2 << 20) + 70000]
