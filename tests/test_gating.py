"""The label of an image against its content, whatever container it says it has."""

import gzip
import io
import tarfile

import pytest

from imsgate import errors, gating
from imsgate.formats.gate import Gate, Policy
from imsgate.formats.names import FORMATS
from imsgate.testing.records import image
from tests.formats.test_gate import qcow2

RAW = bytes(1024)


def tar(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


TAR, OVA, GZIP = tar("layer"), tar("disk.ovf"), gzip.compress(RAW)
LABELS = ("bare", "ovf", "ami", "aki", "ari", None)
REFUSED = [
    *(("raw", label, qcow2()) for label in (*LABELS, "ova", "docker", "compressed")),
    *((kind, kind, qcow2()) for kind in ("ami", "aki", "ari")),
    *(("qcow2", label, RAW) for label in (*LABELS, "ova", "docker", "compressed")),
    ("qcow2", "docker", qcow2()),
    ("raw", "docker", GZIP),
    ("raw", "ova", GZIP),
    ("raw", "compressed", TAR),
    ("raw", "ovf", TAR),
    (None, "docker", qcow2()),
]
TAKEN = [
    *(("raw", label, RAW) for label in LABELS),
    *(("qcow2", label, qcow2()) for label in LABELS),
    *((kind, kind, RAW) for kind in ("ami", "aki", "ari")),
    *((kind, kind, data) for kind in ("aki", "ari") for data in (GZIP, b"\x7fELF" + RAW)),
    ("raw", "docker", TAR),
    ("vmdk", "ova", OVA),
    ("vmdk", "ova", TAR),
    ("qcow2", "compressed", GZIP),
    (None, None, qcow2()),
    (None, "ovf", qcow2()),
]


def put(disk_format: str | None, container_format: str | None, data: bytes) -> None:
    record = image(disk_format=disk_format, container_format=container_format)
    # Where everything is accepted, the label alone decides.
    inspection = Gate(Policy(formats=frozenset(FORMATS))).begin(gating.declared(record))
    inspection.feed(data)
    inspection.finish()


@pytest.mark.parametrize(("disk_format", "container_format", "data"), REFUSED)
def test_content_that_its_label_denies(disk_format, container_format, data):
    with pytest.raises(errors.FormatMismatch):
        put(disk_format, container_format, data)


@pytest.mark.parametrize(("disk_format", "container_format", "data"), TAKEN)
def test_content_that_its_label_says(disk_format, container_format, data):
    put(disk_format, container_format, data)
