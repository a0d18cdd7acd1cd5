"""The label of an image against its content, whatever container it says it has."""

import gzip
import io
import tarfile

import pytest

from imsgate import errors
from imsgate.formats.inspector import InspectionPolicy, Inspector
from imsgate.formats.names import FORMATS
from imsgate.inspection import declared_format
from imsgate.testing.records import image
from tests.formats.test_inspector import qcow2

RAW = bytes(1024)


def tar(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


CONTENT = {
    "a disk": RAW,
    "a qcow2": qcow2(),
    "a tar": tar("layer"),
    "an OVA": tar("disk.ovf"),
    "a gzip": gzip.compress(RAW),
    "an ELF": b"\x7fELF" + RAW,
}
LABELS = ("bare", "ovf", "ami", "aki", "ari", None)
REFUSED = [
    *(("raw", label, "a qcow2") for label in (*LABELS, "ova", "docker", "compressed")),
    *((kind, kind, "a qcow2") for kind in ("ami", "aki", "ari")),
    *(("qcow2", label, "a disk") for label in (*LABELS, "ova", "docker", "compressed")),
    ("qcow2", "docker", "a qcow2"),
    ("raw", "docker", "a gzip"),
    ("raw", "ova", "a gzip"),
    ("raw", "compressed", "a tar"),
    ("raw", "ovf", "a tar"),
    (None, "docker", "a qcow2"),
]
TAKEN = [
    *(("raw", label, "a disk") for label in LABELS),
    *(("qcow2", label, "a qcow2") for label in LABELS),
    *((kind, kind, "a disk") for kind in ("ami", "aki", "ari")),
    *((kind, kind, data) for kind in ("aki", "ari") for data in ("a gzip", "an ELF")),
    ("raw", "docker", "a tar"),
    ("vmdk", "ova", "an OVA"),
    ("vmdk", "ova", "a tar"),
    ("qcow2", "compressed", "a gzip"),
    (None, None, "a qcow2"),
    (None, "ovf", "a qcow2"),
]


def put(disk_format: str | None, container_format: str | None, content: str) -> None:
    record = image(disk_format=disk_format, container_format=container_format)
    # Where everything is accepted, the label alone decides.
    inspection = Inspector(InspectionPolicy(formats=frozenset(FORMATS))).begin(
        declared_format(record)
    )
    inspection.feed(CONTENT[content])
    inspection.finish()


@pytest.mark.parametrize(("disk_format", "container_format", "content"), REFUSED)
def test_content_that_its_label_denies(disk_format, container_format, content):
    with pytest.raises(errors.FormatMismatch):
        put(disk_format, container_format, content)


@pytest.mark.parametrize(("disk_format", "container_format", "content"), TAKEN)
def test_content_that_its_label_says(disk_format, container_format, content):
    put(disk_format, container_format, content)
