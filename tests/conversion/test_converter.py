"""Images of every format, converted and compared with the originals by qemu-img."""

import os

import pytest

from imsgate import errors
from imsgate.conversion.converter import QEMU_NAMES
from tests.conversion.conftest import files_in, spooled
from tests.formats import workshop
from tests.formats.workshop import MIB

LIMIT = 64 * MIB

#: Recipes by the format of the image.
SOURCES = {
    "raw": workshop.converted("raw"),
    "qcow": workshop.converted("qcow"),
    "qcow2": workshop.converted("qcow2"),
    "qcow2-compressed": workshop.converted("qcow2", "-c"),
    "qed": workshop.converted("qed"),
    "vdi": workshop.converted("vdi"),
    "vhd": workshop.converted("vpc"),
    "vhd-fixed": workshop.converted("vpc", subformat="fixed"),
    "vhdx": workshop.converted("vhdx"),
    "vmdk": workshop.converted("vmdk"),
    "vmdk-stream": workshop.converted("vmdk", subformat="streamOptimized"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    directory = tmp_path_factory.mktemp("images")
    for name, make in SOURCES.items():
        make(directory / name)
    return directory


def convert(converter, space, path, content, limit=LIMIT):
    """The scratch file with the result, what was measured, and what was reported."""
    source, parts = spooled(space, path), []
    measured = converter.measure(source, content, limit, lambda: None)
    result = converter.convert(source, content, measured, space, lambda: None, parts.append)
    return result, measured, parts


def path_of(file):
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


@pytest.mark.parametrize("output", ["raw", "qcow2", "vmdk"])
@pytest.mark.parametrize("name", SOURCES)
def test_every_pair_of_formats(converter, scratch, images, name, output):
    content = name.partition("-")[0]
    assert converter.converts(content) == (content != output)
    with scratch.reservation() as space:
        result, measured, parts = convert(converter, space, images / name, content)
        formats = ("-f", QEMU_NAMES[content], "-F", output)
        workshop.call("qemu-img", "compare", *formats, images / name, path_of(result))
        status = os.fstat(result.fileno())
        assert status.st_size <= measured.largest
        assert status.st_blocks * 512 <= measured.needed
        if output == "raw":
            assert status.st_size >= 10 * MIB
            assert status.st_blocks * 512 < 2 * MIB, "zeros are holes"
    assert parts[-1] == 1.0
    assert parts == sorted(parts)
    assert files_in(scratch) == []


def test_a_result_above_the_limit_is_not_made(converter, scratch, images):
    with scratch.reservation() as space, pytest.raises(errors.TooLarge):
        convert(converter, space, images / "qcow2", "qcow2", limit=10 * MIB - 1)


@pytest.mark.parametrize("output", ["qcow2"])
def test_only_the_data_of_a_qcow2_counts(converter, scratch, tmp_path, output):
    workshop.created("vdi", "1G")(tmp_path / "disk")
    with scratch.reservation() as space:
        result, _, _ = convert(converter, space, tmp_path / "disk", "vdi", limit=MIB)
        assert os.fstat(result.fileno()).st_size < MIB
        with pytest.raises(errors.TooLarge):
            convert(converter, space, tmp_path / "disk", "vdi", limit=1000)


def test_what_qemu_img_says_is_one_line(converter, scratch, images):
    """The image ends within its header."""
    with scratch.reservation() as space:
        source = spooled(space, images / "vdi")
        source.truncate(100)
        with pytest.raises(errors.ConversionFailed) as caught:
            converter.measure(source, "vdi", LIMIT, lambda: None)
    assert str(caught.value).startswith("qemu-img could not convert the image: Could not open 'the")
    assert "\n" not in str(caught.value)
    assert "/proc" not in str(caught.value)


def test_the_format_is_not_detected(converter, scratch, images):
    """A raw disk that contains a qcow2 is a disk, whatever qemu-img would detect."""
    with scratch.reservation() as space:
        source = spooled(space, images / "qcow2")
        converter.output_format = "vmdk"
        measured = converter.measure(source, "raw", LIMIT, lambda: None)
        result = converter.convert(source, "raw", measured, space, lambda: None, lambda part: None)
        raw = ("-f", "raw", "-F", "vmdk", images / "qcow2", path_of(result))
        workshop.call("qemu-img", "compare", *raw)
