"""An image of the corpus, and its row in the manifest."""

from dataclasses import dataclass
from pathlib import Path

from tests.formats.workshop import MIB, Recipe

GIB, TIB = 1 << 30, 1 << 40
DISK = 10 * MIB


@dataclass(frozen=True)
class Entry:
    """A file, and the right result of its inspection.

    ``virtual_size`` is in bytes; -1 stands for the size of the file. ``findings`` are names of
    checks. ``declared`` is the disk_format of its upload (default: ``format``). ``qemu`` is
    qemu-img's name of the format, None if qemu-img does not support it.
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


def good(
    name: str, make: Recipe, format_: str, size: int | None, *checks: str, **fields: object
) -> Entry:
    """An image that is accepted, possibly with findings of ``checks``."""
    fields.setdefault("qemu", _QEMU.get(format_))
    return Entry(
        name,
        make,
        format_,
        size,
        checks,
        accept=True,
        **fields,  # type: ignore[arg-type]
    )


def bad(
    name: str, make: Recipe, format_: str, size: int | None, *checks: str, declared: str = ""
) -> Entry:
    """An image that is refused because of ``checks``."""
    return Entry(name, make, format_, size, checks, declared)


def manifest_row(entry: Entry, path: Path) -> dict[str, object]:
    """The row of the manifest for the file that ``entry`` has created at ``path``."""
    size = path.stat().st_size if entry.virtual_size == -1 else entry.virtual_size
    return {
        "file": path.name,
        "format": entry.format,
        "virtual_size": size,
        "disk_format": entry.declared or entry.format,
        "verdict": entry.verdict,
        "findings": sorted(entry.findings),
    }
