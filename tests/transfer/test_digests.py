"""Digests beside a stream: what they are, and which threads make them."""

import concurrent.futures
import contextlib
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate.transfer import digests

DATA = hashlib.shake_128(b"image").digest(300_000)
NAMES = ("md5", "sha256")
VALUES = {name: hashlib.new(name, DATA).hexdigest() for name in NAMES}


@pytest.fixture
def processors(monkeypatch):
    """Call with their number; one stream at a time has help then."""
    with contextlib.ExitStack() as pools:

        def have(count):
            pool = concurrent.futures.ThreadPoolExecutor(max(count - 1, 1), "digest")
            monkeypatch.setattr(digests, "_helpers", pools.enter_context(pool))
            monkeypatch.setattr(digests, "_THREADS", count - 1)
            monkeypatch.setattr(digests, "_HELPED_STREAMS", 1)

        yield have


@given(
    st.lists(st.binary(max_size=200)),
    st.sampled_from(["md5", "sha256", "sha512"]),
    st.integers(0, 2),
)
def test_digests_do_not_depend_on_chunks_or_threads(chunks, algorithm, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "_THREADS", threads)
        found = digests.Digests(("md5", algorithm))
        for chunk in chunks:
            found.feed(chunk)
        values = found.values()
    whole = b"".join(chunks)
    assert values == {name: hashlib.new(name, whole).hexdigest() for name in {"md5", algorithm}}


def test_large_chunks():
    count = 3 * (digests.MAX_CHUNKS_BEHIND + 1)
    found = digests.Digests(("md5", "sha512"))
    for _ in range(count):
        found.feed(DATA)
    assert found.values()["md5"] == hashlib.md5(DATA * count).hexdigest()


def test_streams_at_once(processors):
    """Each fed by a thread of its own, and helped or not as it comes."""
    processors(3)
    count, streams = 50, 8

    def fed(number):
        found = digests.Digests(NAMES)
        for _ in range(count):
            found.feed(DATA[number:])
        return found.values()

    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        values = list(pool.map(fed, range(streams)))
    for number, found in enumerate(values):
        whole = DATA[number:] * count
        assert found == {name: hashlib.new(name, whole).hexdigest() for name in NAMES}


class Noted:
    """An md5 that notes on which threads it was made; waits for ``leave`` before, and calls
    ``then`` after each chunk."""

    def __init__(self, leave=None, then=lambda: None):
        self.begun, self.threads = threading.Event(), []
        self._digest, self._leave, self._then = hashlib.md5(), leave, then

    def update(self, chunk):
        self.threads.append(threading.current_thread().name)
        self.begun.set()
        assert self._leave is None or self._leave.wait(300)
        self._digest.update(chunk)
        self._then()

    def hexdigest(self):
        return self._digest.hexdigest()


def stream(*noted):
    """A stream with these digests, under the names 0, 1, ..."""
    names = [str(number) for number in range(len(noted))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests.hashlib, "new", lambda name, **_: noted[int(name)])
        return digests.Digests(names)


def makers(*noted):
    """The kinds of threads that made them."""
    return {name.partition("_")[0] for one in noted for name in one.threads}


HERE = {threading.current_thread().name}


def test_there_are_no_threads_on_one_processor(processors):
    processors(1)
    noted = Noted(), Noted()
    found = stream(*noted)
    for count in range(1, 10):
        found.feed(DATA)
        assert [len(one.threads) for one in noted] == [count, count]
    assert makers(*noted) == HERE


def test_a_thread_continues_while_the_loop_is_busy(processors):
    processors(2)
    noted = Noted(), Noted()
    stream(*noted).feed(DATA)
    assert all(one.begun.wait(300) for one in noted)
    assert makers(*noted) == {"digest"}


def test_digests_get_no_threads_while_others_are_fed(processors):
    processors(2)
    leave, count, noted = threading.Event(), digests.MAX_CHUNKS_BEHIND + 1, (Noted(), Noted())
    held = Noted(leave), Noted(leave)
    first, second = stream(*held), stream(*noted)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # Both are further behind than they may be: the thread and that loop are at them.
        feeding = pool.submit(lambda: [first.feed(DATA) for _ in range(count)])
        try:
            assert all(one.begun.wait(300) for one in held)
            for _ in range(5):
                second.feed(DATA)
            assert [len(one.threads) for one in noted] == [5, 5]
            assert makers(*noted) == HERE
        finally:
            leave.set()
        feeding.result(300)
    assert set(first.values().values()) == {hashlib.md5(DATA * count).hexdigest()}


def test_an_idle_stream_keeps_no_thread_from_others(processors):
    """One that came first had the threads to its end, however slow it was."""
    processors(2)
    slow, noted = digests.Digests(NAMES), (Noted(), Noted())
    slow.feed(DATA)
    stream(*noted).feed(DATA)
    assert all(one.begun.wait(300) for one in noted)
    assert makers(*noted) == {"digest"}
    assert slow.values() == VALUES


def test_the_loop_computes_what_the_thread_does_not(processors):
    processors(2)
    leave, count = threading.Event(), digests.MAX_CHUNKS_BEHIND + 1
    held, noted = Noted(leave), Noted(then=lambda: len(noted.threads) < count or leave.set())
    found = stream(held, noted)
    found.feed(DATA)
    assert held.begun.wait(300)
    for _ in range(digests.MAX_CHUNKS_BEHIND):
        found.feed(DATA)
    assert makers(noted) == HERE
    assert set(found.values().values()) == {hashlib.md5(DATA * count).hexdigest()}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_invalid_chunk_is_an_error_at_once(processors, count):
    processors(count)
    bad, good = digests.Digests(NAMES), digests.Digests(NAMES)
    for _ in range(digests.MAX_CHUNKS_BEHIND):
        with contextlib.suppress(TypeError):
            bad.feed("text")
    with pytest.raises(TypeError):
        bad.feed("text")
    good.feed(DATA)
    assert good.values() == VALUES


@pytest.mark.parametrize("given", [0, 1])
def test_a_system_without_more_threads(processors, given):
    """Threads of a system cannot be used up without doing so for the other tests."""
    start, left = threading.Thread.start, iter(range(given))

    def start_one(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    processors(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_one)
        found = digests.Digests(NAMES)
        found.feed(DATA)
        assert found.values() == VALUES
    noted = Noted(), Noted()
    stream(*noted).feed(DATA)  # there are some again
    assert all(one.begun.wait(300) for one in noted)
    assert makers(*noted) == {"digest"}


def test_nothing_was_fed():
    found = digests.Digests(("md5",))
    found.values()
    assert found.values() == {"md5": hashlib.md5().hexdigest()}
