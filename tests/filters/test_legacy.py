"""The pipeline of the page about filters, before a service that is none of ours."""

import pathlib
import re

import pytest
from paste.deploy import loadwsgi

from imsgate.errors import BadConfig
from imsgate.testing import apps
from tests.filters.alone import put
from tests.formats import craft

PAGE = pathlib.Path(__file__).parent.parent.parent / "doc" / "filters.md"
UPLOAD = {"REQUEST_METHOD": "POST", "PATH_INFO": "/upload/first"}
MIB = 1 << 20


def legacy(global_conf):
    """A service that keeps what it is sent, as ``legacy.made``."""
    legacy.made = apps.App(apps.by(1 << 16))
    return legacy.made


@pytest.fixture
def pipeline(tmp_path):
    (text,) = re.findall(r"```\n(\[pipeline:main\].*?)```", PAGE.read_text(), re.S)
    images = "(use = egg:imsgate#(headers|sizelimit|sniff))"
    text, count = re.subn(images, r"\1\nrequests = POST /upload/.*", text)
    assert count == 3
    text = text.replace("legacy.service:app_factory", f"{__name__}:legacy")
    (tmp_path / "paste.ini").write_text(text)
    state = {"state_path": str(tmp_path)}
    return loadwsgi.loadapp(f"config:{tmp_path}/paste.ini", global_conf=state)


def test_images_of_any_length_pass(pipeline):
    image = craft.qcow2() + bytes(2 * MIB)
    assert put(pipeline, image, **UPLOAD).code == 200
    assert put(pipeline, image, chunked=True, **UPLOAD).code == 200
    assert legacy.made.bodies == [image, image]


def test_hostile_images_do_not(pipeline):
    answer = put(pipeline, craft.qcow2(backing=0x200) + bytes(2 * MIB), **UPLOAD)
    assert (answer.code, legacy.made.bodies) == (415, [])


def test_other_bodies_are_limited_as_metadata(pipeline):
    """When the application reads them: the path may not exist."""
    answer = put(pipeline, bytes(MIB + 1))
    assert (answer.code, answer.reason, legacy.made.bodies) == (413, "too_large", [])


@pytest.mark.parametrize("name", ["headers", "encoding", "sizelimit", "pace", "sniff"])
def test_an_invalid_expression_refuses_to_start(alone, name):
    with pytest.raises(BadConfig) as caught:
        alone(name, apps.App(), requests="POST (")
    assert caught.value.key == f"{name}.requests"
