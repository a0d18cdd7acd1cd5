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
    """The digests that have a thread."""
    names = [thread.name for thread in threading.enumerate()]
    return sorted(name for name in names if name.startswith("digest-"))


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
    count = 3 * digests.QUEUE
    with digests.Digests(("md5", "sha512")) as found:
        for _ in range(count):
            found.feed(DATA)
        assert found.values()["md5"] == hashlib.md5(DATA * count).hexdigest()


@pytest.mark.parametrize(
    ("count", "threads"),
    [(1, []), (2, ["digest-md5"]), (3, ["digest-md5", "digest-sha256"])],
)
def test_there_are_no_more_threads_than_processors(processors, count, threads):
    processors(count)
    with digests.Digests(NAMES) as found:
        found.feed(DATA)
        assert running() == threads
        assert found.values() == VALUES
    assert running() == []


def test_they_do_without_threads_where_many_run(processors):
    processors(3)
    with digests.Digests(NAMES) as first, digests.Digests(NAMES) as second:
        first.feed(DATA)
        second.feed(DATA)
        assert len(running()) == 2
        assert (first.portion, second.portion) == (digests.LARGE, digests.SMALL)
        assert first.values() == VALUES
        assert running() == []
        second.feed(b"")  # there is room again
        assert len(running()) == 2
        assert second.values() == VALUES


class Boom(Exception):
    pass


def test_their_threads_end_even_after_an_error(processors):
    processors(3)
    with contextlib.suppress(Boom), digests.Digests(("md5", "sha512")) as found:
        found.feed(DATA)
        raise Boom
    assert running() == []
    found.close()


def test_nothing_was_fed():
    with digests.Digests(("md5",)) as found:
        found.values()
        assert found.values() == {"md5": hashlib.md5().hexdigest()}
