"""The adapter to glance_store: the contract with real drivers, and what drivers do not promise."""

import contextlib
import os
import threading

import pytest
from glance_store._drivers import s3

from imsgate import config, errors
from imsgate.stores import loader
from imsgate.stores.glance.bounded_pipe import BoundedPipe, PipeClosed
from imsgate.stores.mark import MARK
from imsgate.testing import StoreContract
from imsgate.testing.stores import local
from tests.stores.s3 import servers
from tests.stores.test_filesystem import largest_file

MIB = 1 << 20
KEY = "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"


def load(path, text):
    """The store ``g`` of a configuration that has ``text`` in its section."""
    file = path / "imsgate.conf"
    file.write_text(f"[DEFAULT]\nenabled_backends = g:glance\n[g]\n{text}\n")
    return loader.load(config.Config([str(file)], str(path / "state"))).choose(None)


@pytest.fixture
def filed(tmp_path):
    return load(tmp_path, f"filesystem_store_datadir = {tmp_path}/images")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    home = tmp_path_factory.mktemp("seaweed")
    with servers.running(servers.seaweed(home)) as server, servers.bucket(server) as made:
        yield made


def in_s3(path, bucket, **changed):
    options = {
        "glance_store_driver": "s3",
        "s3_store_host": bucket.server.url,
        "s3_store_region_name": "us-east-1",
        "s3_store_access_key": servers.ACCESS,
        "s3_store_secret_key": servers.SECRET,
        "s3_store_bucket": bucket.name,
        "s3_store_bucket_url_format": "path",
        **changed,
    }
    return load(path, "\n".join(f"{name} = {value}" for name, value in options.items()))


class TestWithItsFilesystemDriver(StoreContract):
    RENAMES_NEED_SYNC = False  # the file has its name from the beginning, and is hidden here

    def sync_fault(self, store, before):
        return local.syncs(before)

    def truncate(self, store, location, size):
        local.truncate(os.path.join(store.settings.filesystem_store_datadir, location), size)

    @pytest.fixture
    def store(self, filed):
        return filed

    def leftovers(self, store):
        return [
            name for name in os.listdir(store.settings.filesystem_store_datadir) if name != MARK
        ]

    def again(self, store):
        return store  # a driver's thread may begin to write after another process has discarded

    def write_fault(self, store, nth):
        return largest_file((nth - 1) << 19)

    @contextlib.contextmanager
    def away(self, store):
        directory = store.settings.filesystem_store_datadir
        os.rename(directory, f"{directory}-away")
        yield
        os.rename(f"{directory}-away", directory)

    @contextlib.contextmanager
    def replaced(self, store):
        directory = store.settings.filesystem_store_datadir
        with self.away(store):
            os.mkdir(directory)
            yield
            os.rmdir(directory)

    def private(self, store):
        return [store.settings.filesystem_store_datadir]


@pytest.fixture(scope="module")
def one_client():
    """One client per key. The driver makes a session and a client per request, which is slow."""
    make, made = s3.Store._create_s3_client, {}

    def client(store):
        who = store.access_key, store.secret_key
        if who not in made:
            made[who] = make(store)
        return made[who]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3.Store, "_create_s3_client", client)
        yield
    for each in made.values():
        each.close()


@pytest.mark.usefixtures("one_client")
class TestWithItsS3Driver(StoreContract):
    SEQUENCES = 4

    @pytest.fixture
    def store(self, tmp_path, bucket):
        self.bucket = bucket
        return in_s3(tmp_path, bucket)

    def leftovers(self, store):
        return self.bucket.leftovers()

    def again(self, store):
        return store

    def private(self, store):
        return [servers.SECRET]


@pytest.mark.parametrize("number", [0, 1])
def test_one_of_several_directories_is_missing(tmp_path, number):
    names = [tmp_path / "a", tmp_path / "b"]
    options = [f"filesystem_store_datadirs = {name}:100" for name in names]
    store = load(tmp_path, "\n".join(["filesystem_store_datadir =", *options]))
    assert store.unmarked() == "[g] filesystem_store_datadirs"
    store.mark()
    assert store.unmarked() is None
    store.check()
    names[number].rename(tmp_path / "away")
    names[number].mkdir()
    for call in (store.check, lambda: store.delete(KEY), lambda: store.create(KEY, 4)):
        with pytest.raises(errors.StoreUnavailable):
            call()


