"""``bucket:object``: valid names, and names that could be interpreted as more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate.buckets.image_url import Allowed, ImageUrl, parse
from imsgate.errors import BadImageUrl, BucketNotAccessible

GOOD = {
    "bkt:a.qcow2": ("bkt", "a.qcow2"),
    "my-bucket.1:path/to/an image.raw": ("my-bucket.1", "path/to/an image.raw"),
    "bkt:Ünïcode/镜像.vhd": ("bkt", "Ünïcode/镜像.vhd"),
    "bkt:?acl&x=%2e%2e#y": ("bkt", "?acl&x=%2e%2e#y"),
    "bkt:...": ("bkt", "..."),
    f"{'b' * 63}:{'k' * 1024}": ("b" * 63, "k" * 1024),
}

BAD = {
    "": "IMG.0017",
    "bucket": "IMG.0017",
    "a:b:c": "IMG.0017",
    "https://bucket.obs.example.test/x": "IMG.0075",
    ":x": "IMG.0068",
    "b?acl:x": "IMG.0109",
    "b/../c:x": "IMG.0109",
    "../b:x": "IMG.0109",
    "bkt/:x": "IMG.0109",
    "b%2e:x": "IMG.0109",
    "Bucket:x": "IMG.0109",
    "bu cket:x": "IMG.0109",
    "bkt\r\nHost\tx:y": "IMG.0109",
    "bkt\n:x": "IMG.0109",
    "bück:x": "IMG.0109",
    "bkt\u0661:x": "IMG.0109",
    "ab:x": "IMG.0109",
    f"{'b' * 64}:x": "IMG.0109",
    "-bkt:x": "IMG.0109",
    "bkt-:x": "IMG.0109",
    "bkt..x:y": "IMG.0109",
    "127.0.0.1:x": "IMG.0109",
    "1.2.3.4:x": "IMG.0109",
    "bkt:": "IMG.0073",
    f"bkt:{'k' * 1025}": "IMG.0074",
    f"bkt:{'ü' * 513}": "IMG.0074",
    "bkt:x\r\nHost": "IMG.0075",
    "bkt:x\0": "IMG.0075",
    "bkt:x\x7f": "IMG.0075",
    "bkt:x\x85y": "IMG.0075",
    "bkt:x\u2028y": "IMG.0075",
    "bkt:\ud800": "IMG.0075",
    "bkt:../x": "IMG.0075",
    "bkt:a/./x": "IMG.0075",
    "bkt:a//x": "IMG.0075",
    "bkt:/etc/passwd": "IMG.0075",
    "bkt:x/": "IMG.0075",
    "bkt: x": "IMG.0175",
    "bkt:x ": "IMG.0175",
}


@pytest.mark.parametrize("text", GOOD, ids=lambda text: text[:20])
def test_names(text):
    assert parse(text) == ImageUrl(*GOOD[text])


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:20]))
def test_what_is_refused(text):
    with pytest.raises(BadImageUrl) as refused:
        parse(text)
    assert refused.value.code == BAD[text]


@given(st.text())
def test_whatever_is_taken_is_two_plain_names(text):
    try:
        url = parse(text)
    except BadImageUrl:
        return
    assert f"{url.bucket}:{url.key}" == text
    assert set(url.bucket) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert not {"", ".", ".."} & set(url.key.split("/"))
    assert len(url.key.encode()) <= 1024


@pytest.mark.parametrize(
    ("project", "bucket", "allowed"),
    [
        ("p1", "one", True),
        ("p1", "two", False),
        ("p2", "one", False),
        ("p2", "common", True),
        ("all", "anything", True),
        (None, "common", False),
        ("*", "one", False),
        ("a:b", "with-colon", True),
    ],
)
def test_which_project_may_use_which_bucket(project, bucket, allowed):
    rules = Allowed(["p1:one", " *:common", "all:*", "a:b:with-colon"])
    if allowed:
        rules.check(project, bucket)
        return
    with pytest.raises(BucketNotAccessible):
        rules.check(project, bucket)


@pytest.mark.parametrize("pair", ["", "bucket", ":bucket", "p:", "p:B", "p:a/b"])
def test_pairs_that_cannot_be_meant(pair):
    with pytest.raises(ValueError, match="colon"):
        Allowed([pair])
