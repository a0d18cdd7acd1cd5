"""Users' buckets on a real server."""

import contextlib
import os
import re

import pytest

from imsgate import errors
from imsgate.buckets.base import Accounts
from imsgate.buckets.s3 import S3Buckets
from imsgate.cmd import main
from imsgate.config import Section
from tests.stores.s3 import servers
from tests.stores.s3.proxy import between

BODY = os.urandom((9 << 20) + 1)


@pytest.fixture(scope="module")
def bucket(seaweed):
    with servers.bucket(seaweed) as bucket:
        bucket.client.put_object(Bucket=bucket.name, Key="a b/ü?x=%2e", Body=BODY)
        yield bucket


def buckets(bucket, **changed):
    settings = vars(bucket.settings(**changed))
    own = {"allowed": [], "driver": "s3", "server_side_copy": True, "minimum_rate": 4096}
    return S3Buckets("ims_buckets", Section(**{**settings, **own}))


def test_an_object_is_found_and_read(bucket):
    service = buckets(bucket)
    found = service.find(bucket.name, "a b/ü?x=%2e")
    assert (found.size, found.storage_class) == (len(BODY), "STANDARD")
    with contextlib.closing(service.read(bucket.name, "a b/ü?x=%2e")) as chunks:
        assert b"".join(chunks) == BODY


def test_missing_objects_and_buckets(bucket):
    service = buckets(bucket)
    assert service.find(bucket.name, "missing") is None
    with pytest.raises(errors.SourceMissing):
        next(service.read(bucket.name, "missing"))
    for ask in (service.find, lambda *names: next(service.read(*names))):
        with pytest.raises(errors.BucketNotAccessible):
            ask("no-such-bucket", "a")


def test_refused_keys(bucket, caplog):
    """The user is told what is always told; the log tells the operator."""
    service = buckets(bucket, s3_store_secret_key="wrong")
    with pytest.raises(errors.BucketNotAccessible) as refused:
        service.find(bucket.name, "a")
    assert "wrong" not in str(refused.value)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "[ims_buckets] s3_store_access_key: it answered" in told
    assert "wrong" not in told


WRONG = {"s3_store_secret_key": "wrong", "s3_store_access_key": "nobody"}


@pytest.mark.parametrize(("option", "value"), WRONG.items())
def test_keys_are_checked_without_a_bucket(bucket, option, value):
    buckets(bucket).check()
    with pytest.raises(errors.BadConfig) as refused:
        buckets(bucket, **{option: value}).check()
    assert refused.value.key == "[ims_buckets] s3_store_access_key"


def reply(status, code):
    body = f"<Error><Code>{code}</Code></Error>"
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented")])
def test_keys_that_may_not_list_buckets_are_right(bucket, caplog, status, code):
    with between(bucket.server.port) as proxy:
        proxy.rules.append(lambda line: reply(status, code))
        service = buckets(bucket, s3_store_host=proxy.url, s3_store_attempts=1)
        service.check()
        if status == 403:
            with pytest.raises(errors.BucketNotAccessible):
                service.find(bucket.name, "a")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_the_keys_of_one_project_do_not_keep_others_waiting(bucket, caplog):
    wrong, away = buckets(bucket, **WRONG), buckets(bucket, s3_store_host="http://127.0.0.1:1")
    accounts = Accounts(buckets(bucket), {"p": wrong, "q": away})
    accounts.check_at_start()
    levels = [record.levelname for record in caplog.records if record.levelname != "INFO"]
    assert levels == ["ERROR", "WARNING"]
    found = dict(accounts.check())
    assert found.pop("ims_buckets") == ""
    assert "s3_store_access_key" in found["ims_buckets:p"]
    assert "cannot be reached" in found["ims_buckets:q"]
    with pytest.raises(errors.BadConfig):
        Accounts(wrong).check_at_start()
    Accounts(away).check_at_start()


def test_stores_check_checks_them_too(bucket, tmp_path, capsys):
    path = tmp_path / "imsgate.conf"
    names = "host access_key secret_key bucket_url_format".split()
    options = {f"s3_store_{n}": getattr(bucket.settings(), f"s3_store_{n}") for n in names}
    for secret, status in ((servers.SECRET, 0), ("wrong", 1)):
        options["s3_store_secret_key"] = secret
        lines = [f"{name} = {value}" for name, value in options.items()]
        path.write_text("\n".join(["[ims_buckets]", "driver = s3", *lines, ""]))
        command = ["stores", "check", "--size", "1", "--state", str(tmp_path)]
        assert main.main([*command, "--config-file", str(path)]) == status
        row = capsys.readouterr().out.splitlines()[-1]
        assert row.split()[:2] == ["ims_buckets", "keys"]
        assert ("s3_store_access_key" in row) is bool(status)
        path = tmp_path / "other.conf"