def test_a_bucket_that_was_deleted_is_not_an_object_that_is_missing(tmp_path, bucket):
    name = f"{bucket.name}-deleted"
    bucket.client.create_bucket(Bucket=name)
    store = in_s3(tmp_path, bucket, s3_store_bucket=name)
    with pytest.raises(errors.ObjectNotFound):
        store.delete(KEY)
    bucket.client.delete_bucket(Bucket=name)
    for call in (store.read, store.size, store.delete, store.discard):
        with pytest.raises(errors.StoreUnavailable):
            call(KEY)


# Secrets


def test_neither_location_nor_error_has_credentials(tmp_path, bucket, caplog):
    store = in_s3(tmp_path, bucket)
    with store.create(KEY, 4) as sink:
        sink.write(b"data")
        assert sink.commit() == KEY
    store.delete(KEY)
    (tmp_path / "denied").mkdir()
    denied = in_s3(tmp_path / "denied", bucket, s3_store_secret_key="another-secret")
    with denied.create(KEY, 4) as sink, pytest.raises(errors.StoreUnavailable) as caught:
        sink.commit()
    told = f"{caught.value}{caught.value.details}{caplog.text}{store.properties()}"
    assert not [word for word in (servers.SECRET, "another-secret") if word in told]


def test_swift_keeps_its_password_out_of_locations(tmp_path):
    """glance_store puts it into every URI. The driver needs a Keystone, so nothing is sent here."""
    store = load(
        tmp_path,
        "glance_store_driver = swift\nswift_store_auth_address = http://127.0.0.1:9/v3\n"
        "swift_store_user = service:glance\nswift_store_key = hunter2\n"
        "swift_store_auth_version = 3\nswift_store_retry_get_count = 0",
    )
    uri = store._uri(KEY)
    assert "hunter2" in uri
    assert store._location(KEY, uri) == KEY
    with pytest.raises(errors.StoreUnavailable) as caught:
        store.delete(KEY)
    assert "hunter2" not in f"{caught.value}{store.properties()}"


def test_an_upload_that_ends_early_leaves_no_parts(tmp_path, bucket):
    """The driver aborts a multipart upload only if the body is too short."""
    store = in_s3(tmp_path, bucket, s3_store_large_object_size=6)
    store._conf.set_override("s3_store_large_object_chunk_size", 5, group="g")
    with store.create(KEY, 20 * MIB) as sink:
        for _ in range(12):
            sink.write(bytes(MIB))
    assert bucket.leftovers() == []


BAD = {
    "no driver": ("glance_store_driver = floppy", "available: cinder, file"),
    "not configured": ("glance_store_driver = swift", "swift_store_auth_address"),
    "many tenants": (
        "glance_store_driver = swift\nswift_store_multi_tenant = true",
        "swift_store_multi_tenant",
    ),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_what_must_not_start(tmp_path, text, told):
    with pytest.raises(errors.BadConfig, match=told) as caught:
        load(tmp_path, text)
    assert caught.value.key.startswith("[g] ")


def test_a_driver_that_only_reads_takes_nothing(tmp_path):
    store = load(tmp_path, "glance_store_driver = http")
    assert store.read_only
    with pytest.raises(errors.StoreDenied):
        store.create(KEY, 4)
    store.discard(KEY)
    store.check()


# The pipe


def test_the_writer_waits_for_a_slow_reader():
    pipe = BoundedPipe(capacity=2)
    pipe.put(b"ab")
    waiting = threading.Thread(target=pipe.put, args=(b"cd",))
    waiting.start()
    assert waiting.is_alive()
    assert pipe.read(1) == b"a"
    waiting.join(300)
    assert not waiting.is_alive()
    pipe.finish()
    assert (pipe.read(2), pipe.read(None), pipe.read(5)) == (b"bc", b"d", b"")


def test_put_fails_when_nobody_reads():
    pipe = BoundedPipe()
    pipe.leave()
    with pytest.raises(PipeClosed):
        pipe.put(b"data")


def test_read_raises_the_error_of_cancel():
    pipe = BoundedPipe()
    pipe.put(b"data")
    pipe.cancel(ValueError("why"))
    with pytest.raises(ValueError, match="why"):
        pipe.read(1)
