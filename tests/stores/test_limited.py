"""Another driver's store at limited speed."""

import os

import pytest

from imsgate import config
from imsgate.errors import BadConfig
from imsgate.stores import loader
from imsgate.stores.base import LocalFiles, Resumable, Swept
from imsgate.stores.throttle import Throttle
from imsgate.testing import StoreContract

MIB = 1 << 20


def load(path, text):
    """The store ``l`` of a configuration that has ``text`` in its section."""
    file = path / "imsgate.conf"
    file.write_text(f"[DEFAULT]\nenabled_backends = l:limited\n[l]\n{text}\n")
    return loader.load(config.Config([str(file)], str(path / "state"))).choose(None)


WRAPPED = {
    "file": "limited_driver = file\nfilesystem_store_datadir = {path}/images",
    "glance": "limited_driver = glance\nglance_store_driver = file\n"
    "filesystem_store_datadir = {path}/images",
}


class TestLimitedStore(StoreContract):
    SEQUENCES = 20

    @pytest.fixture(params=WRAPPED)
    def store(self, request, tmp_path):
        self.LISTS_OBJECTS = request.param == "file"
        return load(
            tmp_path,
            WRAPPED[request.param].format(path=tmp_path)
            + "\nlimited_write_rate = 100000\nlimited_read_rate = 100000",
        )

    def again(self, store):
        # A driver's thread may begin to write after another process has discarded.
        return store if store.settings.limited_driver == "glance" else super().again(store)

    def leftovers(self, store):
        return os.listdir(store.settings.filesystem_store_datadir)


class Clock:
    """A clock that advances only in ``sleep``."""

    def __init__(self):
        self.now = 100.0

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


@pytest.mark.parametrize(("rate", "seconds"), [(None, 0), (1, 30), (10, 3), (0.5, 60)])
def test_bytes_pass_at_the_rate(rate, seconds):
    clock = Clock()
    throttle = Throttle(rate, lambda: clock.now, clock.sleep)
    for _ in range(31):
        throttle.take(MIB)
    assert clock.now - 100 == pytest.approx(seconds)


def test_idle_time_is_not_made_up_for():
    clock = Clock()
    throttle = Throttle(1, lambda: clock.now, clock.sleep)
    throttle.take(MIB)
    clock.now += 1000
    for _ in range(3):
        throttle.take(MIB)
    assert clock.now == 100 + 1000 + 2


def test_reading_and_writing_wait(tmp_path, monkeypatch):
    store = load(tmp_path, WRAPPED["file"].format(path=tmp_path))
    taken = {"reading": [], "writing": []}
    for name, counts in taken.items():
        monkeypatch.setattr(getattr(store, f"_{name}"), "take", counts.append)
    with store.create("k.0", 5) as sink:
        sink.write(b"da")
        sink.write(b"tas")
        location = sink.commit()
    assert b"".join(store.read(location, 1, 3)) == b"ata"
    assert taken == {"reading": [3], "writing": [2, 3]}


@pytest.mark.parametrize(("driver", "able"), [("file", True), ("glance", False)])
def test_it_resumes_what_the_wrapped_store_resumes(tmp_path, driver, able):
    store = load(tmp_path, WRAPPED[driver].format(path=tmp_path))
    assert isinstance(store, Resumable) is able


def test_a_resumed_upload_is_limited_too(tmp_path, monkeypatch):
    store = load(tmp_path, WRAPPED["file"].format(path=tmp_path))
    taken = []
    monkeypatch.setattr(store._writing, "take", taken.append)
    with store.begin("k.0", 5, 1) as sink:
        sink.write(b"da")
        assert sink.suspend() == 2
    with store.resume("k.0", 5, store.durable("k.0", 5, 2), 2) as sink:
        sink.write(b"tas")
        location = sink.commit()
    assert b"".join(store.read(location)) == b"datas"
    assert taken == [2, 3]


def test_nothing_goes_round_the_limit(tmp_path):
    store = load(tmp_path, WRAPPED["file"].format(path=tmp_path))
    assert not isinstance(store, LocalFiles)


def test_what_cannot_be_swept_has_no_residue(tmp_path):
    store = load(tmp_path, "limited_driver = memory")
    assert store.sweep(0, lambda _: False) == Swept(0, 0)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "[l] limited_driver"),
        ("limited_driver = limited", "[l] limited_driver"),
        ("limited_driver = nothing", "limited_driver"),
        ("limited_driver = memory\nlimited_read_rate = 0", "limited_read_rate"),
        ("limited_driver = glance\nglance_store_driver = nothing", "[l] glance_store_driver"),
    ],
)
def test_what_cannot_work_is_named(tmp_path, text, key):
    with pytest.raises(BadConfig) as caught:
        load(tmp_path, text)
    assert key in str(caught.value)


def test_the_room_is_that_of_the_wrapped_store(tmp_path):
    room = load(tmp_path, WRAPPED["file"].format(path=tmp_path)).room()
    assert 0 < room.free <= room.total
    assert room.reserved == 0
