"""Raw disks, and LUKS."""

from tests.formats import craft
from tests.formats.corpus.entry import Entry, bad, good
from tests.formats.craft import be
from tests.formats.workshop import MIB, SEED, cut, packed, sized, written


def disks() -> list[Entry]:
    gpt = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "{}"))
    hybrid = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "-h", "1", "{}"))
    mbr = written(craft.mbr((0x83, 8, 4000)).ljust(2 * MIB, b"\0"))
    sfdisk = sized(4 * MIB, ("sh", "-c", "echo 2048,4096,83 | sfdisk -q {}"))
    luks_1, luks_2 = (
        (
            "sh",
            "-c",
            f"printf abc | cryptsetup luksFormat -q --type luks{version} {{}} - "
            "--pbkdf pbkdf2 --pbkdf-force-iterations 1000",
        )
        for version in (1, 2)
    )
    return [
        good("zeros", written(bytes(MIB)), "raw", MIB),
        good("random", written(SEED), "raw", len(SEED)),
        good("nothing", written(b""), "raw", 0),
        good("one-byte", written(b"x"), "raw", 1),
        good("as-ami", written(SEED), "raw", len(SEED), declared="ami"),
        good("ext4", sized(4 * MIB, ("mkfs.ext4", "-q", "-F", "{}")), "raw", 4 * MIB),
        good("fat", sized(4 * MIB, ("mkfs.vfat", "{}")), "raw", 4 * MIB),
        good("fat32", sized(40 * MIB, ("mkfs.vfat", "-F", "32", "{}")), "raw", 40 * MIB),
        good("ntfs", sized(4 * MIB, ("mkntfs", "-q", "-F", "-f", "{}")), "raw", 4 * MIB),
        good("mbr", mbr, "raw", 2 * MIB),
        good("mbr-sfdisk", sfdisk, "raw", 4 * MIB),
        good("mbr-empty", written(craft.mbr().ljust(MIB, b"\0")), "raw", MIB),
        good("gpt", gpt, "raw", 4 * MIB),
        good("gpt-as-gpt", gpt, "raw", 4 * MIB, declared="gpt"),
        good("gpt-hybrid", hybrid, "raw", 4 * MIB),
        good("luks1", sized(6 * MIB, luks_1), "luks", 4 * MIB, qemu="luks"),
        good("luks2", sized(20 * MIB, luks_2), "luks", 4 * MIB),
        good("kernel", written(b"\x7fELF" + SEED[:999]), "elf", None, declared="aki"),
        good("ramdisk", packed("gzip"), "gzip", None, declared="ari"),
        bad("mbr-cut", cut(mbr, to=MIB), "raw", MIB, "truncated"),
        bad("gpt-cut", cut(gpt, to=2 * MIB), "raw", 2 * MIB, "truncated"),
        bad("gpt-hybrid-cut", cut(hybrid, to=2 * MIB), "raw", 2 * MIB, "truncated"),
        bad(
            "luks-version",
            written((b"LUKS\xba\xbe" + be(9, 2)).ljust(MIB, b"\0")),
            "luks",
            None,
            "bad_header",
        ),
        bad("luks-cut", cut(sized(6 * MIB, luks_1), to=4096), "luks", 0, "truncated"),
        bad("raw-as-qcow2", written(SEED), "raw", len(SEED), "declared_format", declared="qcow2"),
        bad(
            "ext4-as-vdi",
            sized(4 * MIB, ("mkfs.ext4", "-q", "-F", "{}")),
            "raw",
            4 * MIB,
            "declared_format",
            declared="vdi",
        ),
    ]
