"""What the bridge needs to start, and the access keys of several projects."""

import json

import pytest

from imsgate.errors import BadConfig
from imsgate.notifications import webhooks
from imsgate.notifications.settings import WebhookSettings
from imsgate.testing.gateways import memory_store
from tests.bridge import ims as fake
from tests.bridge.conftest import CONFIG, MEMBER, OTHER
from tests.bridge.ims import PROJECT

KEYS = "access_key = {access}\nsecret_key = {secret}\n"
NO_KEYS = CONFIG.replace(KEYS, "").replace("project_id = {project}\n", "")

#: What is changed in a configuration that works, and the key of the refusal.
BROKEN = {
    "no image service": ("upstream = {url}", "", "[forward] upstream"),
    "no key": (KEYS, "", "[forward] access_key"),
    "half a key": ("secret_key = {secret}", "", "[forward] secret_key"),
    "an image too large": ("image_size_cap = 137438953472", "", "[sizelimit] image_size_cap"),
    "two sources of keys": ("poll_interval", "projects_file = x\npoll_interval", "projects_file"),
    "a missing file": (f"{KEYS}[bridge]\n", "[bridge]\nprojects_file = /none\n", "projects_file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_configurations_that_cannot_work(make, store, case):
    old, new, key = BROKEN[case]
    assert old in CONFIG
    text = CONFIG.replace(old, new)
    if case == "a missing file":
        text = text.replace("project_id = {project}\n", "")
    with pytest.raises(BadConfig) as refused:
        make(store, text=text)
    assert refused.value.key.endswith(key)


@pytest.mark.parametrize("option", ["[glance_store] default_backend", "[upload] staging_store"])
def test_store_that_is_no_bucket(make, option):
    config = "[upload]\nstaging_store = obs\n" if "staging" in option else ""
    with pytest.raises(BadConfig) as refused:
        make(memory_store("obs"), config=config)
    assert refused.value.key == option


def test_local_records_are_not_notified(make, store, ims):
    """Receivers would learn that an image is deleted when IMS has it."""
    url, secret = "http://127.0.0.1:9/", "whsec_" + "a" * 32
    bridge = make(store, config=f"[webhooks]\nurls = {url}\nsecret = {secret}\n")
    assert bridge.put(ims.queued(), b"x" * 600).status_int == 204
    bridge.work()
    [target] = webhooks.load(WebhookSettings(urls=[url], secret=[secret]))
    assert bridge.services.registry.take_turn(target.name, 1e10, 2e10) is None


@pytest.fixture
def projects(tmp_path):
    """Writes the file of access keys."""
    path = tmp_path / "projects"

    def write(*entries, mode=0o600):
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        path.chmod(mode)
        return f"[bridge]\nprojects_file = {path}\n"

    return write


def entry(project, access=fake.ACCESS, secret=fake.SECRET):
    return {"project": project, "access_key": access, "secret_key": secret}


BAD_FILES = {
    "others may read it": ([entry("p")], 0o640),
    "a field is missing": ([{"project": "p"}], 0o600),
    "a field is unknown": ([{**entry("p"), "region": "r"}], 0o600),
    "no text": ([{**entry("p"), "project": 5}], 0o600),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_of_keys_that_cannot_be_used(make, store, projects, case):
    entries, mode = BAD_FILES[case]
    with pytest.raises(BadConfig) as refused:
        make(store, config=projects(*entries, mode=mode), text=NO_KEYS)
    assert refused.value.key == "[bridge] projects_file"


def test_each_project_has_its_own_key(make, store, ims, projects):
    ims.keys = {fake.ACCESS: (fake.SECRET, "p"), "SECOND": ("other-secret", "q")}
    file = projects(entry("p"), entry("q", "SECOND", "other-secret"))
    bridge = make(store, config=file, text=NO_KEYS)
    image_id = ims.queued(project="p")
    assert bridge.put(image_id, b"x" * 600, identity=OTHER).status_int == 404
    assert bridge.put(image_id, b"x" * 600).status_int == 204
    seen = [bridge.call(who, "GET", "/v2/images").json["images"] for who in (MEMBER, OTHER)]
    assert [len(images) for images in seen] == [1, 0]
    bridge.work()
    assert image_id in ims.data
    assert {"GET /v1/cloudimages/job/", "GET /v2/images"} <= {
        request.rstrip("0123456789abcdef") for request in ims.asked
    }


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_others_end_nothing(make, store, ims, projects, method):
    """IMS shows them no such image, which does not mean that there is none."""
    ims.keys = {fake.ACCESS: (fake.SECRET, "p"), "SECOND": ("other-secret", "q")}
    file = projects(entry("p"), entry("q", "SECOND", "other-secret"))
    bridge = make(store, config=file, text=NO_KEYS)
    image_id = ims.queued(project="p")
    assert bridge.put(image_id, b"x" * 600).status_int == 204
    path = f"/v2/images/{image_id}" + ("/file" if method == "PUT" else "")
    assert bridge.call(OTHER, method, path).status_int == 404
    bridge.work()
    assert image_id in ims.data


def test_project_without_a_key(make, store, ims, projects):
    """Until its line is added."""
    ims.keys = {fake.ACCESS: (fake.SECRET, "q")}
    bridge = make(store, config=projects(entry("p")), text=NO_KEYS)
    image_id = ims.queued(project="q")
    for answer in (
        bridge.call(OTHER, "GET", "/v2/images"),
        bridge.put(image_id, b"x" * 600, identity=OTHER),
    ):
        assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (403, "forbidden")
    assert bridge.call(None, "GET", "/").status_int == 401
    projects(entry("p"), entry("q"))
    assert bridge.put(image_id, b"x" * 600, identity=OTHER).status_int == 204


def test_file_that_becomes_invalid(make, store, ims, projects):
    bridge = make(store, config=projects(entry("p")), text=NO_KEYS)
    projects(entry("p"), mode=0o644)
    answer = bridge.put(ims.queued(project="p"), b"x" * 600)
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (503, "unavailable")


def test_file_that_becomes_invalid_during_a_registration(make, store, ims, projects):
    """It goes on once the file is valid again."""
    ims.keys = {fake.ACCESS: (fake.SECRET, "p")}
    bridge = make(store, config=projects(entry("p")), text=NO_KEYS)
    image_id = ims.queued(project="p")
    assert bridge.put(image_id, b"x" * 600).status_int == 204
    projects(entry("p"), mode=0o644)
    assert bridge.work(at_most=3) == 3
    projects(entry("p"))
    bridge.work()
    assert image_id in ims.data


def test_requests_name_the_project_of_the_cloud(bridge, ims):
    """A key for several projects needs that; it is signed as well."""
    ims.keys[fake.ACCESS] = (fake.SECRET, "another")
    answer = bridge.call(MEMBER, "GET", "/v2/images")
    assert answer.json["error_code"] == "APIGW.0302"
    ims.keys[fake.ACCESS] = (fake.SECRET, PROJECT)
    assert bridge.call(MEMBER, "GET", "/v2/images").status_int == 200
