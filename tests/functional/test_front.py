"""``flavor = front``: the shipped pipeline in front of another gateway, with unchanged clients."""

import contextlib
import hashlib
import http.client
import pathlib
import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from imsgate.auth import token_file
from tests.forward.scripted import scripted
from tests.functional import huawei, images
from tests.functional.gateway import INI, PATIENCE, ROOT, Gateway, eventually, serving
from tests.functional.test_clients import GLANCE, Client
from tests.functional.wire import Wire

MIB = 1 << 20

CONFIG = """
[DEFAULT]
public_endpoint = http://front.example/image

[paste_deploy]
flavor = front

[forward]
upstream = {upstream}
chunked = true
"""


def documented(heading: str, **replaced: str) -> str:
    """The first configuration below a heading of doc/front.md, without TLS."""
    text = (ROOT / "doc" / "front.md").read_text().partition(f"{heading}\n")[2]
    conf = re.sub("ca_file = .*\n", "", re.split("```(?:ini)?\n", text)[1])
    for old, new in replaced.items():
        assert old in conf
        conf = conf.replace(old, new)
    return re.sub("(?m)^upstream = .*", "upstream = {upstream}", conf)


class Front(Gateway):
    """Passes on the tokens of the gateway behind it.

    ``filters`` come after ``pace``, where doc/front.md puts authentication.
    """

    def __init__(
        self, directory: pathlib.Path, upstream: Any, config: str = CONFIG, filters: str = ""
    ) -> None:
        super().__init__(
            directory, config=config.replace("{upstream}", upstream.url), workers=1, threads=32
        )
        self.upstream = upstream
        pipeline = (
            "pipeline = faults metrics cors proxy pace {}headers sizelimit front-sniff forward\n"
        )
        paste = INI.read_text()
        assert pipeline.format("") in paste
        self.paste = directory / "paste.ini"
        self.paste.write_text(paste.replace(pipeline.format(""), pipeline.format(f"{filters} ")))

    def _command(self) -> list[str]:
        return [str(self.paste) if word == str(INI) else word for word in super()._command()]

    def token(self, project: str = "demo", roles: Sequence[str] = ("member", "reader")) -> str:
        return str(self.upstream.token(project, roles))

    def peak(self) -> int:
        """The most memory that one of its processes has had, in bytes."""
        peaks = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                found = re.search(r"VmHWM:\s+(\d+)", status)
                assert found
                peaks.append(int(found[1]) * 1024)
        return max(peaks)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(Gateway(tmp_path_factory.mktemp("upstream"), workers=1)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, upstream: Gateway) -> Iterator[Front]:
    with serving(Front(tmp_path_factory.mktemp("front"), upstream)) as gateway:
        yield gateway


def test_it_stores_nothing(front):
    front.call("GET", "/v2/images")
    # Only the directory in which its processes count ([metrics]).
    assert [path.name for path in front.state.iterdir()] == ["metrics"]


def test_openstackclient(front, upstream, tmp_path):
    data = random.Random(1).randbytes(3 * MIB)
    (tmp_path / "disk").write_bytes(data)
    client = Client(front, tmp_path, front.token())
    words = ("--disk-format", "raw", "--container-format", "bare", "--file", tmp_path / "disk")
    image = client.openstack("image", "create", *words, "first")
    assert upstream.show(image["id"])["checksum"] == hashlib.md5(data).hexdigest()
    assert image["id"] in {each["ID"] for each in client.openstack("image", "list")}
    client.run("openstack", "image", "save", "--file", tmp_path / "copy", image["id"])
    assert (tmp_path / "copy").read_bytes() == data
    client.run("openstack", "image", "set", "--property", "a=b", image["id"])
    assert upstream.show(image["id"])["a"] == "b"
    client.run("openstack", "image", "delete", image["id"])
    assert upstream.call("GET", f"/v2/images/{image['id']}").status == 404


def test_glanceclient(front, upstream, tmp_path):
    data = random.Random(2).randbytes(3 * MIB)
    (tmp_path / "disk").write_bytes(data)
    client = Client(front, tmp_path, front.token())
    image_id = front.create()
    client.run(GLANCE, "image-upload", "--file", tmp_path / "disk", image_id)
    assert upstream.status(image_id) == "active"
    client.run(GLANCE, "image-download", "--file", tmp_path / "copy", image_id)
    assert (tmp_path / "copy").read_bytes() == data


