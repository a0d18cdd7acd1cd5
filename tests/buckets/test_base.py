"""Users' buckets: the configured service and its accounts."""

import pytest

from imsgate import config
from imsgate.buckets import base
from imsgate.errors import BadConfig
from imsgate.services import load_services

S3 = "driver = s3\ns3_store_host = http://127.0.0.1:1\ns3_store_access_key = a\n"
WHOLE = f"{S3}s3_store_secret_key = s\n"


def conf(tmp_path, text):
    path = tmp_path / "imsgate.conf"
    path.write_text(f"[ims_buckets]\n{text}\n[registry]\ndriver = memory\n")
    return config.Config([str(path)], str(tmp_path))


def test_none_unless_asked_for(tmp_path):
    assert base.load(conf(tmp_path, "")) is None
    assert load_services(conf(tmp_path, "")).allowed_buckets is None


def test_they_need_no_connection_to_start(tmp_path):
    parts = load_services(conf(tmp_path, f"{WHOLE}allowed = p:bkt, *:all-of-us\n"))
    parts.allowed_buckets.check("p", "bkt")
    parts.allowed_buckets.check("q", "all-of-us")


OWN = "s3_store_host = http://127.0.0.1:2\ns3_store_access_key = b\n"


def test_a_project_may_have_an_account_of_its_own(tmp_path):
    """Its section inherits nothing, or the project would get the operator's permissions."""
    text = f"{WHOLE}accounts = p:tenant\n[tenant]\n{OWN}s3_store_secret_key = t\n"
    accounts = base.load(conf(tmp_path, text))
    assert accounts.of("q") is accounts.of(None) is accounts.default
    keys = {project: accounts.of(project)._options.s3_store_secret_key for project in "pq"}
    assert keys == {"p": "t", "q": "s"}
    with pytest.raises(BadConfig, match=r"\[tenant\] s3_store_secret_key"):
        load_services(conf(tmp_path, f"{WHOLE}accounts = p:tenant\n[tenant]\n{OWN}"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("driver = carrier-pigeon", "driver"),
        (S3, "s3_store_secret_key"),
        (f"{WHOLE}s3_store_large_object_chunk_size = 1", "s3_store_large_object_chunk_size"),
        (f"{WHOLE}allowed = bkt", "allowed"),
        (f"{WHOLE}allowed = p:../etc", "allowed"),
    ],
)
def test_what_cannot_work_is_named(tmp_path, text, key):
    with pytest.raises(BadConfig, match=rf"\[ims_buckets\] {key}"):
        load_services(conf(tmp_path, text))


def test_the_drivers_options_are_listed():
    ((group, options),) = base.list_opts()
    names = [option.dest for option in options]
    assert group == "ims_buckets"
    assert {"driver", "allowed", "s3_store_host"} <= set(names)
    assert "s3_store_bucket" not in names
