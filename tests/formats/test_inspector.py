"""The gate as its callers use it."""

import pytest

from imsgate import errors
from imsgate.formats.inspector import InspectionPolicy, Inspector


def qcow2(*, backing: int = 0, features: int = 0) -> bytes:
    """The header of an empty version 3 image of 10 MiB, and room for its tables."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(4)
    head += (16).to_bytes(4, "big") + (10 << 20).to_bytes(8, "big") + bytes(4)
    head += (1).to_bytes(4, "big") + (0x30000).to_bytes(8, "big")
    head += (0x10000).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(12)
    head += features.to_bytes(8, "big") + bytes(16) + (4).to_bytes(4, "big")
    head += (104).to_bytes(4, "big")
    return head.ljust(0x40000, b"\0")


def put(data: bytes, declared: str | None = None, policy: InspectionPolicy | None = None):
    inspection = Inspector(policy).begin(declared)
    inspection.feed(data)
    inspection.finish()
    return inspection.image_info


def test_a_plain_qcow2_is_accepted():
    facts = put(qcow2(), "qcow2")
    assert (facts.format, facts.virtual_size, facts.findings) == ("qcow2", 10 << 20, ())


def test_bytes_without_a_mark_are_raw():
    facts = put(bytes(100), "raw")
    assert (facts.format, facts.virtual_size) == ("raw", 100)


@pytest.mark.parametrize(
    ("data", "check", "offset"),
    [
        pytest.param(qcow2(backing=0x200), "backing_file", 8, id="backing"),
        pytest.param(qcow2(features=4), "data_file", 72, id="data-file"),
        pytest.param(qcow2(features=32), "unknown_features", 72, id="unknown-bit"),
        pytest.param(b"# Disk DescriptorFile\n", "extent_outside", 0, id="descriptor"),
    ],
)
def test_what_is_dangerous_is_refused(data, check, offset):
    with pytest.raises(errors.BadImage) as caught:
        put(data)
    assert caught.value.details["check"] == check
    assert caught.value.details["offset"] == offset
    assert caught.value.details["hint"]


@pytest.mark.parametrize(
    ("data", "declared"),
    [
        pytest.param(qcow2(), "raw", id="qcow2-as-raw"),
        pytest.param(bytes(1024), "qcow2", id="raw-as-qcow2"),
    ],
)
def test_the_label_must_fit_the_content(data, declared):
    with pytest.raises(errors.FormatMismatch):
        put(data, declared)


def test_a_refused_stream_stays_refused():
    inspection = Inspector().begin("raw")
    for call in (
        lambda: inspection.feed(qcow2()),
        lambda: inspection.feed(b"x"),
        inspection.finish,
    ):
        with pytest.raises(errors.FormatMismatch):
            call()


def test_unknown_names_in_a_policy_are_refused():
    with pytest.raises(ValueError, match="floppy"):
        InspectionPolicy(formats=frozenset(["floppy"]))
