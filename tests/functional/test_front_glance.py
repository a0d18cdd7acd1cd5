"""``flavor = front`` before a real Glance under uWSGI, with unchanged clients."""

import contextlib
import hashlib
import pathlib
import random
import re
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import h11
import openstack.connection
import pytest
from openstack import exceptions

from tests.functional.gateway import HOST, PATIENCE, eventually, serving
from tests.functional.glance import Glance
from tests.functional.test_clients import GLANCE, OPENSTACK, Client
from tests.functional.test_front import HOSTILE, Front, documented

MIB = 1 << 20


class Wiretap:
    """A TCP proxy that keeps what each connection sends, and passes on how it ends."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        #: What has been sent, in the order of the connections.
        self.sent: list[bytearray] = []
        self.token = Glance.token

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self.sent.append(bytearray())
                pair = threading.Thread(target=self._serve, args=(client, self.sent[-1]))
                self._threads.append(pair)
                pair.start()

    def _serve(self, client: socket.socket, sent: bytearray) -> None:
        server = socket.create_connection((HOST, self._target), timeout=PATIENCE)
        other = {client: server, server: client}
        with selectors.DefaultSelector() as ready, client, server:
            for each in other:
                ready.register(each, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select():
                    source: Any = key.fileobj
                    try:
                        data = source.recv(1 << 16)
                    except OSError:  # it was reset, and so is the other
                        linger = struct.pack("ii", 1, 0)
                        other[source].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                    if source is client:
                        sent += data
                    with contextlib.suppress(OSError):  # its response may be still to come
                        other[source].sendall(data)
                        if not data:
                            other[source].shutdown(socket.SHUT_WR)
                    if not data:
                        ready.unregister(source)

    def uploads(self, image_id: str) -> Iterator[tuple[int, bool]]:
        """For each request that sent data of this image: how many bytes arrived, and whether they
        are the whole body."""
        for sent in self.sent:
            if sent.startswith(f"PUT /v2/images/{image_id}/".encode()):
                http = h11.Connection(h11.SERVER)
                http.receive_data(bytes(sent))
                size, event = 0, http.next_event()
                while isinstance(event, h11.Request | h11.Data):
                    size += len(event.data) if isinstance(event, h11.Data) else 0
                    event = http.next_event()
                yield size, isinstance(event, h11.EndOfMessage)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture(scope="module")
def tap(_glances: tuple[Glance, Glance]) -> Iterator[Wiretap]:
    with contextlib.closing(Wiretap(_glances[0].port)) as tap:
        yield tap


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, tap: Wiretap) -> Iterator[Front]:
    # uWSGI never sends 100 Continue, so every upload would wait for it.
    config = documented("## Set it up") + "\n[forward]\ncontinue_timeout = 0\n"
    with serving(Front(tmp_path_factory.mktemp("front"), tap, config)) as gateway:
        yield gateway


def disk(path: pathlib.Path, seed: int) -> str:
    """Write image data there; returns its MD5."""
    data = random.Random(seed).randbytes(3 * MIB)
    path.write_bytes(data)
    return hashlib.md5(data).hexdigest()


RAW = ("--disk-format", "raw", "--container-format", "bare")
QCOW2 = ("--disk-format", "qcow2", "--container-format", "bare")


def test_openstackclient(front: Front, glance: Glance, tmp_path: pathlib.Path) -> None:
    checksum = disk(tmp_path / "disk", 1)
    client = Client(front, tmp_path, front.token())
    made = client.openstack("image", "create", *RAW, "--file", tmp_path / "disk", "first")
    assert glance.record(made["id"])["checksum"] == checksum
    assert client.openstack("image", "show", "first")["status"] == "active"
    client.run(OPENSTACK, "image", "save", "--file", tmp_path / "copy", "first")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk").read_bytes()
    staged = client.openstack("image", "create", *RAW, "--import", "--file", tmp_path / "disk", "2")
    eventually(lambda: glance.record(staged["id"])["status"] == "active", "it is imported")
    assert glance.record(staged["id"])["checksum"] == checksum
    assert front.upload(made["id"], bytes(8 * MIB)).status == 409  # Glance's own refusal
    listed = {each["ID"] for each in client.openstack("image", "list")}
    assert listed >= {made["id"], staged["id"]}
    client.run(OPENSTACK, "image", "delete", made["id"], staged["id"])
    assert glance.stored(made["id"]) + glance.stored(staged["id"]) == []
    (tmp_path / "hostile").write_bytes(HOSTILE["backing file"][0])
    words = ("image", "create", *QCOW2, "--file", tmp_path / "hostile", "third")
    assert "backing file" in client.run(OPENSTACK, *words, fails=True)
    assert "third" not in client.run(OPENSTACK, "image", "list")


def test_glanceclient(front: Front, glance: Glance, tmp_path: pathlib.Path) -> None:
    checksum = disk(tmp_path / "disk", 2)
    client = Client(front, tmp_path, front.token())
    image_id = front.create()
    client.run(GLANCE, "image-stage", "--file", tmp_path / "disk", image_id)
    client.run(GLANCE, "image-import", "--import-method", "glance-direct", image_id)
    eventually(lambda: glance.record(image_id)["status"] == "active", "it is imported")
    assert glance.record(image_id)["checksum"] == checksum
    client.run(GLANCE, "image-download", "--file", tmp_path / "copy", image_id)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk").read_bytes()
    client.run(GLANCE, "image-delete", image_id)
    (tmp_path / "hostile").write_bytes(HOSTILE["data file"][0])
    refused = front.create(disk_format="qcow2")
    words = ("image-upload", "--file", tmp_path / "hostile", refused)
    assert "data file" in client.run(GLANCE, *words, fails=True)
    assert_untouched(glance, refused)


@pytest.mark.filterwarnings("ignore::Warning")  # the SDK's about itself
def test_openstacksdk(front: Front, glance: Glance, tmp_path: pathlib.Path) -> None:
    checksum = disk(tmp_path / "disk", 3)
    auth = {"endpoint": f"{front.url}/v2", "token": front.token()}
    formats = {"disk_format": "raw", "container_format": "bare"}
    with openstack.connection.Connection(auth_type="admin_token", auth=auth) as cloud:
        images = cloud.image
        with open(tmp_path / "disk", "rb") as data:
            made = images.create_image(
                "sdk", data=data, **formats, wait=True, hw_disk_bus="scsi", validate_checksum=False
            )
        assert images.get_image(made.id).checksum == checksum
        assert glance.record(made.id)["hw_disk_bus"] == "scsi"
        images.download_image(made, output=str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "disk").read_bytes()
        images.delete_image(made)
        assert made.id not in {image.id for image in images.images()}
        hostile, disk_format = HOSTILE["outside"]
        formats["disk_format"] = disk_format
        with pytest.raises(exceptions.SDKException, match="outside"):
            images.create_image("no", data=hostile, **formats, validate_checksum=False)
        assert list(images.images(name="no")) == []  # it has deleted the record


def assert_untouched(glance: Glance, image_id: str) -> None:
    """The record is queued, its store is empty, and the record goes."""

    def is_untouched() -> bool:
        return (glance.record(image_id)["status"], glance.stored(image_id)) == ("queued", [])

    eventually(is_untouched, "it is queued, and nothing is stored")
    assert glance.call("DELETE", f"/v2/images/{image_id}")[0] == 204


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["file", "stage"])
@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE)
def test_hostile_images(
    image: tuple[bytes, str], path: str, chunked: bool, front: Front, glance: Glance, tap: Wiretap
) -> None:
    data, disk_format = image
    image_id = front.create(disk_format=disk_format)
    body = iter([data[:100], data[100:]] if len(data) > 100 else [data]) if chunked else data
    answer = front.call(
        *("PUT", f"/v2/images/{image_id}/{path}", body),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status == 415, answer.body
    assert_untouched(glance, image_id)
    for size, is_whole in tap.uploads(image_id):
        assert not is_whole
        assert size < len(data)


def test_ranges_and_conditions(front: Front, glance: Glance) -> None:
    data = random.Random(4).randbytes(MIB)
    image_id = front.stored(data)
    for text, status, body in (
        ("bytes=1000-1999", 206, data[1000:2000]),
        ("bytes=-10", 206, data[-10:]),
        (f"bytes={MIB}-", 416, None),
        ("bytes=x", 416, None),
        ("bytes=0-1,4-5", 400, None),
    ):
        answer = front.download(image_id, Range=text)
        own = glance.call("GET", f"/v2/images/{image_id}/file", Range=text)
        assert answer.status == own[0] == status, text
        assert body is None or answer.body == body
    assert front.call("GET", "/v2/images", headers={"Range": "bytes=x"}).status == 200
    assert re.fullmatch(r"[0-9a-f]{32}", front.download(image_id).headers["Content-MD5"])
    assert front.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert glance.stored(image_id) == []


def test_a_volume_that_cinder_has_encrypted(front: Front, glance: Glance) -> None:
    """Its record says raw, and that there is a key."""
    luks = b"LUKS\xba\xbe\0\1".ljust(104, b"\0") + (4).to_bytes(4, "big")
    luks = luks.ljust(4096, b"\0")  # Glance knows version 1 only
    key = {"cinder_encryption_key_id": "k", "cinder_encryption_key_deletion_policy": "on_delete"}
    for more, status in (({}, 415), (key, 204)):
        image_id = front.create(**more)
        assert front.upload(image_id, luks).status == status
        assert front.call("DELETE", f"/v2/images/{image_id}").status in (204, 409)
