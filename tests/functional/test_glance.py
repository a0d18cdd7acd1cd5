"""The filters in the pipeline of a real Glance under uWSGI, as doc/filters.md describes it."""

import gzip
import itertools
import json
import pathlib

from imsgate.config import Config
from imsgate.services import source_inspector
from imsgate.sources.glance import GlanceSources
from imsgate.sources.uris import UriSettings
from imsgate.sources.web import Web, WebSettings
from imsgate.testing import records
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


def test_an_image_of_glance_for_another_region(glance: Glance, tmp_path: pathlib.Path) -> None:
    """What glance-download reads: the record, and the data that must match it."""
    image_id = glance.create("qcow2")
    assert glance.upload(image_id, qcow2(), None) == 204
    (tmp_path / "imsgate.conf").write_text("[import_filtering_opts]\nallowed_ports = []\n")
    conf = Config([str(tmp_path / "imsgate.conf")], str(tmp_path))
    sources = GlanceSources(
        web=Web(conf.read(UriSettings), conf.read(WebSettings)),
        inspector=source_inspector(conf),
        token=lambda job: "unused",
        adopt=lambda job, image, record: {},
    )
    adopted = ("disk_format", "container_format", "os_hash_value")
    with sources.open(
        records.image(),
        endpoint=glance.url,
        image_id=image_id,
        token="any",
        adopt=lambda record: {name: record[name] for name in adopted},
        certificate=None,
        wait=lambda seconds: None,
        check=lambda: None,
    ) as source:
        assert (source.size, source.body.read()) == (len(qcow2()), qcow2())
        fields = source.content_fields()
    assert (fields["disk_format"], fields["virtual_size"]) == ("qcow2", 10 * MIB)
    assert fields["os_hash_value"] == glance.record(image_id)["os_hash_value"]
    assert glance.call("DELETE", f"/v2/images/{image_id}")[0] == 204
