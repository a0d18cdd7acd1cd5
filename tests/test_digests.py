"""Digests beside a stream: what they are, and which threads make them."""

import contextlib
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import digests

DATA = hashlib.shake_128(b"image").digest(300_000)
NAMES = ("md5", "sha256")
VALUES = {name: hashlib.new(name, DATA).hexdigest() for name in NAMES}


@pytest.fixture
def processors(monkeypatch):
    """Call with their number; one stream at a time has threads then."""

    def have(count):
        monkeypatch.setattr(digests, "_THREADS", count - 1)
        monkeypatch.setattr(digests, "_room", threading.BoundedSemaphore(1))

    return have


def running():
    """How many threads make digests."""
    return sum(thread.name == "digest" for thread in threading.enumerate())


@given(
    st.lists(st.binary(max_size=200)),
    st.sampled_from(["md5", "sha256", "sha512"]),
    st.integers(0, 2),
)
def test_they_depend_neither_on_chunks_nor_on_threads(chunks, algorithm, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_THREADS", threads)
        with digests.Digests(("md5", algorithm)) as found:
            for chunk in chunks:
                found.feed(chunk)
            values = found.values()
    whole = b"".join(chunks)
    assert values == {name: hashlib.new(name, whole).hexdigest() for name in {"md5", algorithm}}


def test_large_chunks():
    count = 3 * (digests.BEHIND + 1)
    with digests.Digests(("md5", "sha512")) as found:
        for _ in range(count):
            found.feed(DATA)
        assert found.values()["md5"] == hashlib.md5(DATA * count).hexdigest()


@pytest.mark.parametrize(("count", "threads"), [(1, 0), (2, 1), (3, 2)])
def test_there_are_no_more_threads_than_processors(processors, count, threads):
    processors(count)
    with digests.Digests(NAMES) as found:
        found.feed(DATA)
        assert running() == threads
        assert found.values() == VALUES
    assert running() == 0


def test_they_do_without_threads_where_many_run(processors):
    processors(3)
    with digests.Digests(NAMES) as first, digests.Digests(NAMES) as second:
        first.feed(DATA)
        second.feed(DATA)
        assert running() == 2
        assert (first.portion, second.portion) == (digests.LARGE, digests.SMALL)
        assert first.values() == VALUES
        assert running() == 0
        second.feed(b"")  # there is room again
        assert running() == 2
        assert second.values() == VALUES


class Held:
    """A digest that nobody gets through before the loop has made ``others``."""

    def __init__(self, others):
        self.begun, self._others = threading.Event(), others
        self._digest = hashlib.md5()

    def update(self, chunk):
        self.begun.set()
        assert self._others.wait(30)
        self._digest.update(chunk)

    def hexdigest(self):
        return self._digest.hexdigest()


class Noted:
    """A digest that tells when ``count`` chunks of it were made where it was fed."""

    def __init__(self, count):
        self.made, self._left = threading.Event(), count
        self._digest = hashlib.sha256()

    def update(self, chunk):
        self._digest.update(chunk)
        self._left -= threading.current_thread() is threading.main_thread()
        if not self._left:
            self.made.set()

    def hexdigest(self):
        return self._digest.hexdigest()


def test_the_loop_makes_what_the_thread_does_not_get_to(processors, monkeypatch):
    processors(2)
    noted = Noted(digests.BEHIND)
    held = Held(noted.made)
    with monkeypatch.context() as patch:
        patch.setattr(digests.hashlib, "new", lambda name, **_: {"a": held, "b": noted}[name])
        found = digests.Digests(("a", "b"))
    with found:
        found.feed(DATA)
        assert held.begun.wait(30)
        for _ in range(digests.BEHIND):
            found.feed(DATA)
        whole = DATA * (digests.BEHIND + 1)
        assert found.values() == {
            "a": hashlib.md5(whole).hexdigest(),
            "b": hashlib.sha256(whole).hexdigest(),
        }


class Boom(Exception):
    pass


def test_their_threads_end_even_after_an_error(processors):
    processors(3)
    with contextlib.suppress(Boom), digests.Digests(("md5", "sha512")) as found:
        found.feed(DATA)
        raise Boom
    assert running() == 0
    found.close()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_chunk_that_is_none_is_an_error_at_once(processors, count):
    def text():
        with digests.Digests(NAMES) as found:
            for _ in range(digests.BEHIND + 1):
                found.feed("text")

    processors(count)
    with pytest.raises(TypeError):
        text()
    assert running() == 0
    with digests.Digests(NAMES) as found:  # has threads again
        found.feed(DATA)
        assert running() == count - 1


@pytest.mark.parametrize("given", [0, 1])
def test_a_system_without_more_threads(processors, monkeypatch, given):
    """Threads of a system cannot be used up without doing so for the other tests."""
    start, left = threading.Thread.start, iter(range(given))

    def start_one(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    processors(3)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_one)
        with digests.Digests(NAMES) as found:
            found.feed(DATA)
            assert running() == given
            assert found.values() == VALUES
    with digests.Digests(NAMES) as found:  # there is room again
        found.feed(DATA)
        assert running() == 2


def test_nothing_was_fed():
    with digests.Digests(("md5",)) as found:
        found.values()
        assert found.values() == {"md5": hashlib.md5().hexdigest()}
