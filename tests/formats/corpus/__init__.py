"""The corpus: images, and for each of them the right result of an inspection.

``python -m tests.formats.corpus DIRECTORY`` writes the files and ``manifest.json``.
"""

from tests.formats.corpus import (
    disks,
    others,
    payloads,
    qcow2_bad,
    qcow2_good,
    qemu,
    vhd,
    vhdx,
    vmdk,
    volumes,
)
from tests.formats.corpus.entry import Entry, manifest_row

__all__ = ["Entry", "entries", "manifest_row"]


def entries() -> list[Entry]:
    """All images, named ``family-name``."""
    families = {
        "qcow2": qcow2_good.qcow2_good() + qcow2_bad.qcow2_bad(),
        "qemu": qemu.old_qemu(),
        "vmdk": vmdk.vmdk(),
        "vhd": vhd.vhd(),
        "vhdx": vhdx.vhdx(),
        "vdi": others.vdi(),
        "zvhd": others.zvhd(),
        "iso": volumes.volumes(),
        "raw": disks.disks(),
        "other": payloads.payloads(),
    }
    return [
        Entry(**{**vars(entry), "name": f"{family}-{entry.name}"})
        for family, members in families.items()
        for entry in members
    ]
