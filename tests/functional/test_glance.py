"""The filters in the pipeline of a real Glance under uWSGI, as doc/filters.md describes it,
and its images as imsgate takes them over."""

import contextlib
import gzip
import itertools
import json
import pathlib

import pytest

from imsgate import config
from imsgate.cmd import main
from imsgate.model import Status
from imsgate.registry.loader import load_registry
from imsgate.stores import loader
from tests.functional.commands import Commands, finished
from tests.functional.cutting import Cutter
from tests.functional.gateway import HOST
from tests.functional.glance import Glance

MIB = 1 << 20
PLAIN = "imsgate: the server takes this image in one request only\n"


def qcow2(backing: int = 0) -> bytes:
    """An empty image of 10 MiB, in Glance's largest upload of this test."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(4)
    head += (16).to_bytes(4, "big") + (10 << 20).to_bytes(8, "big") + bytes(4)
    head += (1).to_bytes(4, "big") + (0x30000).to_bytes(8, "big")
    head += (0x10000).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(12)
    head += bytes(24) + (4).to_bytes(4, "big") + (104).to_bytes(4, "big")
    return head.ljust(3 * MIB, b"\0")


def test_uploads_through_the_filters(filtered: Glance) -> None:
    """One test, because starting Glance takes longer than all of this."""
    good, hostile, large = qcow2(), qcow2(backing=0x200), qcow2().ljust(5 * MIB, b"\0")
    for chunk, coding in itertools.product((None, 65536, MIB), (None, "gzip")):
        for disk_format, data, status in (
            ("qcow2", good, 204),
            ("qcow2", hostile, 415),
            ("raw", good, 415),  # only the record says so
            ("qcow2", large, 413),
        ):
            image_id = filtered.create(disk_format)
            case = f"{disk_format}, {len(data)} bytes in chunks of {chunk}, {coding}, {status}"
            sent, headers = data, {}
            if coding:
                sent, headers = gzip.compress(data), {"Content_Encoding": coding}
            assert filtered.upload(image_id, sent, chunk, **headers) == status, case
            record = filtered.record(image_id)
            stored = [path.stat().st_size for path in filtered.images.iterdir()]
            if status == 204:
                assert (record["status"], record["size"], stored) == (
                    "active",
                    len(data),
                    [len(data)],
                )
                assert filtered.call("GET", f"/v2/images/{image_id}/file")[0] == 200
            else:
                assert (record["status"], stored) == ("queued", []), case
            assert filtered.call("DELETE", f"/v2/images/{image_id}")[0] == 204


def test_the_client_falls_back_to_one_request(filtered: Glance, tmp_path: pathlib.Path) -> None:
    """Glance has no resumable uploads. A cut upload is sent again as a whole."""
    good, hostile, copy = (tmp_path / name for name in ("good", "hostile", "copy"))
    good.write_bytes(qcow2())
    hostile.write_bytes(qcow2(backing=0x200))
    with Cutter(filtered.port, [2 * MIB]) as proxy:
        commands = Commands(tmp_path, proxy.url.replace(HOST, filtered.host), "any")
        record = commands.json("upload", good)
        assert (record["status"], record["size"]) == ("active", 3 * MIB)
        assert commands.run("download", record["id"], copy).returncode == 0
        assert copy.read_bytes() == good.read_bytes()
        refused = commands.run("upload", hostile, "--no-inspection", "--disk-format", "qcow2")
        assert (refused.returncode, refused.stdout) == (3, ""), refused.stderr
        with open(good, "rb") as stream:
            words = ("upload", "-", "--name", "piped", "--disk-format", "qcow2")
            assert finished(commands.start(*words, stdin=stream)) == (0, PLAIN)
    assert proxy.made == 1
    shown = json.loads(filtered.call("GET", "/v2/images")[1])["images"]
    assert sorted(image["name"] for image in shown) == ["good", "piped"]
    for image in shown:
        assert filtered.call("DELETE", f"/v2/images/{image['id']}")[0] == 204


def test_a_glance_is_taken_over(
    glance: Glance, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images of a real Glance, with its own tables and files."""
    active, queued, gone = (glance.create("qcow2") for _ in range(3))
    assert glance.upload(active, qcow2(), None) == 204
    add = json.dumps([{"op": "add", "path": "/hw_disk_bus", "value": "scsi"}])
    patch = {"Content_Type": "application/openstack-images-v2.1-json-patch"}
    assert glance.call("PATCH", f"/v2/images/{active}", add, **patch)[0] == 200
    assert glance.call("PUT", f"/v2/images/{active}/tags/a")[0] == 204
    member = json.dumps({"member": "p2"})
    path, json_type = f"/v2/images/{active}/members", {"Content_Type": "application/json"}
    assert glance.call("POST", path, member, **json_type)[0] == 200
    assert glance.call("DELETE", f"/v2/images/{gone}")[0] == 204
    shown = glance.record(active)

    conf = tmp_path / "imsgate.conf"
    conf.write_text(
        "[DEFAULT]\nenabled_backends = fast:file\n"
        f"[fast]\nfilesystem_store_datadir = {glance.images}\n"
    )
    where = ["--config-file", str(conf), "--state", str(tmp_path)]
    assert main.main(["db", "upgrade", *where]) == 0
    source = ["--glance-config", str(glance.root / "glance-api.conf")]
    assert main.main(["adopt", "glance", *source, "--apply", *where]) == 0
    assert f"take    {active}  active in fast" in capsys.readouterr().out

    settings = config.Config([str(conf)], state_path=str(tmp_path))
    with contextlib.closing(load_registry(settings)) as registry:
        image = registry.get(active)
        assert [each.member_id for each in registry.members(active)] == ["p2"]
        assert registry.get(queued).status == Status.QUEUED
        assert registry.recall(gone).status == Status.DELETED
    created = image.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (created, image.checksum) == (shown["created_at"], shown["checksum"])
    assert (image.os_hash_value, image.size) == (shown["os_hash_value"], shown["size"])
    assert (image.tags, image.properties) == ({"a"}, {"hw_disk_bus": "scsi"})
    store = loader.load(settings).choose("fast")
    assert b"".join(store.read(image.locations[0].url)) == qcow2()
    for image_id in (active, queued):
        assert glance.call("DELETE", f"/v2/images/{image_id}")[0] == 204
