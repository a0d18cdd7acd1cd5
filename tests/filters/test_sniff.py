"""sniff: only its seam; what the formats are is asked in tests/formats."""

import json

import pytest

from imsgate import errors
from imsgate.filters import sniff
from imsgate.http.request import INSPECTION
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import IMAGE, put


def qcow2(*, backing=0, features=0):
    """The header of an empty version 3 image of 10 MiB, and room for its tables."""
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(4)
    head += (16).to_bytes(4, "big") + (10 << 20).to_bytes(8, "big") + bytes(4)
    head += (1).to_bytes(4, "big") + (0x30000).to_bytes(8, "big")
    head += (0x10000).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(12)
    head += features.to_bytes(8, "big") + bytes(16) + (4).to_bytes(4, "big")
    head += (104).to_bytes(4, "big")
    return head.ljust(0x40000, b"\0")


VMDK = b'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/hosts" 0\n'

BAD = {
    "backing-file": (qcow2(backing=0x200), "image_refused", "backing_file"),
    "data-file": (qcow2(features=4), "image_refused", "data_file"),
    "vmdk-extent": (VMDK.ljust(1024, b"\0"), "image_refused", "extent_outside"),
}


class TestSniff(FilterContract):
    @pytest.fixture
    def factory(self):
        return sniff.filter_factory

    def refused_body(self):
        return qcow2(backing=0x200)


@pytest.mark.parametrize("how", apps.ReadFails.HOW)
@pytest.mark.parametrize("size", [1, 104, 65536])
@pytest.mark.parametrize(("data", "reason", "check"), BAD.values(), ids=BAD)
def test_a_hostile_image_is_refused_whatever_the_application_does(
    alone, data, reason, check, size, how
):
    app = apps.ReadFails(how, size)
    answer = put(alone("sniff", app), data, HTTP_ACCEPT="application/json")
    assert (answer.code, answer.reason) == (415, reason)
    assert f'"{check}"'.encode() in answer.body
    assert app.bodies == []
    assert all(one.closed == 1 for one in app.answers)


def test_the_refusal_comes_with_the_deciding_bytes(alone):
    app, stream = apps.ReadFails("passes", 512), servers.Input(qcow2(backing=0x200))
    answer = put(alone("sniff", app), stream, length=0x40000)
    assert answer.code == 415
    assert isinstance(app.failed, errors.BadImage)
    assert stream.given <= 1024


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
def test_a_good_image_passes_and_is_known_afterwards(alone, chunked):
    app = apps.App(apps.by(4096))
    assert put(alone("sniff", app), qcow2(), chunked=chunked).code == 200
    facts = app.environs[0][INSPECTION].image_info
    assert app.bodies == [qcow2()]
    assert (facts.format, facts.virtual_size) == ("qcow2", 10 << 20)


def test_an_image_cut_in_its_header_is_refused(alone):
    app = apps.App(apps.by(4096))
    answer = put(alone("sniff", app), qcow2()[:80])
    assert answer.code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/v2.5/images/x/file",
        "/v2.17/images/x/stage",
        "//v2/images/x/file",
        "/v2//images///x/file//",
        "//v2.9//images/x//stage/",
        "/images/x/file",
    ],
)
def test_there_is_no_way_round(alone, path):
    """Before Glance: it takes an image at each of these, at the last by the version in Accept."""
    app = apps.App(apps.by(4096))
    answer = put(alone("sniff", app), qcow2(backing=0x200), PATH_INFO=path)
    assert (answer.code, answer.reason) == (415, "image_refused")


class Declares(apps.App):
    """An application that knows what it wants."""

    def __init__(self, disk_format):
        super().__init__(apps.by(4096))
        self.disk_format = disk_format

    def __call__(self, environ, start_response):
        environ[INSPECTION].declare(self.disk_format)
        return super().__call__(environ, start_response)


