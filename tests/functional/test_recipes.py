"""The programs of doc/recipes.md, run as that page says."""

import hashlib
import importlib.util
import pathlib

import openstack.connection
import pytest

from tests.functional.gateway import Gateway, serving
from tests.functional.importing import FAST, WEB
from tests.sources import web_server

# The SDK's about itself.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def importing(tmp_path_factory):
    config = f"{FAST}source_retry_time = 0\n{WEB}"
    with serving(Gateway(tmp_path_factory.mktemp("recipes"), config=config)) as gateway:
        yield gateway
        gateway.check_log()


@pytest.fixture
def cloud(importing):
    auth = {"endpoint": f"{importing.url}/v2", "token": importing.token()}
    with openstack.connection.Connection(auth_type="admin_token", auth=auth) as one:
        yield one


@pytest.fixture(scope="module")
def mirror_image():
    spec = importlib.util.spec_from_file_location("mirror_image", EXAMPLES / "mirror_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def publisher():
    with web_server.serving() as server:
        yield server


def publish(server, data, digest=None):
    digest = digest or hashlib.sha512(data).hexdigest()
    server.routes |= {
        "/latest/disk.raw": web_server.whole(data),
        "/latest/SHA512SUMS": web_server.whole(f"{digest}  disk.raw\n0  other\n".encode()),
    }


def test_a_mirror_of_a_publishers_image(importing, cloud, mirror_image, publisher, capsys):
    here = f"{publisher.url}/latest"
    away = "http://127.0.0.1:1/disk.raw"  # where nobody listens
    words = ["disk", f"{here}/disk.raw", away, "--checksum-url", f"{here}/SHA512SUMS"]
    words += ["--disk-format", "raw", "--poll", "0.05"]

    def run(*more):
        code = mirror_image.main(cloud, [*words, *more])
        return code, capsys.readouterr()

    def stored():
        return [image.hash_value for image in cloud.image.images(sort="created_at:desc")]

    expected = []
    cloud.image.create_image("disk", disk_format="raw", container_format="bare")  # somebody's own
    for night in range(5):
        data = b"night %d " % night * 1000
        publish(publisher, data)
        code, said = run("--keep", "3")
        assert (code, said.err) == (0, "")
        expected.insert(0, hashlib.sha512(data).hexdigest())
        assert [value for value in stored() if value] == expected[:3]
        assert run() == (0, ("disk is up to date\n", ""))
    publish(publisher, b"other data", digest="0" * 128)
    code, said = run()
    assert code == 1
    assert said.err.startswith("disk was not imported: ")
    assert "The sha512 digest of the data is" in said.err
    publish(publisher, b"other data")
    publisher.routes["/latest/disk.raw"] = web_server.whole(b"<html>Sign in</html>")
    code, said = run()
    assert code == 1
    assert "the server sent an HTML page instead of the file" in said.err
    assert [value for value in stored() if value] == expected[:3]
    assert len(stored()) == 4


def test_signatures_need_the_operators_keyring(cloud, mirror_image, publisher, capsys):
    publish(publisher, b"data")
    here = f"{publisher.url}/latest"
    words = ["signed", f"{here}/disk.raw", "--checksum-url", f"{here}/SHA512SUMS"]
    assert mirror_image.main(cloud, [*words, "--signature-url", f"{here}/SUMS.sign"]) == 1
    assert "no keyring" in capsys.readouterr().err
    assert list(cloud.image.images(name="signed")) == []
