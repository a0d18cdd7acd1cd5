"""The inspector as its callers use it."""

import pytest

from imsgate import errors
from imsgate.formats.checks import CHECKS
from imsgate.formats.inspector import InspectionPolicy, Inspector


def qcow2(*, backing: int = 0, features: int = 0) -> bytes:
    """The header of an empty version 3 image of 10 MiB, and space for its tables."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(4)
    head += (16).to_bytes(4, "big") + (10 << 20).to_bytes(8, "big") + bytes(4)
    head += (1).to_bytes(4, "big") + (0x30000).to_bytes(8, "big")
    head += (0x10000).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(12)
    head += features.to_bytes(8, "big") + bytes(16) + (4).to_bytes(4, "big")
    head += (104).to_bytes(4, "big")
    return head.ljust(0x40000, b"\0")


def inspect(data: bytes, declared: str | None = None, policy: InspectionPolicy | None = None):
    inspection = Inspector(policy).begin(declared)
    inspection.feed(data)
    inspection.finish()
    return inspection.image_info


def test_a_plain_qcow2_is_accepted():
    image_info = inspect(qcow2(), "qcow2")
    properties = (image_info.format, image_info.virtual_size, image_info.findings)
    assert properties == ("qcow2", 10 << 20, ())


def test_data_without_a_magic_number_is_raw():
    image_info = inspect(bytes(100), "raw")
    assert (image_info.format, image_info.virtual_size) == ("raw", 100)


@pytest.mark.parametrize(
    ("data", "check", "offset"),
    [
        pytest.param(qcow2(backing=0x200), "backing_file", 8, id="backing"),
        pytest.param(qcow2(features=4), "data_file", 72, id="data-file"),
        pytest.param(qcow2(features=32), "unknown_features", 72, id="unknown-bit"),
        pytest.param(b"# Disk DescriptorFile\n", "extent_outside", 0, id="descriptor"),
    ],
)
def test_dangerous_images_are_refused_with_evidence_and_hint(data, check, offset):
    with pytest.raises(errors.BadImage) as caught:
        inspect(data)
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
def test_content_that_contradicts_the_declared_format_is_refused(data, declared):
    with pytest.raises(errors.FormatMismatch):
        inspect(data, declared)


def test_every_call_after_a_refusal_raises_it_again():
    inspection = Inspector().begin("raw")
    for call in (
        lambda: inspection.feed(qcow2()),
        lambda: inspection.feed(b"x"),
        inspection.finish,
    ):
        with pytest.raises(errors.FormatMismatch):
            call()


def test_a_policy_with_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="floppy"):
        InspectionPolicy(formats=frozenset(["floppy"]))


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_meanings_and_hints_fit_into_the_sentences_around_them(check):
    """The help of an option is "Refuse {meaning}."; a refusal is "... {reason}. {hint}"."""
    assert check.meaning[0].islower()
    assert check.hint[0].isupper()
    assert not check.meaning.endswith(".")
