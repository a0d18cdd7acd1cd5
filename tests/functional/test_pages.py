"""Pages of the documentation, walked from nothing: their files and commands, as written.

Only what a reader replaces is replaced: the object storage and its keys, and the port. The packages
that a page installs are those of the tests.
"""

import contextlib
import os
import re
import signal
import subprocess

import pytest

from tests.bridge import ims
from tests.functional import huawei, images
from tests.functional.conftest import needs, needs_program
from tests.functional.gateway import HOST, PATIENCE, ROOT, clean_env, free_port
from tests.stores.s3 import servers

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INSTALL = "pip install "
_FILE = re.compile(r"Write `([a-z]+\.conf)`")


def _blocks(page, replaced):
    """The language and the text of each block of a page."""
    text = (ROOT / "doc" / page).read_text()
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return _FILE.search(text)[1], _BLOCK.findall(text)


def _walk(page, directory, replaced):
    """Write the page's configuration and run its commands; returns what they printed."""
    for program in ("bash", "curl"):
        needs_program(program)
    name, blocks = _blocks(page, {"127.0.0.1:9292": f"{HOST}:{free_port()}", **replaced})
    (directory / name).write_text(next(text for language, text in blocks if language == "ini"))
    commands = [text for language, text in blocks if not language and _INSTALL not in text]
    assert any(_INSTALL in text for language, text in blocks if not language)
    script = "\n".join(["set -e -o pipefail", "trap 'kill $(jobs -p); wait' EXIT", *commands])
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=directory,
        env=clean_env(directory, PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, problems = process.communicate(timeout=4 * PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{page} never ends: {process.communicate()}")
    assert process.returncode == 0, (printed, problems)
    return printed


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    with servers.running(servers.seaweed(tmp_path_factory.mktemp("seaweed"))) as server:
        yield server


def test_ims_page(storage, tmp_path):
    qemu_img = needs_program("qemu-img")
    command = [qemu_img, "create", "-f", "qcow2", str(tmp_path / "disk.qcow2"), "1M"]
    subprocess.run(command, check=True, capture_output=True)
    replaced = {
        "https://obs.example.org": storage.url,
        "YOUR_KEY": storage.access,
        "YOUR_SECRET": servers.SECRET,
    }
    printed = _walk("ims.md", tmp_path, replaced)
    assert '"status":"SUCCESS"' in printed


def test_aksk_page(tmp_path):
    needs(huawei.AVAILABLE, "huaweicloudsdkims")
    assert '"images": []' in _walk("aksk.md", tmp_path, {})


def test_bridge_page(storage, tmp_path):
    """IMS is the strict one of ``tests.bridge``."""
    image = images.qcow2()
    (tmp_path / "disk.qcow2").write_bytes(image)
    with (
        contextlib.closing(storage.client()) as client,
        ims.serving(lambda bucket, key: ims.chunks(client, bucket, key)) as service,
    ):
        client.create_bucket(Bucket="image-uploads")
        service.keys = {storage.access.replace(":", ""): (servers.SECRET, "YOURS")}
        replaced = {
            "https://ims.eu-de.otc.t-systems.com": service.url,
            "https://obs.eu-de.otc.t-systems.com": storage.url,
            "s3_store_access_key = YOUR_KEY": f"s3_store_access_key = {storage.access}",
            "access_key = YOUR_KEY": f"access_key = {storage.access.replace(':', '')}",
            "YOUR_SECRET": servers.SECRET,
            "YOUR_PROJECT": "YOURS",
        }
        assert '"status": "active"' in _walk("bridge.md", tmp_path, replaced)
        assert [size for size, _ in service.data.values()] == [len(image)]
