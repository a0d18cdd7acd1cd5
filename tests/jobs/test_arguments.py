"""Arguments of jobs: what is stored stays the same, so that jobs survive an upgrade."""

import dataclasses
import json

import pytest

from imsgate.buckets.image_url import ImageUrl
from imsgate.jobs import arguments
from imsgate.jobs.arguments import (
    ExportArguments,
    ImportArguments,
    LocationArguments,
    SealedCredential,
)
from imsgate.model import Location
from imsgate.testing.records import job

URL = ImageUrl("bucket", "a/key")
CREDENTIAL = SealedCredential(sealed="x", rule="modify_image", service_roles=frozenset({"b", "a"}))


def stored(built):
    """A job with these arguments, as a database returns it."""
    return job(arguments=json.loads(json.dumps(built)))


BUILT = {
    "requested": (
        arguments.requested_by(
            user_id="u", request_id="r", credential=CREDENTIAL, certificate=b"\x30\x82"
        ),
        {
            "user_id": "u",
            "request_id": "r",
            "warrant": {"sealed": "x", "rule": "modify_image", "service_roles": ["a", "b"]},
            "certificate": "MII=",
        },
    ),
    "requested without more": (
        arguments.requested_by(user_id=None, request_id="r"),
        {"user_id": None, "request_id": "r"},
    ),
    "import": (
        arguments.for_import(
            method={"name": "web-download", "uri": "http://a/", "digest": "md5:0"},
            store_ids=["a", "b"],
            all_stores_must_succeed=False,
            asked={"method": {"name": "web-download"}},
        ),
        {
            "method": {"name": "web-download", "uri": "http://a/", "digest": "md5:0"},
            "stores": ["a", "b"],
            "all_stores_must_succeed": False,
            "asked": {"method": {"name": "web-download"}},
        },
    ),
    "bucket import": (
        arguments.for_bucket_import(
            method="ims-create",
            url=URL,
            store_id="a",
            properties={"__image_source": "x"},
            name="n",
            job_type="imsImportImageJob",
            quick=True,
        ),
        {
            "method": {"name": "ims-create"},
            "stores": ["a"],
            "all_stores_must_succeed": True,
            "properties": {"__image_source": "x"},
            "name": "n",
            "job_type": "imsImportImageJob",
            "formats": ["raw", "zvhd2"],
            "object": ["bucket", "a/key"],
            "asked": {"object": "bucket:a/key"},
        },
    ),
    "location": (
        arguments.for_location(
            location=Location("a", "url"), validation_data={"os_hash_algo": "md5"}, read=True
        ),
        {"location": ["a", "url"], "validation_data": {"os_hash_algo": "md5"}, "read": True},
    ),
    "export": (
        arguments.for_export(url=URL),
        {"object": ["bucket", "a/key"], "asked": {"object": "bucket:a/key"}},
    ),
}


@pytest.mark.parametrize(("built", "expected"), BUILT.values(), ids=BUILT)
def test_stored_form(built, expected):
    assert stored(built).arguments == expected


def test_credential_is_read_and_removed():
    running = stored(BUILT["requested"][0])
    assert SealedCredential.of(running) == CREDENTIAL
    ended = dataclasses.replace(running, arguments=arguments.without_credential(running.arguments))
    assert SealedCredential.of(ended) is None


def test_import_is_read():
    read = ImportArguments.of(stored({**BUILT["import"][0], **BUILT["requested"][0]}))
    assert read.method["uri"] == "http://a/"
    assert read.store_ids == ("a", "b")
    assert (read.all_stores_must_succeed, read.certificate) == (False, b"\x30\x82")
    assert (read.url, read.formats, read.properties) == (None, (), {})
    assert (read.settled, read.surplus, read.left_out) == (False, (), ())


def test_bucket_import_is_read():
    read = ImportArguments.of(stored(BUILT["bucket import"][0]))
    assert (read.url, read.formats) == (URL, ("raw", "zvhd2"))
    assert (read.properties, read.certificate) == ({"__image_source": "x"}, None)


def test_settled_import_is_read():
    running = stored({**BUILT["import"][0], **BUILT["requested"][0]})
    settled = stored(arguments.when_settled(running, [Location("s", "u")], ["b"]))
    assert settled.arguments["surplus"] == [["s", "u"]]
    assert "warrant" not in settled.arguments
    read = ImportArguments.of(settled)
    assert (read.settled, read.surplus, read.left_out) == (True, (Location("s", "u"),), ("b",))


def test_location_is_read():
    read = LocationArguments.of(stored(BUILT["location"][0]))
    assert read == LocationArguments(
        location=Location("a", "url"),
        validation_data={"os_hash_algo": "md5"},
        read=True,
        certificate=None,
    )


def test_export_is_read():
    running = stored({**BUILT["export"][0], **arguments.when_begun("upload-id")})
    assert running.arguments["begun"] == "upload-id"
    assert ExportArguments.of(running) == ExportArguments(url=URL, begun="upload-id")
