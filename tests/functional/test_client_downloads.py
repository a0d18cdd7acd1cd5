"""``imsgate download`` from a real gateway, whatever happens on the way."""

import os
import pathlib
import random

import pytest

from tests.functional.commands import Commands, finished
from tests.functional.cutting import Cutter
from tests.functional.gateway import Gateway
from tests.functional.wire import MIB

DATA = random.Random(9).randbytes(12 * MIB + 5)
INTERRUPTED = 4


@pytest.fixture
def commands(tmp_path: pathlib.Path, gateway: Gateway) -> Commands:
    return Commands.of(tmp_path, gateway)


@pytest.fixture
def image_id(gateway: Gateway) -> str:
    return gateway.stored(DATA, name="downloaded")


def parts(directory: pathlib.Path) -> list[pathlib.Path]:
    return list(directory.glob("*.part"))


def test_by_id_and_by_name(
    gateway: Gateway, commands: Commands, image_id: str, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "copy"
    done = commands.run("download", image_id, copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert copy.read_bytes() == DATA
    again = commands.run("download", image_id, copy)
    assert (again.returncode, again.stderr) == (2, f"imsgate: {copy} exists; --force replaces it\n")
    for number, name in enumerate(('a, "b" \\c', 'in:a, "b"')):
        content = bytes([number]) * 512
        gateway.stored(content, name=name)
        assert commands.run("download", name, copy, "--force").returncode == 0
        assert copy.read_bytes() == content
    gateway.create(name=name)
    done = commands.run("download", name, tmp_path / "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert "several images" in done.stderr
    assert parts(tmp_path) == []


@pytest.mark.parametrize("image", ["no-such-image", "", ".", "a/b"])
def test_no_such_image(commands: Commands, tmp_path: pathlib.Path, image: str) -> None:
    done = commands.run("download", image, tmp_path / "copy")
    assert (done.returncode, done.stderr) == (
        1,
        "imsgate: there is no image with this name or id\n",
    )


def test_an_image_without_data(
    gateway: Gateway, commands: Commands, tmp_path: pathlib.Path
) -> None:
    image_id = gateway.create()
    done = commands.run("download", image_id, tmp_path / "copy")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"image {image_id} is queued, but must be active" in done.stderr


class Downstream(Cutter):
    """A proxy that ends connections at positions of what the server sends."""

    reset = False

    def __init__(self, port: int, every: int, times: int) -> None:
        super().__init__(port)
        self._every = every
        self._times = times
        self._passed = 0

    def loses(self, response: bytes) -> bool:
        self._passed += len(response)
        if self._passed < self._every or not self._times:
            return False
        self._passed = 0
        self._times -= 1
        self.made += 1
        return True


def test_a_download_that_is_cut_goes_on(
    gateway: Gateway, commands: Commands, image_id: str, tmp_path: pathlib.Path
) -> None:
    with Downstream(gateway.port, 2 * MIB, 5) as proxy:
        done = commands.at(proxy.url).run("download", image_id, tmp_path / "copy")
    assert (done.returncode, proxy.made) == (0, 5), done.stderr
    assert (tmp_path / "copy").read_bytes() == DATA
    assert proxy.returned < len(DATA) + MIB


def test_a_client_that_dies(
    gateway: Gateway, commands: Commands, image_id: str, tmp_path: pathlib.Path
) -> None:
    copy, part = tmp_path / "copy", tmp_path / f"copy.{image_id}.part"
    with Downstream(gateway.port, 6 * MIB, 1000) as proxy:
        process = commands.at(proxy.url).start("download", image_id, copy, "--patience", 0)
        status, said = finished(process)
    assert status == INTERRUPTED
    assert "run the same command again to continue" in said
    received = part.stat().st_size
    assert 5 * MIB < received <= 6 * MIB
    assert not copy.exists()
    with Downstream(gateway.port, 1 << 40, 0) as proxy:
        done = commands.at(proxy.url).run("download", image_id, copy)
    assert (done.returncode, copy.read_bytes() == DATA) == (0, True), done.stderr
    assert proxy.returned < len(DATA) - received + MIB
    assert parts(tmp_path) == []


@pytest.mark.parametrize("content", [b"damaged", DATA[:-1] + b"!", DATA + b"more"])
def test_a_part_that_is_damaged(
    commands: Commands, image_id: str, tmp_path: pathlib.Path, content: bytes
) -> None:
    copy, part = tmp_path / "copy", tmp_path / f"copy.{image_id}.part"
    part.write_bytes(content)
    done = commands.run("download", image_id, copy)
    if len(content) <= len(DATA):
        assert (done.returncode, done.stdout) == (1, "")
        assert "the data differs: its sha512 is " in done.stderr
        assert (copy.exists(), part.exists()) == (False, False)
        done = commands.run("download", image_id, copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert copy.read_bytes() == DATA


def test_to_standard_output(commands: Commands, image_id: str, tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        assert finished(commands.start("download", image_id, "-", stdout=out)) == (0, "")
    assert (tmp_path / "out").read_bytes() == DATA
    reader, writer = os.pipe()
    with open(writer, "wb") as pipe:
        os.close(reader)
        broken = commands.start("download", image_id, "-", stdout=pipe)
    assert finished(broken) == (141, "")


def test_where_it_cannot_be_written(
    commands: Commands, image_id: str, tmp_path: pathlib.Path
) -> None:
    done = commands.run("download", image_id, tmp_path / "missing" / "copy")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No such file or directory" in done.stderr


def test_damaged_on_the_way(gateway: Gateway, commands: Commands, tmp_path: pathlib.Path) -> None:
    image_id = gateway.stored(DATA[: 2 * MIB])
    (stored,) = gateway.residue(image_id)
    with open(stored, "r+b") as file:
        file.seek(MIB)
        file.write(b"\0")
    done = commands.run("download", image_id, tmp_path / "copy")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the data differs" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == []
