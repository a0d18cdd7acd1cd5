"""Files are inspected as streams are, and read only where a parser looks."""

import os
import random

import pytest

from imsgate import errors
from imsgate.formats.files import describe, inspect_file
from imsgate.formats.inspector import Inspector
from tests.formats.test_inspector import qcow2

MIB = 1 << 20
TIB = 1 << 40


def vhd_footer() -> bytes:
    """The footer of a fixed VHD of 8 MiB, by which alone it is recognized."""
    footer = bytearray(512)
    footer[:16] = b"conectix\0\0\0\2\0\1\0\0"
    footer[16:24] = b"\xff" * 8
    footer[48:56] = footer[40:48] = (8 * MIB).to_bytes(8, "big")
    footer[60:64] = (2).to_bytes(4, "big")
    footer[64:68] = ((1 << 32) - 1 - sum(footer)).to_bytes(4, "big")
    return bytes(footer)


IMAGES = {
    "empty": b"",
    "short": b"x",
    "raw": random.Random(1).randbytes(5 * MIB + 3),
    "qcow2": qcow2().ljust(6 * MIB, b"\0"),
    "truncated": qcow2()[:70_000],
    "fixed VHD": bytes(8 * MIB) + vhd_footer(),
    "elf": b"\x7fELF" + bytes(4 * MIB),
    "iso": bytes(32768) + b"\1CD001\1" + bytes(4 * MIB),
}


def result(inspection, work):
    try:
        work()
    except errors.BadImage as error:
        return str(error), inspection.partial_info()
    return None, inspection.partial_info()


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("declared", [None, "raw", "qcow2", "vhd"])
@pytest.mark.parametrize("keep_going", [False, True])
def test_the_result_is_that_of_the_stream(tmp_path, name, declared, keep_going):
    (tmp_path / "image").write_bytes(IMAGES[name])
    streamed = Inspector().begin(declared, keep_going=keep_going)

    def stream():
        streamed.feed(IMAGES[name])
        streamed.finish()

    expected = result(streamed, stream)
    inspected = Inspector().begin(declared, keep_going=keep_going)
    with open(tmp_path / "image", "rb", buffering=0) as file:
        assert result(inspected, lambda: inspect_file(file, inspected)) == expected


@pytest.mark.parametrize("head", [b"", qcow2()], ids=["raw", "qcow2"])
def test_a_large_file_takes_no_time(tmp_path, head):
    """To read all of it would take hours."""
    with open(tmp_path / "disk", "wb") as file:
        file.write(head)
        file.truncate(TIB)
    inspection = Inspector().begin()
    with open(tmp_path / "disk", "rb", buffering=0) as file:
        inspect_file(file, inspection)
    assert inspection.image_info.format == ("qcow2" if head else "raw")


def test_a_pipe_is_read_whole():
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as file:
        with open(writer, "wb") as pipe:
            pipe.write(b"\x7fELF" + bytes(1020))
        inspection = Inspector().begin(keep_going=True)
        with pytest.raises(errors.BadImage):
            inspect_file(file, inspection)
    said = describe("a\udcff", inspection.partial_info(), "refuse").splitlines()
    assert said[:2] == [
        "a\N{REPLACEMENT CHARACTER}: refuse: elf",
        "    format at byte 0: the content is elf",
    ]
