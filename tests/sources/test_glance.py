"""Images of another region, from a real server that answers as a test says."""

import hashlib
import json

import pytest

from imsgate import errors
from imsgate.config import Config
from imsgate.services import source_inspector
from imsgate.sources import glance, uris, web
from imsgate.testing.records import image
from tests.sources.web_server import chunked, redirect, serving, whole

DATA = b"not much of a disk" * 4096
ID = "36d4b546-64a2-4bb9-bdd0-ba676aa48f2c"
RECORD = {
    "status": "active",
    "size": len(DATA),
    "disk_format": "raw",
    "container_format": "bare",
    "os_hash_algo": "sha512",
    "os_hash_value": hashlib.sha512(DATA).hexdigest(),
    "checksum": hashlib.md5(DATA).hexdigest(),
    "hw_disk_bus": "scsi",
}
FIELDS = {"disk_format": "raw", "container_format": "bare", "properties": {"hw_disk_bus": "scsi"}}
WITHOUT_DIGEST = {"os_hash_algo": None, "os_hash_value": None, "checksum": None}


@pytest.fixture
def server():
    with serving() as one:
        one.routes[f"/v2/images/{ID}"] = record()
        one.routes[f"/v2/images/{ID}/file"] = whole(DATA)
        yield one


def record(**changes):
    return whole(json.dumps({**RECORD, **changes}).encode(), Content_Type="application/json")


@pytest.fixture
def fetch(tmp_path, server):
    """Read the image of an endpoint; return its data and the fields of the record."""

    def fetched(endpoint=server.url, filters="allowed_ports = []", own=""):
        (tmp_path / "imsgate.conf").write_text(
            f"[import_filtering_opts]\n{filters}\n[web_download]\n{own}\n"
        )
        conf = Config([str(tmp_path / "imsgate.conf")], state_path=str(tmp_path))
        sources = glance.GlanceSources(
            web=web.Web(conf.read(uris.UriSettings), conf.read(web.WebSettings)),
            inspector=source_inspector(conf),
            token=lambda job: "unused",
            adopt=lambda job, image, record: {},
        )
        with sources.open(
            image(disk_format="iso", container_format="ovf"),
            endpoint=endpoint,
            image_id=ID,
            token="secret",
            adopt=lambda found: {**FIELDS, "disk_format": found["disk_format"]},
            certificate=None,
            wait=lambda seconds: None,
            check=lambda: None,
        ) as source:
            return source.body.read(), source.content_fields()

    return fetched


def tokens(server):
    return [(path, headers.get("X-Auth-Token")) for path, headers in server.seen]


@pytest.mark.parametrize("end", ["", "/", "/v2", "/v2/", "/v2.1", "/image", "/image/v2/"])
def test_the_record_then_the_data_with_the_token(server, fetch, end):
    base = "/image" if end.startswith("/image") else ""
    for path in list(server.routes):
        server.routes[base + path] = server.routes[path]
    data, fields = fetch(server.url + end)
    assert data == DATA
    assert fields == {**FIELDS, "virtual_size": len(DATA)}
    paths = [f"{base}/v2/images/{ID}", f"{base}/v2/images/{ID}/file"]
    assert tokens(server) == [(path, "secret") for path in paths]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(DATA).hexdigest()},
        {"os_hash_algo": "whirlpool", "os_hash_value": "0"},
        {"os_hash_algo": None, "os_hash_value": None},
        {"checksum": None},
    ],
)
def test_data_without_a_length(server, fetch, changes):
    server.routes[f"/v2/images/{ID}"] = record(**changes)
    server.routes[f"/v2/images/{ID}/file"] = chunked(DATA)
    assert fetch()[0] == DATA


OTHER = hashlib.sha512(b"other").hexdigest()
FAILURES = {
    "no-image": (None, whole(DATA), errors.SourceFailed, "answered 404"),
    "no-json": (whole(b"<html>"), whole(DATA), errors.SourceFailed, "not a JSON object"),
    "a-list": (whole(b"[]"), whole(DATA), errors.SourceFailed, "not a JSON object"),
    "endless": (whole(b" " * (1 << 21)), whole(DATA), errors.SourceFailed, "too large"),
    "queued": (
        record(status="queued"),
        whole(DATA),
        errors.SourceFailed,
        "Source image status should be active instead of queued",
    ),
    "no-size": (record(size=None), whole(DATA), errors.SourceFailed, "Size attribute of remote"),
    "shorter": (record(), whole(DATA[1:]), errors.SourceFailed, "its record says"),
    "other-data": (record(), whole(DATA[::-1]), errors.DigestMismatch, "sha512"),
    "other-chunks": (record(), chunked(DATA[1:]), errors.DigestMismatch, "sha512"),
    "longer-chunks": (record(), chunked(DATA + b"x"), errors.DigestMismatch, "sha512"),
    "md5": (
        record(os_hash_value=None, checksum="0" * 32),
        whole(DATA),
        errors.DigestMismatch,
        "md5",
    ),
    "no-digest": (record(**WITHOUT_DIGEST), chunked(DATA), errors.SourceFailed, "its record says"),
    "no-data": (record(), redirect("http://127.0.0.1:9/"), errors.UriRefused, "not allowed"),
    "other-format": (record(disk_format="qcow2"), whole(DATA), errors.BadImage, "qcow2"),
}


@pytest.mark.parametrize(("described", "data", "error", "problem"), FAILURES.values(), ids=FAILURES)
def test_what_fails(server, fetch, described, data, error, problem):
    server.routes[f"/v2/images/{ID}"] = described or redirect("/nowhere")
    server.routes[f"/v2/images/{ID}/file"] = data
    with pytest.raises(error, match=problem):
        fetch()


def test_a_redirect_on_the_same_service_keeps_the_token(server, fetch):
    server.routes[f"/v2/images/{ID}/file"] = redirect("/elsewhere", 307)
    server.routes["/elsewhere"] = whole(DATA)
    assert fetch()[0] == DATA
    assert tokens(server)[-1] == ("/elsewhere", "secret")


def test_no_other_server_gets_the_token(server, fetch):
    """The store of the other region may serve the data itself."""
    with serving() as store:
        store.routes["/object"] = whole(DATA)
        server.routes[f"/v2/images/{ID}/file"] = redirect(f"{store.url}/object", 307)
        with pytest.raises(errors.UriRefused, match="not allowed"):
            fetch()
        assert store.seen == []
        assert fetch(own="allowed_networks = 127.0.0.1/32")[0] == DATA
        assert tokens(store) == [("/object", None)]


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("", "the port [0-9]+ is not allowed"),
        ("allowed_ports = []\nallowed_schemes = [https]", "the scheme 'http' is not allowed"),
        ("allowed_ports = []\ndisallowed_hosts = [127.0.0.1]", "the host '127.0.0.1' is not"),
    ],
)
def test_filters_apply_to_the_service(server, fetch, filters, problem):
    with pytest.raises(errors.UriRefused, match=problem):
        fetch(filters=filters)
    assert server.seen == []


@pytest.mark.parametrize("endpoint", ["", "ftp://host", "http://u:p@host", "http://ho st"])
def test_a_catalog_with_an_invalid_url(fetch, endpoint):
    with pytest.raises(errors.UriRefused):
        fetch(endpoint)