def test_a_service_that_is_away(bucket):
    service = buckets(bucket, s3_store_host="http://127.0.0.1:1", s3_store_attempts=1)
    with pytest.raises(errors.SourceFailed, match="cannot be reached"):
        service.find(bucket.name, "a")


def test_another_class(bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="cold", Body=b"x", StorageClass="STANDARD_IA")
    assert buckets(bucket).find(bucket.name, "cold").storage_class == "STANDARD_IA"


@pytest.mark.parametrize("after", [-1, -2_000, -700_000])
def test_interrupted_reading_continues_at_the_same_byte(bucket, after):
    with between(bucket.server.port) as proxy:
        proxy.cut("^GET ", after)
        service = buckets(bucket, s3_store_host=proxy.url)
        assert b"".join(service.read(bucket.name, "a b/ü?x=%2e")) == BODY
        assert proxy.happened.is_set()


@pytest.mark.parametrize("size", [1, len(BODY)])
def test_an_object_is_written_and_never_replaced(bucket, size):
    service, key = buckets(bucket), f"written/{size}"
    for _ in range(2):
        with service.create(bucket.name, key, size) as sink:
            sink.write(BODY[:size])
    assert service.find(bucket.name, key) is None  # neither was committed
    with service.create(bucket.name, key, size) as sink:
        sink.write(BODY[:size])
        sink.commit()
    assert b"".join(service.read(bucket.name, key)) == BODY[:size]
    with service.create(bucket.name, key, size) as sink:
        sink.write(bytes(size))
        with pytest.raises(errors.TargetExists):
            sink.commit()
    assert b"".join(service.read(bucket.name, key)) == BODY[:size]
    assert not bucket.uploads()


def test_what_others_write_under_the_key_is_left_alone(bucket):
    """Another's upload continues. What a dead process left is identified by its upload id."""
    service, named = buckets(bucket), {"Bucket": bucket.name, "Key": "shared"}
    theirs = bucket.client.create_multipart_upload(**named)["UploadId"]
    with service.create(bucket.name, "shared", len(BODY)) as aborted:
        aborted.write(BODY)
    dead = service.create(bucket.name, "shared", len(BODY))
    with service.create(bucket.name, "shared", len(BODY)) as first:
        first.write(BODY)
        dead.write(BODY)
        assert dead.begun != first.begun
        service.discard(bucket.name, "shared", dead.begun)
        service.discard(bucket.name, "shared", dead.begun)
        first.commit()
    dead.abort()
    part = bucket.client.upload_part(**named, UploadId=theirs, PartNumber=1, Body=b"x")
    assert part["ETag"]
    bucket.client.abort_multipart_upload(**named, UploadId=theirs)
    assert not bucket.uploads()
    assert b"".join(service.read(bucket.name, "shared")) == BODY


@pytest.mark.parametrize("size", [1, len(BODY)])
def test_of_two_writers_of_one_object_the_second_is_refused(bucket, size):
    service, key = buckets(bucket), f"twice/{size}"
    with (
        service.create(bucket.name, key, size) as one,
        service.create(bucket.name, key, size) as two,
    ):
        one.write(BODY[:size])
        two.write(bytes(size))
        one.commit()
        with pytest.raises(errors.TargetExists):
            two.commit()
    assert b"".join(service.read(bucket.name, key)) == BODY[:size]
    assert not bucket.uploads()


REFUSED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 46\r\nConnection: close\r\n\r\n"
    b"<Error><Code>AccessDenied</Code></Error>      "
)


def test_a_key_that_may_not_write(bucket):
    with between(bucket.server.port) as proxy:
        proxy.rules.append(lambda line: REFUSED if re.search(r"^POST .*uploads", line) else None)
        service = buckets(bucket, s3_store_host=proxy.url)
        with pytest.raises(errors.BucketNotAccessible):
            service.create(bucket.name, "large", len(BODY))


def test_invalid_settings_refuse_to_start(bucket):
    with pytest.raises(errors.BadConfig, match=r"\[ims_buckets\] s3_store_access_key"):
        buckets(bucket, s3_store_access_key="")
