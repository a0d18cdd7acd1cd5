"""Which objects the drivers recognize by the URLs that Glance has recorded."""

import pytest

from imsgate import config
from imsgate.stores import loader
from imsgate.stores.base import Adopts
from imsgate.stores.s3.store import S3Store

ID = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a"

S3 = "s3_store_bucket = glance\ns3_store_access_key = ab\ns3_store_secret_key = k/+:\n"
SWIFT = (
    "glance_store_driver = swift\nswift_store_auth_address = https://keystone.example/v3\n"
    "swift_store_user = service:glance\nswift_store_key = new\nswift_store_container = images\n"
    "swift_store_auth_version = 3"
)
SPREAD = "\nswift_store_multiple_containers_seed = 2"

#: Driver, its options, a URL, and the location that it names, if any.
CASES = [
    ("file", "", f"file://{{root}}/{ID}", ID),
    ("file", "", f"filesystem://{{root}}/{ID}", ID),
    ("file", "", f"file://{{root}}/../x/{ID}", None),
    ("file", "", f"file://{{root}}/{ID}/..", None),
    ("file", "", f"http://{{root}}/{ID}", None),
    ("file", "", f"{{root}}/{ID}", None),
    ("s3", f"{S3}s3_store_host = https://s3.example", f"s3+https://s3.example/glance/{ID}", ID),
    (
        "s3",
        f"{S3}s3_store_host = https://s3.example",
        f"s3+https://ab:k/+:@s3.example/glance/{ID}",
        ID,
    ),
    ("s3", f"{S3}s3_store_host = https://s3.example", f"s3+https://s3.example/other/{ID}", None),
    ("s3", f"{S3}s3_store_host = https://s3.example", f"s3+https://s4.example/glance/{ID}", None),
    (
        "s3",
        f"{S3}s3_store_host = https://s3.example",
        f"s3+https://s3.example/glance/sub/{ID}",
        None,
    ),
    ("s3", f"{S3}s3_store_host = http://s3.example:8080", f"s3://s3.example:8080/glance/{ID}", ID),
    ("s3", f"{S3}s3_store_host = s3.example", f"s3://ab:k@s3.example/glance/{ID}", ID),
    ("glance", "", f"file://{{root}}/{ID}", ID),
    ("glance", "", f"file://{{root}}/sub/../{ID}", None),
    ("glance", "", f"file://{{root}}{ID}", None),
    ("glance", SWIFT, f"swift+https://u%3Ag:old@keystone.example/v3/images/{ID}", ID),
    ("glance", SWIFT, f"swift+https://u%3Ag:old@keystone.example/v3/other/{ID}", None),
    ("glance", SWIFT, f"swift+https://u%3Ag:old@elsewhere.example/v3/images/{ID}", None),
    ("glance", SWIFT + SPREAD, f"swift+https://u:k@keystone.example/v3/images_6f/{ID}", ID),
    ("glance", SWIFT + SPREAD, f"swift+https://u:k@keystone.example/v3/images_7f/{ID}", None),
]


@pytest.mark.parametrize(("driver", "options", "url", "location"), CASES)
def test_location_of_a_url(tmp_path, monkeypatch, driver, options, url, location):
    monkeypatch.setattr(S3Store, "start", lambda _: None)  # there is no such service
    root = tmp_path / "images"
    file = tmp_path / "imsgate.conf"
    options = options or f"filesystem_store_datadir = {root}"
    file.write_text(f"[DEFAULT]\nenabled_backends = g:{driver}\n[g]\n{options}\n")
    store = loader.load(config.Config([str(file)], str(tmp_path / "state"))).choose(None)
    assert isinstance(store, Adopts)
    assert store.glance_location(url.format(root=root)) == location
