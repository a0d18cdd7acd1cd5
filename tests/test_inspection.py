"""The label of an image against its content, whatever container it says it has."""

import gzip
import io
import re
import tarfile

import pytest

from imsgate import errors
from imsgate.formats.inspector import ACCEPTED, InspectionPolicy, Inspector
from imsgate.formats.names import CONTAINERS, FORMATS, disk_format_of, is_disk_format
from imsgate.formats.report import ImageInfo
from imsgate.inspection import InspectionSettings, declared_format, fields_from_content
from imsgate.records.settings import FORMAT_OPTS
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


DEFAULTS = {option.name: option.default for option in FORMAT_OPTS}
OPTIONS = {option.name for option in InspectionSettings.OPTS}


@pytest.mark.parametrize("content", sorted(ACCEPTED))
def test_every_accepted_format_can_be_declared(content):
    assert disk_format_of(content) in DEFAULTS["disk_formats"]
    assert content in DEFAULTS["disk_formats"]


def test_every_word_of_a_record_is_a_word_of_the_inspection():
    assert all(map(is_disk_format, DEFAULTS["disk_formats"]))
    assert set(DEFAULTS["container_formats"]) == set(CONTAINERS)


@pytest.mark.parametrize(
    ("disk_format", "container_format", "content", "words"),
    [
        ("raw", "bare", "a gzip", ("Unpack it", "aki or ari", "accept_gzip", "raw_may_hold")),
        ("raw", "bare", "an ELF", ("aki or ari", "accept_elf", "raw_may_hold = elf")),
        ("raw", "bare", "a qcow2", ("disk_format to qcow2", "raw_may_hold = qcow2")),
        ("ploop", "bare", "a Parallels", ("accept_parallels",)),
        ("qcow2", "ova", "an OVA", ("accept_ova",)),
        ("raw", "docker", "a tar", ("accept_tar",)),
        ("qcow2", "compressed", "a gzip", ("accept_gzip",)),
        (None, None, "a gzip", ("Unpack it", "aki or ari", "accept_gzip")),
        ("raw", "bare", "a page", ("Check the address", "accept_html", "raw_may_hold")),
        ("qcow2", "bare", "a page", ("Check the address",)),
        ("qcow2", "bare", "a gzip", ("Unpack it",)),
        ("luks", "bare", "an ELF", ("a disk image that contains it",)),
        (None, None, "a page", ("Check the address", "accept_html")),
        ("vhd", "bare", "a disk", ("footer", "incomplete")),
        ("vpc", "bare", "a disk", ("footer", "incomplete")),
    ],
)
def test_a_hint_names_the_way_out(disk_format, container_format, content, words):
    record = image(disk_format=disk_format, container_format=container_format)
    more = {"a Parallels": b"WithoutFreeSpace".ljust(512, b"\0"), "a page": b"<html>"}
    data = {**CONTENT, **more}[content]
    inspection = Inspector().begin(declared_format(record), keep_going=True)
    inspection.feed(data)
    with pytest.raises(errors.BadImage) as refused:
        inspection.finish()
    hint = refused.value.details["hint"]
    assert [word for word in words if word not in hint] == []
    assert "disk_format to raw" not in hint
    named = set(re.findall(r"accept_\w+|raw_may_hold", hint))
    assert named <= OPTIONS


@pytest.mark.parametrize("content", [b"<html>", b"\x1f\x8b\x08", b"#!/bin/sh\n"])
def test_no_option_is_named_that_does_not_help(content):
    """Whatever the options say, this content is no qcow2."""
    inspection = Inspector().begin("qcow2", keep_going=True)
    inspection.feed(content)
    with pytest.raises(errors.BadImage) as refused:
        inspection.finish()
    assert "[sniff]" not in refused.value.details["hint"]


def test_a_luks_device_without_a_declared_format_is_luks():
    record = image(disk_format=None, container_format=None)
    info = ImageInfo(format="luks", virtual_size=512)
    assert fields_from_content(record, info)["disk_format"] == "luks"


@pytest.mark.parametrize("size", [1, 511, 513, 1023])
def test_what_nothing_declares_is_no_raw_disk_unless_it_consists_of_sectors(size):
    record = image(disk_format=None, container_format=None)
    with pytest.raises(errors.BadImage) as refused:
        fields_from_content(record, ImageInfo(format="raw", virtual_size=size))
    assert refused.value.details["check"] == "format"
    whole = ImageInfo(format="raw", virtual_size=512 * size)
    assert fields_from_content(record, whole)["disk_format"] == "raw"
    declared = image(disk_format="raw", container_format=None)
    fields_from_content(declared, ImageInfo(format="raw", virtual_size=size))