@pytest.mark.parametrize(
    ("data", "declared", "code"),
    [
        pytest.param(qcow2(), "qcow2", 200, id="qcow2"),
        pytest.param(qcow2(), "raw", 415, id="qcow2-as-raw"),
        pytest.param(bytes(4096), "raw", 200, id="raw"),
        pytest.param(bytes(4096), "qcow2", 415, id="raw-as-qcow2"),
    ],
)
def test_what_is_declared_must_be_there(alone, data, declared, code):
    answer = put(alone("sniff", Declares(declared)), data)
    assert (answer.code, answer.reason) == (code, None if code == 200 else "format_mismatch")
    client = put(
        alone("sniff", apps.App(apps.by(4096))), data, HTTP_X_IMAGE_META_DISK_FORMAT=declared
    )
    assert client.code == code


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({"REQUEST_METHOD": "POST"}, id="post"),
        pytest.param({"PATH_INFO": IMAGE}, id="record"),
        pytest.param({"PATH_INFO": "/v2/images/\xff/x/file"}, id="not-utf-8"),
    ],
)
def test_other_bodies_are_left_alone(alone, entries):
    app = apps.App(apps.by(4096))
    answer = put(alone("sniff", app), qcow2(backing=0x200), **entries)
    assert answer.code == 200
    assert INSPECTION not in app.environs[0]


def test_other_requests_can_be_named(alone):
    app = apps.App(apps.by(4096))
    filtered = alone("sniff", app, requests="POST /images")
    entries = {"REQUEST_METHOD": "POST", "PATH_INFO": "/images"}
    assert put(filtered, qcow2(backing=0x200), **entries).code == 415


def test_an_invalid_expression_is_refused(alone):
    with pytest.raises(errors.BadConfig) as caught:
        alone("sniff", apps.App(), requests="PUT (")
    assert caught.value.key == "sniff.requests"


class Glance(apps.App):
    """An application with a record of the image, which does not know the filter."""

    def __init__(self, status="200 OK", record=b"{}"):
        super().__init__(apps.by(1000))
        self.record_status, self.record, self.questions = status, record, []

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] == "PUT":
            return super().__call__(environ, start_response)
        environ["from.the.question"] = environ["test.nested"]["value"] = True
        assert environ["wsgi.input"].read(1) == b""
        self.questions.append(environ)
        start_response(self.record_status, [("Content-Type", "application/json")])
        return self.closing([self.record[:3], self.record[3:]])


def formats(disk, container="bare", **properties):
    fields = {"disk_format": disk, "container_format": container, **properties}
    return json.dumps(fields).encode()


#: An encrypted volume as Cinder uploads it: a LUKS 2 header and its data.
LUKS = (b"LUKS\xba\xbe\x00\x02" + (0x4000).to_bytes(8, "big")).ljust(0x8000, b"\0")


@pytest.mark.parametrize(
    ("status", "record", "data", "code", "reason"),
    [
        ("200 OK", formats("raw"), qcow2(), 415, "format_mismatch"),
        ("200 OK", formats("qcow2"), bytes(1024), 415, "format_mismatch"),
        ("200 OK", formats("qcow2"), qcow2(), 200, None),
        ("200 OK", formats(None, None), qcow2(), 200, None),
        ("200 OK", formats("qcow2", "docker"), qcow2(), 415, "format_mismatch"),
        ("200 OK", formats("raw", cinder_encryption_key_id="k"), LUKS, 200, None),
        ("200 OK", formats("raw"), LUKS, 415, "format_mismatch"),
        ("200 OK", formats(["raw"], ["bare"]), qcow2(), 503, "unavailable"),
        ("404 Not Found", b"", qcow2(), 200, None),  # the application answers the upload, too
        ("503 Service Unavailable", b"", qcow2(), 503, "unavailable"),
        ("200 OK", b"no record", qcow2(), 503, "unavailable"),
        ("200 OK", b"[]", qcow2(), 503, "unavailable"),
        ("200 OK", b" " * (2 << 20), qcow2(), 503, "unavailable"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("action", ["file", "stage/"])
def test_the_record_of_the_image_says_its_format(alone, status, record, data, code, reason, action):
    app = Glance(status, record)
    filtered = alone("sniff", app, ask_record="true")
    entries = {"PATH_INFO": f"{IMAGE}/{action}", "HTTP_X_AUTH_TOKEN": "t", "test.nested": {}}
    answer = put(filtered, data, **entries)
    assert (answer.code, answer.reason) == (code, reason)
    (question,) = app.questions
    assert (question["REQUEST_METHOD"], question["PATH_INFO"]) == ("GET", IMAGE)
    assert question["HTTP_X_AUTH_TOKEN"] == "t"
    assert {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}.isdisjoint(question)
    assert all(one.closed == 1 for one in app.answers)
    assert entries["test.nested"] == {}
    assert all("from.the.question" not in environ for environ in app.environs)


def test_the_record_is_not_asked_unless_it_is_an_option(alone):
    app = Glance(record=formats("raw"))
    assert put(alone("sniff", app), qcow2()).code == 200
    assert app.questions == []
