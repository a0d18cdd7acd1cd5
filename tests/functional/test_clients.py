"""Unchanged clients, each a process of its own, against a gateway as at a first start."""

import hashlib
import json
import pathlib
import random
import subprocess
from typing import Any

import pytest

from tests.functional import programs
from tests.functional.conftest import needs_program
from tests.functional.gateway import BIN, Gateway, clean_env

MIB = 1 << 20
OPENSTACK = BIN / "openstack"
GLANCE = BIN / "glance"


def digest(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


class Client:
    """A user's shell: an empty home, and credentials in the environment."""

    def __init__(self, gateway: Gateway, home: pathlib.Path, token: str) -> None:
        self.home = home
        self.token = token
        # glanceclient has names of its own, and does not take the others beside them.
        glance = {"OS_AUTH_TOKEN": token, "OS_IMAGE_URL": gateway.url}
        others = {
            "OS_AUTH_TYPE": "admin_token",
            "OS_ENDPOINT": f"{gateway.url}/v2",
            "OS_TOKEN": token,
        }
        self._glance_env = clean_env(home, **glance)
        self._env = clean_env(home, **others)

    def run(self, *command: str | pathlib.Path, fails: bool = False) -> str:
        """What the command prints; it must succeed, or fail when ``fails``."""
        env = self._glance_env if command[0] == GLANCE else self._env
        if command[0] in (OPENSTACK, GLANCE):
            done = programs.run(command, env, self.home)
        else:
            done = subprocess.run(
                [str(word) for word in command],
                env=env,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
        assert (done.returncode != 0) is fails, f"{command}: {done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def openstack(self, *words: str | pathlib.Path) -> Any:
        """The command's JSON."""
        return json.loads(self.run(OPENSTACK, *words, "-f", "json"))


@pytest.fixture
def client(gateway: Gateway, tmp_path: pathlib.Path) -> Client:
    admin = (gateway.state / "admin-token").read_text().strip()
    return Client(gateway, tmp_path, admin)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A qcow2 of some 80 MiB, made by qemu-img from data that does not compress."""
    qemu_img = needs_program("qemu-img")
    directory = tmp_path_factory.mktemp("big")
    raw, disk = directory / "disk.raw", directory / "disk.qcow2"
    block = random.Random(40).randbytes(MIB)
    with open(raw, "wb") as file:
        for number in range(80):
            file.write(number.to_bytes(4) + block[4:])
        file.truncate(1 << 30)
    subprocess.run([qemu_img, "convert", "-O", "qcow2", raw, disk], check=True)
    raw.unlink()
    assert disk.stat().st_size > 80 * MIB
    return disk


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small qcow2 with something in it."""
    qemu_img = needs_program("qemu-img")
    raw, path = tmp_path / "small.raw", tmp_path / "small.qcow2"
    raw.write_bytes(random.Random(41).randbytes(2 * MIB))
    subprocess.run([qemu_img, "convert", "-O", "qcow2", raw, path], check=True)
    return path


def test_curl(client: Client, gateway: Gateway, big: pathlib.Path) -> None:
    needs_program("curl")
    auth = ("-H", f"X-Auth-Token: {client.token}")
    octets = ("-H", "Content-Type: application/octet-stream")
    record = '{"name": "big", "disk_format": "qcow2", "container_format": "bare"}'
    curl = ("curl", "-fsS", *auth)
    posted = ("-H", "Content-Type: application/json", "-d", record)
    made = json.loads(client.run(*curl, *posted, f"{gateway.url}/v2/images"))
    assert made["status"] == "queued"
    url = f"{gateway.url}{made['self']}"

    client.run(*curl, *octets, "-T", big, f"{url}/file")
    shown = json.loads(client.run(*curl, url))
    assert shown["status"] == "active"
    assert shown["size"] == big.stat().st_size
    assert shown["virtual_size"] == 1 << 30
    assert shown["os_hash_value"] == digest(big)

    copy = client.home / "copy"
    client.run(*curl, "-o", copy, f"{url}/file")
    assert digest(copy) == digest(big)
    with open(copy, "r+b") as file:
        file.truncate(30 * MIB + 1)
    client.run(*curl, "-C", "-", "-o", copy, f"{url}/file")
    assert digest(copy) == digest(big)
    copy.unlink()
    client.run(*curl, "-X", "DELETE", url)
    assert gateway.residue(made["id"]) == []


def test_curl_chunked_and_refused(client: Client, gateway: Gateway, disk: pathlib.Path) -> None:
    needs_program("curl")
    image_id = gateway.create(token=client.token, disk_format="qcow2")
    url = f"{gateway.url}/v2/images/{image_id}/file"
    auth = ("-H", f"X-Auth-Token: {client.token}")
    octets = ("-H", "Content-Type: application/octet-stream", "-H", "Transfer-Encoding: chunked")
    zeros = client.home / "zeros"
    with open(zeros, "wb") as file:
        file.truncate(200 * MIB)
    refused = client.run("curl", "-sS", "-i", *auth, *octets, "-T", zeros, url)
    assert "X-Imsgate-Reason: format_mismatch" in refused
    gateway.assert_untouched(image_id)
    client.run("curl", "-fsS", *auth, *octets, "-T", disk, url)
    assert gateway.show(image_id)["os_hash_value"] == digest(disk)


def test_openstack(client: Client, gateway: Gateway, big: pathlib.Path) -> None:
    made = client.openstack(
        *("image", "create", "--disk-format", "qcow2", "--container-format", "bare"),
        *("--file", big, "--property", "os_distro=plan9", "--tag", "blue", "first"),
    )
    # openstacksdk keeps its digests as properties and checks them when it downloads.
    shown = client.openstack("image", "show", "first")
    assert (shown["id"], shown["status"]) == (made["id"], "active")
    assert shown["size"] == big.stat().st_size
    assert shown["tags"] == ["blue"]
    assert shown["properties"]["os_distro"] == "plan9"
    assert shown["properties"]["os_hash_value"] == digest(big)

    client.run(
        *(OPENSTACK, "image", "set", "--name", "second", "--min-disk", "2"),
        *("--property", "os_version=4", "--public", "--protected", made["id"]),
    )
    (listed,) = client.openstack("image", "list", "--long", "--name", "second")
    assert (listed["ID"], listed["Visibility"]) == (made["id"], "public")
    assert listed["Protected"] is True
    assert gateway.show(made["id"])["os_version"] == "4"

    copy = client.home / "copy"
    client.run(OPENSTACK, "image", "save", "--file", copy, "second")
    assert digest(copy) == digest(big)
    copy.unlink()

    said = client.run(OPENSTACK, "image", "delete", "second", fails=True)
    assert "protected" in said
    client.run(OPENSTACK, "image", "set", "--unprotected", "second")
    client.run(OPENSTACK, "image", "unset", "--property", "os_version", "second")
    assert "os_version" not in gateway.show(made["id"])
    client.run(OPENSTACK, "image", "delete", "second")
    assert gateway.residue(made["id"]) == []


def test_openstack_about_the_service(client: Client, gateway: Gateway) -> None:
    stores = client.run(OPENSTACK, "image", "stores", "list", "-f", "json")
    assert [store["ID"] for store in json.loads(stores)] == ["file"]
    detail = client.run(OPENSTACK, "image", "stores", "list", "--detail", "-f", "json")
    assert "file" in detail


@pytest.mark.parametrize("size", [70_000, 2 * MIB, 200 * MIB])
def test_the_openstack_client_shows_the_reason(client: Client, gateway: Gateway, size: int) -> None:
    """Also when it is still sending; and it can clear up after itself on the same connection."""
    zeros = client.home / "zeros"
    with open(zeros, "wb") as file:
        file.truncate(size)
    said = client.run(
        *(OPENSTACK, "image", "create", "--disk-format", "qcow2"),
        *("--container-format", "bare", "--file", zeros, "wrong"),
        fails=True,
    )
    assert "declared format is qcow2" in said
    listed = gateway.call("GET", "/v2/images?name=wrong", token=client.token)
    assert listed.json["images"] == []


SDK = """
import hashlib, sys
import openstack

endpoint, token, disk, copy = sys.argv[1:]
cloud = openstack.connection.Connection(
    auth_type="admin_token", auth={"endpoint": endpoint, "token": token})
image = cloud.image.create_image(
    "by-sdk", filename=disk, disk_format="qcow2", container_format="bare", wait=True,
    hw_disk_bus="scsi")
found = cloud.image.find_image("by-sdk")
assert found.id == image.id and found.status == "active"
assert found.hw_disk_bus == "scsi", found
cloud.image.download_image(image, output=copy)
whole = b"".join(cloud.image.download_image(image, stream=True).iter_content(1 << 20))
assert hashlib.sha512(whole).hexdigest() == found.hash_value
cloud.image.update_image(image, name="renamed", min_ram=64)
assert cloud.image.get_image(image.id).min_ram == 64
cloud.image.add_tag(image, "green")
assert [i.id for i in cloud.image.images(tag="green")] == [image.id]
cloud.image.remove_tag(image, "green")
cloud.image.deactivate_image(image)
assert cloud.image.get_image(image.id).status == "deactivated"
cloud.image.reactivate_image(image)
assert [store.id for store in cloud.image.stores()] == ["file"]
member = cloud.image.add_member(image, member="other")
assert [m.member_id for m in cloud.image.members(image)] == ["other"]
cloud.image.update_member("other", image, status="accepted")
cloud.image.remove_member("other", image)
empty = cloud.image.create_image("empty", disk_format="raw", container_format="bare")
empty = cloud.image.upload_image(
    name="by-data", data=open(disk, "rb"), disk_format="qcow2", container_format="bare")
assert cloud.image.get_image(empty.id).status == "active"
for image in list(cloud.image.images()):
    cloud.image.delete_image(image)
assert list(cloud.image.images()) == []
"""


def test_sdk(gateway: Gateway, tmp_path: pathlib.Path, disk: pathlib.Path) -> None:
    client = Client(gateway, tmp_path, gateway.token("sdk", ("admin", "member")))
    script = tmp_path / "script.py"
    script.write_text(SDK)
    copy = tmp_path / "copy"
    for image in gateway.call("GET", "/v2/images", token=gateway.admin).json["images"]:
        gateway.call("DELETE", image["self"], token=gateway.admin)
    client.run(BIN / "python", script, f"{gateway.url}/v2", client.token, disk, copy)
    assert digest(copy) == digest(disk)


def test_glance(client: Client, gateway: Gateway, disk: pathlib.Path) -> None:
    client.run(
        *(GLANCE, "image-create", "--name", "by-glance", "--disk-format", "qcow2"),
        *("--container-format", "bare", "--file", disk, "--progress", "--property", "a=b"),
    )
    (image,) = gateway.call("GET", "/v2/images?name=by-glance", token=client.token).json["images"]
    assert (image["status"], image["a"]) == ("active", "b")
    assert image["os_hash_value"] == digest(disk)
    copy = client.home / "copy"
    client.run(GLANCE, "image-download", "--file", copy, image["id"])
    assert digest(copy) == digest(disk)
    assert image["id"] in client.run(GLANCE, "image-list")
    # By now it knows the properties that the schema names, and makes its options of them.
    changes = ("--name", "renamed", "--remove-property", "a", "--os-distro", "debian")
    client.run(GLANCE, "image-update", *changes, image["id"])
    shown = client.run(GLANCE, "image-show", image["id"])
    assert "renamed" in shown
    assert "debian" in shown
    assert "file" in client.run(GLANCE, "stores-info")
    client.run(GLANCE, "member-create", image["id"], "friend")
    assert "friend" in client.run(GLANCE, "member-list", "--image-id", image["id"])
    client.run(GLANCE, "member-update", image["id"], "friend", "accepted")
    client.run(GLANCE, "member-delete", image["id"], "friend")
    client.run(GLANCE, "image-tag-update", image["id"], "red")
    client.run(GLANCE, "image-deactivate", image["id"])
    client.run(GLANCE, "image-reactivate", image["id"])
    client.run(GLANCE, "image-delete", image["id"])
    assert gateway.residue(image["id"]) == []


def test_glance_uploads_later(client: Client, gateway: Gateway, disk: pathlib.Path) -> None:
    image_id = gateway.create(token=client.token, disk_format="qcow2")
    client.run(GLANCE, "image-upload", "--store", "file", "--file", disk, image_id)
    assert gateway.show(image_id)["os_hash_value"] == digest(disk)


def test_token_by_command(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    """What ``imsgate token add`` prints is good at once, with the rights it was made with."""
    client = Client(gateway, tmp_path, "")
    add = (BIN / "imsgate", "token", "add", "--state", gateway.state, "--user", "u")
    token = client.run(*add, "--project", "by-command").strip()
    image_id = gateway.create(token=token)
    assert gateway.show(image_id)["owner"] == "by-command"
    reader = client.run(*add, "--project", "by-command", "--role", "reader").strip()
    assert gateway.call("GET", f"/v2/images/{image_id}", token=reader).status == 200
    assert gateway.upload(image_id, b"x", token=reader).outcome == (403, "forbidden")
    expired = client.run(*add, "--project", "by-command", "--days", "1e-9").strip()
    assert gateway.call("GET", f"/v2/images/{image_id}", token=expired).status == 401