HOSTILE = {
    "backing file": (images.BACKING_FILE, "qcow2"),
    "data file": (images.DATA_FILE, "qcow2"),
    "labeled raw": (images.DATA_FILE, "raw"),
    "unknown feature": (images.UNKNOWN_FEATURE, "qcow2"),
    "outside": (images.OUTSIDE, "vmdk"),
    "another format": (images.qcow2(), "vmdk"),
    "cut": (b"QFI\xfb\x00\x00\x00\x03" + bytes(8), "qcow2"),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("image", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("path", ["file", "stage"])
def test_hostile_images_never_arrive_whole(image, path, chunked, front, upstream):
    data, disk_format = image
    image_id = front.create(disk_format=disk_format)
    body = iter([data[:100], data[100:]] if len(data) > 100 else [data]) if chunked else data
    answer = front.call(
        *("PUT", f"/v2/images/{image_id}/{path}", body),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status == 415, answer.body
    upstream.assert_untouched(image_id)
    lines = re.findall(
        rf'"PUT /v2/images/{image_id}/.* status: (\d+) in: (\d+)', upstream.log_text()
    )
    # It refused nothing by itself: it never had the whole.
    assert [line for line in lines if line[0] == "415" or int(line[1]) >= len(data)] == []


def test_a_client_that_is_gone(front, upstream):
    image_id = front.create()
    with Wire(front) as wire:
        wire.put(image_id, [("Content-Length", str(64 * MIB))]).send(bytes(8 * MIB))
        eventually(lambda: upstream.status(image_id) == "saving", "upstream receives it")
    upstream.assert_untouched(image_id)
    assert front.upload(image_id, bytes(MIB)).status == 204


def test_links_lead_to_the_front(front, upstream):
    versions = front.call("GET", "/", token=None)
    links = {link["href"] for each in versions.json["versions"] for link in each["links"]}
    assert links == {"http://front.example/image/v2/"}
    created = front.call("POST", "/v2/images", {"disk_format": "raw", "container_format": "bare"})
    location = created.headers["Location"]
    assert location == f"http://front.example/image/v2/images/{created.json['id']}"


def test_conditional_and_partial_downloads(front):
    data = random.Random(3).randbytes(MIB)
    image_id = front.stored(data)
    part = front.download(image_id, Range="bytes=1000-1999")
    assert (part.status, part.body) == (206, data[1000:2000])
    whole = front.download(image_id)
    assert (whole.body, whole.headers["Content-Length"]) == (data, str(MIB))
    same = front.download(image_id, If_None_Match=whole.headers["ETag"])
    assert (same.status, same.body) == (304, b"")
    head = front.call("HEAD", f"/v2/images/{image_id}/file", token=front.admin)
    assert (head.status, head.body) == (whole.status, b"") or head.status in (404, 405)


def test_memory_is_flat(front, upstream):
    """512 MiB in each direction, after one image that lets every buffer grow."""
    block = random.Random(4).randbytes(MIB)
    first = front.stored(iter([block] * 32))
    assert len(front.download(first).body) == 32 * MIB
    before = front.peak()
    image_id = front.create()
    assert front.upload(image_id, iter([block] * 512)).status == 204
    assert upstream.show(image_id)["size"] == 512 * MIB
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        fields = {"X-Auth-Token": front.admin}
        connection.request("GET", f"/v2/images/{image_id}/file", headers=fields)
        response = connection.getresponse()
        size = 0
        while chunk := response.read(MIB):
            size += len(chunk)
    assert size == 512 * MIB
    assert front.peak() - before < 16 * MIB
    assert front.call("DELETE", f"/v2/images/{image_id}").status == 204


BROKEN = {
    "length": (b"Content-Length: 9\r\n\r\nabc", http.client.IncompleteRead),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", http.client.IncompleteRead),
}


@pytest.mark.parametrize("row", BROKEN.values(), ids=BROKEN)
def test_clients_see_that_a_response_broke_off(row, tmp_path, upstream):
    rest, kind = row
    start = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    with scripted(lambda peer: peer.head().send(start + rest)) as broken:
        gateway = Front(tmp_path, broken)
        with serving(gateway):
            with pytest.raises(kind):
                gateway.call("GET", "/v2/images/1/file", token=None)
            eventually(lambda: "Failure while sending" in gateway.log_text(), "it is logged")
            gateway.check_log(traceback=True)


def test_a_slow_upstream_does_not_take_all_threads(tmp_path):
    """What the front answers by itself it answers while upstream does nothing."""
    config = CONFIG + "requests_at_once = 2\n"
    with (
        scripted(lambda peer: peer.head().wait().respond("200 OK")) as silent,
        serving(Front(tmp_path, silent, config)) as gateway,
    ):
        waiting = [Wire(gateway).head("GET", "/v2/images", []) for _ in range(2)]
        eventually(lambda: len(silent.peers) == 2, "both requests are there")
        refused = gateway.call("GET", "/v2/images", token=None)
        assert refused.outcome == (503, "busy")
        assert refused.headers["Retry-After"] == "30"
        assert gateway.call("GET", "/healthcheck", token=None).status == 200
        silent.answered.set()
        for wire in waiting:
            with wire:
                assert wire.answer().status == 200


def test_tokens_of_its_own(tmp_path, upstream):
    """``tokens identity`` after ``pace``, and one token for upstream."""
    theirs = tmp_path / "their-token"
    theirs.write_text(upstream.token("service", ("admin", "member")))
    theirs.chmod(0o600)
    gateway = Front(tmp_path, upstream, f"{CONFIG}token_file = {theirs}\n", "tokens identity")
    with serving(gateway):
        own = token_file.add(str(gateway.state / "tokens"), user="u", project="p", roles=["member"])
        for token in (None, "forged", gateway.token()):  # the last one is good for upstream only
            answer = gateway.call("GET", "/v2/images/refused-here", token=token)
            assert answer.outcome == (401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"]
        assert "refused-here" not in upstream.log_text()
        image_id = gateway.create(token=own)
        assert upstream.show(image_id)["owner"] == "service"
        hostile, _ = HOSTILE["labeled raw"]
        assert gateway.upload(image_id, hostile, token=own).status == 415
        upstream.assert_untouched(image_id)
        assert gateway.upload(image_id, bytes(MIB), token=own).status == 204
        theirs.write_text("gone")
        assert gateway.call("GET", "/v2/images", token=own).status == 401  # upstream's answer
        assert gateway.call("GET", "/healthcheck", token=None).status == 200


def test_ims_as_documented(tmp_path):
    """Signed anew with one key, for clients with tokens of this gateway."""
    config = "[paste_deploy]\nflavor = aksk\n[ims]\nprofile = huawei\n"
    (tmp_path / "ims").mkdir()
    ims = Gateway(tmp_path / "ims", config=config, workers=1)
    key = huawei.add_key(ims, "region")
    conf = documented(
        "### Huawei IMS and Open Telekom Cloud", YOUR_KEY=key.access, YOUR_SECRET=key.secret
    )
    with serving(ims), serving(Front(tmp_path, ims, conf, "tokens identity")) as gateway:
        own = token_file.add(
            str(gateway.state / "tokens"), user="alice", project="demo", roles=["member"]
        )
        record = {"name": "disk", "disk_format": "qcow2", "__os_version": "Debian 12.0.0 64bit"}
        image_id = gateway.create(token=own, **record)
        hostile, _ = HOSTILE["data file"]
        assert gateway.upload(image_id, hostile, token=own).outcome == (415, "image_refused")
        eventually(lambda: not ims.residue(image_id), "IMS has none of it")
        shown = gateway.call("GET", f"/v2/cloudimages?id={image_id}", token=own)
        assert shown.json["images"][0]["owner"] == "region"
        assert gateway.upload(image_id, images.qcow2(), token=own).status == 204
        shown = gateway.call("GET", f"/v2/cloudimages?id={image_id}", token=own)
        assert shown.json["images"][0]["status"] == "active"
        copied = gateway.call("PUT", f"/v1/cloudimages/{image_id}/upload", {}, token=own)
        assert (copied.status, copied.json["error"]["code"]) == (400, "IMG.0105")
