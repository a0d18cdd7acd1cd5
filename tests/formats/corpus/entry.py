"""One row of the manifest."""

from dataclasses import dataclass
from pathlib import Path

from tests.formats.workshop import MIB, Recipe

GIB, TIB = 1 << 30, 1 << 40
DISK = 10 * MIB


@dataclass(frozen=True)
class Entry:
    """One file: what it is, what the gate must say of it.

    ``virtual_size`` -1 stands for the size of the file. ``declared`` is the disk_format it
    is uploaded with (its own format if not said), ``qemu`` the name it has for qemu-img,
    None when qemu-img does not know it.
    """

    name: str
    make: Recipe
    format: str
    virtual_size: int | None
    findings: tuple[str, ...] = ()
    declared: str = ""
    qemu: str | None = None
    accept: bool = False

    @property
    def verdict(self) -> str:
        return "accept" if self.accept else "refuse"


_QEMU = {
    "qcow": "qcow",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vdi": "vdi",
    "qed": "qed",
    "raw": "raw",
    "iso": "raw",
    "udf": "raw",
}


def good(name: str, make: Recipe, format_: str, size: int, *notes: str, **more: object) -> Entry:
    more.setdefault("qemu", _QEMU.get(format_))
    return Entry(name, make, format_, size, notes, accept=True, **more)  # type: ignore[arg-type]


def bad(
    name: str, make: Recipe, format_: str, size: int | None, *checks: str, declared: str = ""
) -> Entry:
    return Entry(name, make, format_, size, checks, declared)


def manifest_row(entry: Entry, path: Path) -> dict[str, object]:
    """What the manifest says of one file that was made."""
    size = path.stat().st_size if entry.virtual_size == -1 else entry.virtual_size
    return {
        "file": path.name,
        "format": entry.format,
        "virtual_size": size,
        "disk_format": entry.declared or entry.format,
        "verdict": entry.verdict,
        "findings": sorted(entry.findings),
    }
