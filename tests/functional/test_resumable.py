"""Uploads that are cut and go on, with the clients that people use, unchanged."""

import filecmp
import hashlib
import pathlib
import random
from collections.abc import Iterator

import pytest

from tests.functional import resuming
from tests.functional.conftest import needs, needs_program
from tests.functional.cutting import Cutter
from tests.functional.gateway import Gateway, eventually, serving
from tests.functional.wire import MIB

SIZE = 64 * MIB
CUTS = 20

#: The clients, and the protocols that they speak.
CLIENTS = ("curl", "tuspy", "tus-v1", "ietf-draft-03", "ietf-draft-05")

#: With two processes, a cut upload usually goes on in the other one. Jobs then verify it.
CONFIG = "[jobs]\npoll = 0.2\n"


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("resumable"), config=CONFIG)) as gateway:
        yield gateway


@pytest.fixture
def server(_server: Gateway) -> Iterator[Gateway]:
    yield _server
    _server.check_log()


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The directory in which node finds tus-js-client."""
    for program in ("node", "npm"):
        needs_program(program)
    directory = tmp_path_factory.mktemp("npm")
    installed = resuming.install_tus_js(directory)
    needs(installed.returncode == 0, f"{resuming.TUS_JS} from npm: {installed.stdout}")
    return directory / "node_modules"


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> resuming.Client:
    if request.param == "curl":
        needs_program("curl")
        return resuming.CURL
    if request.param == "tuspy":
        needs(resuming.HAS_TUSPY, "the Python package tuspy")
        return resuming.TUSPY
    return resuming.tus_js(request.getfixturevalue("modules"), request.param)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A raw image of SIZE bytes."""
    file = tmp_path_factory.mktemp("disk") / "disk.raw"
    file.write_bytes(random.Random(7).randbytes(SIZE))
    return file


def positions(seed: str, count: int = CUTS, size: int = SIZE) -> list[int]:
    """Where an upload of ``size`` bytes is cut. Its first request arrives whole."""
    return sorted(random.Random(seed).sample(range(8192, size), count))


def assert_whole(gateway: Gateway, image_id: str, disk: pathlib.Path) -> None:
    """The image has all of the data and its digests, and nothing else is left in the store."""
    eventually(lambda: gateway.status(image_id) == "active", "the image is verified")
    with open(disk, "rb") as file:
        assert gateway.show(image_id)["os_hash_value"] == _sha512(file)
    (path,) = gateway.residue(image_id)
    assert filecmp.cmp(path, disk, shallow=False)


def _sha512(file: object) -> str:
    return hashlib.file_digest(file, "sha512").hexdigest()  # type: ignore[arg-type]


def test_an_interrupted_upload_continues(
    server: Gateway, client: resuming.Client, disk: pathlib.Path
) -> None:
    """Less than one per cent is sent again."""
    image_id = server.create()
    with Cutter(server.port, positions(str(client.arguments))) as proxy:
        client.upload(proxy.url, image_id, disk, server.token(), attempts=3 * CUTS)
    assert proxy.made == CUTS
    assert_whole(server, image_id, disk)
    assert proxy.forwarded - SIZE < SIZE // 100


def test_the_next_request_overtakes_the_one_that_was_cut(
    server: Gateway, client: resuming.Client, disk: pathlib.Path
) -> None:
    """The server learns of the cut from the client's next request, as when a network breaks."""
    image_id = server.create()
    cuts = positions(f"overtaken{client.arguments}")
    with Cutter(server.port, cuts, settled=False) as proxy:
        client.upload(proxy.url, image_id, disk, server.token(), attempts=6 * CUTS)
    assert proxy.made == CUTS
    assert_whole(server, image_id, disk)


def test_the_last_response_is_lost(
    server: Gateway, client: resuming.Client, disk: pathlib.Path
) -> None:
    """The client asks, and learns that nothing is missing."""
    image_id = server.create()
    with Cutter(server.port, lost=b"upload-offset: %d\r\n" % SIZE) as proxy:
        client.upload(proxy.url, image_id, disk, server.token(), attempts=CUTS)
    assert proxy.dropped
    assert_whole(server, image_id, disk)
    assert proxy.forwarded - SIZE < SIZE // 100
