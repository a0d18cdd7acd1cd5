"""Raw disks, LUKS, and boot files."""

from tests.formats import craft
from tests.formats.corpus.entry import Entry, bad, good
from tests.formats.craft import be
from tests.formats.workshop import MIB, SEED, Recipe, cut, packed, sized, written

_EXT4 = sized(4 * MIB, ("mkfs.ext4", "-q", "-F", "{}"))
_GPT = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "{}"))
_HYBRID_GPT = sized(4 * MIB, ("sgdisk", "-n", "1:2048:6000", "-h", "1", "{}"))
_MBR = written(craft.mbr((0x83, 8, 4000)).ljust(2 * MIB, b"\0"))
_SFDISK = sized(4 * MIB, ("sh", "-c", "echo 2048,4096,83 | sfdisk -q {}"))


def disks() -> list[Entry]:
    return [
        *_raw(),
        *_boot_sectors(),
        *_luks(),
        *_boot_files(),
        *_truncated(),
        *_declared_wrongly(),
    ]


def _raw() -> list[Entry]:
    return [
        good("zeros", written(bytes(MIB)), "raw", MIB),
        good("random", written(SEED), "raw", len(SEED)),
        good("nothing", written(b""), "raw", 0),
        good("one-byte", written(b"x"), "raw", 1),
        good("as-ami", written(SEED), "raw", len(SEED), declared="ami"),
        good("ext4", _EXT4, "raw", 4 * MIB),
        good("fat", sized(4 * MIB, ("mkfs.vfat", "{}")), "raw", 4 * MIB),
        good("fat32", sized(40 * MIB, ("mkfs.vfat", "-F", "32", "{}")), "raw", 40 * MIB),
        good("ntfs", sized(4 * MIB, ("mkntfs", "-q", "-F", "-f", "{}")), "raw", 4 * MIB),
        good("mbr", _MBR, "raw", 2 * MIB),
        good("mbr-sfdisk", _SFDISK, "raw", 4 * MIB),
        good("mbr-empty", written(craft.mbr().ljust(MIB, b"\0")), "raw", MIB),
        good("gpt", _GPT, "raw", 4 * MIB),
        good("gpt-as-gpt", _GPT, "raw", 4 * MIB, declared="gpt"),
        good("gpt-hybrid", _HYBRID_GPT, "raw", 4 * MIB),
    ]


#: Names of boot sectors that belong to a file system, and their offsets.
_BOOT_SECTORS = {
    "bitlocker": (b"-FVE-FS-", 3),
    "refs": (b"ReFS\0\0\0\0", 3),
    "extlinux": (b"EXTLINUX", 3),
    "hpfs": (b"HPFS    ", 54),
}


def _boot_sectors() -> list[Entry]:
    """Boot sectors with bytes that an MBR would call a partition beyond the end."""
    new = craft.kernel(setup_sectors=27, magic=b"HdrS\x0f\x02")
    unlucky = craft.kernel(magic=b"HdrS")
    return [
        *(
            good(f"boot-{name}", written(craft.boot_sector(magic, at).ljust(MIB)), "raw", MIB)
            for name, (magic, at) in _BOOT_SECTORS.items()
        ),
        good("kernel-new", written(new), "raw", 2 * MIB),
        good("kernel-unlucky", written(unlucky), "raw", 2 * MIB),
        good("kernel-old", written(craft.kernel(setup_sectors=4)), "raw", 2 * MIB),
    ]


def _luks() -> list[Entry]:
    invalid_version = (b"LUKS\xba\xbe" + be(9, 2)).ljust(MIB, b"\0")
    return [
        good("luks1", _luks_disk(6 * MIB, version=1), "luks", 4 * MIB, qemu="luks"),
        good("luks2", _luks_disk(20 * MIB, version=2), "luks", 4 * MIB),
        bad("luks-version", written(invalid_version), "luks", None, "bad_header"),
        bad("luks-cut", cut(_luks_disk(6 * MIB, version=1), to=4096), "luks", 0, "truncated"),
    ]


def _luks_disk(size: int, version: int) -> Recipe:
    """A disk whose header takes all but 4 MiB of ``size`` bytes."""
    command = (
        f"printf abc | cryptsetup luksFormat -q --type luks{version} {{}} - "
        "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
    )
    return sized(size, ("sh", "-c", command))


def _boot_files() -> list[Entry]:
    plausible = craft.patched(craft.kernel(), (0x1F4, b"\1"))  # valid as an entry of an MBR
    return [
        good("kernel", written(b"\x7fELF" + SEED[:999]), "elf", None, declared="aki"),
        good("kernel-x86", written(craft.kernel()), "raw", 2 * MIB, declared="aki"),
        good("kernel-plausible", written(plausible), "raw", 2 * MIB, declared="aki"),
        good("ramdisk", packed("gzip"), "gzip", None, declared="ari"),
    ]


def _truncated() -> list[Entry]:
    """Disks whose last partition is incomplete."""
    return [
        bad("mbr-cut", cut(_MBR, to=MIB), "raw", MIB, "truncated"),
        bad("gpt-cut", cut(_GPT, to=2 * MIB), "raw", 2 * MIB, "truncated"),
        bad("gpt-hybrid-cut", cut(_HYBRID_GPT, to=2 * MIB), "raw", 2 * MIB, "truncated"),
    ]


def _declared_wrongly() -> list[Entry]:
    return [
        bad("raw-as-qcow2", written(SEED), "raw", len(SEED), "declared_format", declared="qcow2"),
        bad("ext4-as-vdi", _EXT4, "raw", 4 * MIB, "declared_format", declared="vdi"),
    ]
