"""The suite every store driver passes.

A driver's test is a subclass that says how to make a store and how to look
into it past the driver::

    class TestTapeStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return TapeStore("tape", Section(tape_drive=str(tmp_path)))

        def leftovers(self, store):
            return os.listdir(store.settings.tape_drive)

Every check ends by deleting what it stored and looking for leftovers.
"""

import concurrent.futures
import contextlib
import json
import os
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Addressed, LocalFiles, Sink, Store
from imsgate.testing import store_machine
from imsgate.testing.store_data import body, content, new_key, pieces
from imsgate.testing.store_faults import REPORTED, FaultChecks

MIB = 1024 * 1024

#: No multiple of anything, and more than one chunk of any driver here.
SIZE = 3 * MIB + 17

_UNKNOWN = -1


def missing(store: Store, location: str) -> bool:
    """Whether reading, measuring and deleting all say at the call that nothing is there."""
    calls: list[Callable[[str], Any]] = [store.read, store.size, store.delete]
    if isinstance(store, LocalFiles):
        calls.append(store.open)
    for call in calls:
        try:
            found = call(location)
        except ObjectNotFound:
            continue
        with contextlib.closing(found) if hasattr(found, "close") else contextlib.nullcontext():
            return False
    return True


def descriptors() -> int:
    """How many files and sockets this process has open."""
    if not os.path.isdir("/dev/fd"):
        pytest.skip("this system does not show open descriptors")
    return len(os.listdir("/dev/fd"))


class Given(Exception):
    """Any exception of the caller, raised in a sink's block to see what becomes of it."""


ANNOUNCED = {
    "empty": (0, 1, 0),
    "empty, unknown size": (0, 1, _UNKNOWN),
    "one byte": (1, 1, 1),
    "one byte, unknown size": (1, 1, _UNKNOWN),
    "one chunk": (65536, 65536, 65536),
    "a chunk and a byte": (65537, 65536, 65537),
    "many small chunks": (1000 * 37, 37, 1000 * 37),
    "many chunks": (SIZE, 64 * 1024, SIZE),
    "many chunks, unknown size": (SIZE, MIB, _UNKNOWN),
    "whole MiB": (2 * MIB, MIB, 2 * MIB),
    "one large chunk": (SIZE, SIZE, SIZE),
}

MISANNOUNCED = {
    "fewer": (70_000, 200_000),
    "far fewer": (1, SIZE),
    "none": (0, SIZE),
    "one more": (200_001, 200_000),
    "some instead of none": (70_000, 0),
}

RANGES = {
    "all": (0, None),
    "all, told": (0, SIZE),
    "nothing": (0, 0),
    "first byte": (0, 1),
    "all but the first byte": (1, None),
    "all but the last byte": (0, SIZE - 1),
    "last byte": (SIZE - 1, 1),
    "last byte, open": (SIZE - 1, None),
    "inside": (1, SIZE - 2),
    "first MiB": (0, MIB),
    "up to a MiB": (0, MIB - 1),
    "past a MiB": (0, MIB + 1),
    "from a MiB": (MIB, None),
    "from before a MiB": (MIB - 1, 2),
    "from a MiB, one MiB": (MIB, MIB),
    "from within to the end": (2 * MIB + 5, SIZE - 2 * MIB - 5),
}


#: Locations of nothing. A record could hold them after a change of store or a repair by hand.
FOREIGN = {
    "another key": "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1",
    "long": "f" * 5000,
    "unicode": "\u00e4\u6f22\U0001f4be.1",
    "lone surrogate": "\udcff.1",
    "spaces": " a b ",
    "parent": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "the store itself": ".",
    "NUL": "a\0b",
    "URL": "file:///etc/passwd",
}


def _abort(sink: Sink) -> None:
    sink.abort()


def _abort_twice(sink: Sink) -> None:
    sink.abort()
    sink.abort()


def _leave(sink: Sink) -> None:
    with sink:
        pass


def _leave_aborted(sink: Sink) -> None:
    with sink:
        sink.abort()


def _raise(sink: Sink) -> None:
    with pytest.raises(Given), sink:
        raise Given


ENDINGS = {
    "abort": _abort,
    "two aborts": _abort_twice,
    "leaving the block": _leave,
    "abort in the block": _leave_aborted,
    "an exception": _raise,
}


class StoreContract(FaultChecks):
    """Subclass it, with a ``store`` fixture and ``leftovers``.

    ``small_store``, ``write_fault``, ``read_fault``, ``away`` and ``private`` are optional.
    """

    #: The driver's part, block or chunk in bytes, whose edges are then tried.
    PART: ClassVar[int] = MIB

    #: How many sequences of calls are compared with the memory store's; fewer for a slow store.
    SEQUENCES: ClassVar[int] = 100

    @pytest.fixture
    def store(self) -> Any:
        """An empty store."""
        raise NotImplementedError("the subclass gives a store fixture")

    @pytest.fixture
    def small_store(self) -> Any:
        """A store with room for a few hundred KiB at most, for the checks of a full one."""
        pytest.skip("this driver's tests have no small_store")

    def leftovers(self, store: Store) -> Collection[Any]:
        """Everything in ``store``: objects and the residue of attempts, seen past the driver."""
        raise NotImplementedError("the subclass says what is left")

    def again(self, store: Store) -> Store:
        """The same store as another process builds it."""
        return type(store)(store.name, store.settings)

    @pytest.fixture
    def twin(self, store: Store) -> Iterator[Store]:
        """What ``again`` makes, closed in the end where it can be."""
        made = self.again(store)
        yield made
        if made is not store and hasattr(made, "close"):
            made.close()

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, store: Store) -> Iterator[None]:
        self._kept: list[tuple[Store, str]] = []
        yield
        for kept, location in self._kept:
            kept.delete(location)
        assert not self.leftovers(store)

    def keep(self, store: Store, location: str) -> str:
        """Have an object deleted when the check is over."""
        self._kept.append((store, location))
        return location

    def put(
        self,
        store: Store,
        data: bytes,
        *,
        key: str | None = None,
        size: int | None = None,
        chunk: int = MIB,
    ) -> str:
        """Store ``data`` and return its location."""
        with store.create(key or new_key(), size) as sink:
            for piece in pieces(data, chunk):
                sink.write(piece)
            return sink.commit()

    # What was written comes back.

    @pytest.mark.parametrize(("size", "chunk", "announced"), ANNOUNCED.values(), ids=ANNOUNCED)
    def test_it_comes_back_byte_for_byte(
        self, store: Store, size: int, chunk: int, announced: int
    ) -> None:
        data = body(size)
        told = None if announced == _UNKNOWN else announced
        location = self.keep(store, self.put(store, data, size=told, chunk=chunk))
        assert isinstance(location, str)
        assert location
        assert store.size(location) == size
        assert content(store, location) == data
        assert content(store, location) == data, "the second read differs"

    @pytest.mark.parametrize("known", [True, False], ids=["announced", "unknown size"])
    @pytest.mark.parametrize("extra", [-1, 0, 1])
    @pytest.mark.parametrize("parts", [1, 2])
    def test_whole_parts_and_a_byte_more_or_less(
        self, store: Store, parts: int, extra: int, known: bool
    ) -> None:
        size = parts * self.PART + extra
        data = body(size)
        told = size if known else None
        location = self.keep(store, self.put(store, data, size=told, chunk=MIB - 1))
        assert store.size(location) == size
        assert content(store, location) == data
        edge = self.PART * (parts - 1)
        assert content(store, location, edge) == data[edge:]

    @pytest.mark.parametrize(("size", "announced"), MISANNOUNCED.values(), ids=MISANNOUNCED)
    def test_another_size_than_announced(self, store: Store, size: int, announced: int) -> None:
        data = body(size)
        try:
            location = self.put(store, data, size=announced)
        except (*REPORTED, errors.SizeMismatch):
            assert not self.leftovers(store)
            return
        self.keep(store, location)
        assert store.size(location) == size
        assert content(store, location) == data

    def test_ranges(self, store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data, size=SIZE))
        for name, (offset, length) in RANGES.items():
            end = SIZE if length is None else offset + length
            assert content(store, location, offset, length) == data[offset:end], name

    def test_two_readers_of_one_object(self, store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        first, second = store.read(location), store.read(location, 1)
        seen = next(first), next(second)
        assert seen[0] + b"".join(first) == data
        assert seen[1] + b"".join(second) == data[1:]

    def test_a_local_file_holds_the_object(self, store: Store) -> None:
        if not isinstance(store, LocalFiles):
            pytest.skip("this driver's objects are no local files")
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        with store.open(location) as file:
            assert os.fstat(file.fileno()).st_size == SIZE
            assert file.read(10) == data[:10]
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 10, "the file is buffered"
            assert os.pread(file.fileno(), SIZE, 0) == data

    def test_a_url_leads_back_and_no_other_does(self, store: Store) -> None:
        if not isinstance(store, Addressed):
            pytest.skip("this driver's objects have no URLs")
        location = self.keep(store, self.put(store, b"data"))
        url = store.url(location)
        if url is None:
            pytest.skip("the objects of this store have no URLs")
        assert store.locate(url) == location
        scheme, _, rest = url.partition("://")
        assert scheme != "file"
        place, _, key = rest.rpartition("/")
        assert "@" not in place
        twisted = [f"file://{rest}", f"{scheme}://user:secret@{rest}", f"{scheme}://{place}x/{key}"]
        twisted += [f"{scheme}://x{rest}", f"{scheme}x://{rest}", f"x{url}"]
        twisted += [f"{url}?a=b", f"{url}#a", f"{url}\n", f"{url}/../{key}", f"{url}%00"]
        twisted += [f"{scheme}://{place}/", f"{scheme}://{place}/../{key}", rest, key, "", location]
        for wrong in twisted:
            assert store.locate(wrong) is None, wrong

    def test_a_url_stays_that_of_what_is_gone(self, store: Store) -> None:
        if not isinstance(store, Addressed):
            pytest.skip("this driver's objects have no URLs")
        location = self.put(store, b"data")
        url = store.url(location)
        store.delete(location)
        assert store.url(location) == url
        assert url is None or store.locate(url) == location

    @pytest.mark.parametrize("size", [0, 1, SIZE])
    def test_a_deleted_object_is_missing(self, store: Store, size: int) -> None:
        other = self.keep(store, self.put(store, b"other"))
        location = self.put(store, body(size))
        store.delete(location)
        assert missing(store, location)
        assert content(store, other) == b"other"

    def test_what_no_sink_returned_is_missing(self, store: Store) -> None:
        for name, location in FOREIGN.items():
            assert missing(store, location), name
            with pytest.raises(ObjectNotFound) as caught:
                store.size(location)
            assert not [text for text in self.private(store) if text in str(caught.value)], name

    def test_a_key_of_the_greatest_length(self, store: Store) -> None:
        key = new_key()
        key += "f" * (100 - len(key))
        location = self.keep(store, self.put(store, b"data", key=key))
        assert content(store, location) == b"data"
        with store.create(key[:-1], None) as sink:
            sink.write(b"data")
        assert content(store, location) == b"data"

    # Nothing is seen too early, and nothing stays.

    def test_nothing_is_visible_before_commit(self, store: Store) -> None:
        key, data = new_key(), body(SIZE)
        # The only way to know where it will lie is that it lay there before.
        location = self.put(store, data, key=key, size=SIZE)
        store.delete(location)
        store.discard(key)
        with store.create(key, SIZE) as sink:
            assert missing(store, location)
            for chunk in pieces(data, MIB):
                sink.write(chunk)
                assert missing(store, location)
            location = self.keep(store, sink.commit())
        assert content(store, location) == data

    @pytest.mark.parametrize("size", [None, SIZE])
    @pytest.mark.parametrize("written", [0, 1, SIZE])
    @pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
    def test_nothing_is_left_by_an_attempt_that_ends_with(
        self, store: Store, end: Callable[[Sink], None], written: int, size: int | None
    ) -> None:
        sink = store.create(new_key(), size)
        for chunk in pieces(body(written), MIB):
            sink.write(chunk)
        end(sink)
        assert not self.leftovers(store)

    def test_an_aborted_attempt_cannot_be_committed(self, store: Store) -> None:
        with store.create(new_key(), None) as sink:
            sink.write(b"data")
            sink.abort()
            with pytest.raises(REPORTED):
                sink.commit()
            assert not self.leftovers(store)

    def test_abort_after_commit_does_nothing(self, store: Store) -> None:
        with store.create(new_key(), None) as sink:
            sink.write(b"data")
            location = self.keep(store, sink.commit())
            sink.abort()
            sink.abort()
        assert content(store, location) == b"data"

    def test_commit_twice_is_commit_once(self, store: Store) -> None:
        with store.create(new_key(), 4) as sink:
            sink.write(b"data")
            location = self.keep(store, sink.commit())
            assert sink.commit() == location
        assert sink.commit() == location
        assert content(store, location) == b"data"

    # Attempts do not know one another.

    def test_two_attempts_for_one_image(self, store: Store) -> None:
        first, second = body(SIZE, "first"), body(SIZE, "second")
        key = new_key()
        with store.create(key, SIZE) as one, store.create(f"{key}0", SIZE) as other:
            for chunk, twin in zip(pieces(first, 99_999), pieces(second, 99_999), strict=True):
                one.write(chunk)
                other.write(twin)
            locations = [self.keep(store, one.commit()), self.keep(store, other.commit())]
        assert locations[0] != locations[1]
        assert content(store, locations[0]) == first
        assert content(store, locations[1]) == second

    @pytest.mark.parametrize("loser", ["", "0"], ids=["shorter key", "longer key"])
    def test_the_attempt_that_loses_takes_nothing_along(self, store: Store, loser: str) -> None:
        key = new_key()
        winner = "0" if loser == "" else ""
        with store.create(key + winner, None) as one:
            one.write(b"da")
            with store.create(key + loser, None) as other:
                other.write(b"tum")
            store.discard(key + loser)
            one.write(b"ta")
            location = self.keep(store, one.commit())
        store.discard(key + loser)
        assert content(store, location) == b"data"

    def test_many_threads(self, store: Store) -> None:
        barrier = threading.Barrier(8)

        def work(number: int) -> None:
            data = body(300_000 + number, str(number))
            barrier.wait()
            for _ in range(5):
                location = self.put(store, data, chunk=65_536)
                assert content(store, location, number) == data[number:]
                store.delete(location)
                with store.create(new_key(), None) as sink:
                    sink.write(data)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    def test_deleting_while_reading_gives_no_wrong_bytes(self, store: Store) -> None:
        data = body(SIZE)
        location = self.put(store, data)
        reader = store.read(location)
        seen = [next(reader)]
        store.delete(location)
        assert missing(store, location)
        with contextlib.suppress(errors.Error, ObjectNotFound):
            seen.extend(reader)
            assert b"".join(seen) == data
        assert data.startswith(b"".join(seen))

    # What dead processes left is discarded.

    def test_discarding_nothing_does_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, b"data"))
        store.discard(new_key())
        assert content(store, location) == b"data"

    @pytest.mark.parametrize("size", [None, SIZE])
    def test_a_discarded_attempt_cannot_be_committed(self, store: Store, size: int | None) -> None:
        key = new_key()
        with store.create(key, size) as sink:
            sink.write(body(MIB))
            store.discard(key)
            assert not self.leftovers(store)
            with pytest.raises(REPORTED):  # either call may notice
                sink.write(body(SIZE - MIB))
                sink.commit()
        assert not self.leftovers(store)
        store.discard(key)

    def test_a_committed_attempt_is_discarded_too(self, store: Store) -> None:
        key = new_key()
        location = self.put(store, b"data", key=key)
        store.discard(key)
        assert missing(store, location)
        assert not self.leftovers(store)

    # Another process, another store.

    def test_another_process_reads_and_deletes(self, store: Store, twin: Store) -> None:
        data = body(SIZE)
        location = self.put(store, data)
        assert twin.size(location) == SIZE
        assert content(twin, location) == data
        twin.delete(location)
        assert missing(store, location)

    def test_what_another_process_discards_is_gone(self, store: Store, twin: Store) -> None:
        """An attempt under way, and what a stale one may have committed all the same."""
        key = new_key()
        with store.create(key, None) as sink:
            for chunk in pieces(body(SIZE), MIB):
                sink.write(chunk)
            twin.discard(key)
            assert not self.leftovers(store)
            with contextlib.suppress(*REPORTED):
                sink.commit()
        twin.discard(key)
        assert not self.leftovers(store)
        location = self.put(store, b"data", key=key)
        twin.discard(key)
        assert missing(store, location)

    def test_two_stores_share_nothing(self, store: Store, small_store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        small = self.put(small_store, b"data")
        assert missing(small_store, location)
        assert missing(store, small)
        assert content(store, location) == data
        small_store.delete(small)
        assert store.place() is None or store.place() != small_store.place()

    # Nothing is held.

    def test_a_reader_closed_early_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, body(SIZE)))
        readers: list[Any] = [store.read(location)]
        readers[0].close()
        before = descriptors()
        for taken in (0, 1):
            # They are kept, so that it is not the garbage collector that frees them.
            readers += (store.read(location) for _ in range(16))
            for reader in readers[-16:]:
                for _ in range(taken):
                    next(reader)
                reader.close()
                assert next(reader, None) is None, "a closed reader still gives chunks"
        assert descriptors() < before + 16

    def test_a_reader_at_its_end_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, body(SIZE)))
        readers = [store.read(location)]
        list(readers[0])
        before = descriptors()
        for _ in range(16):
            readers.append(store.read(location, 0, MIB + 1))
            list(readers[-1])
        assert descriptors() < before + 16

    def test_a_sink_that_ended_holds_nothing(self, store: Store) -> None:
        sinks = [store.create(new_key(), None)]
        sinks[0].abort()
        before = descriptors()
        for _ in range(16):
            sinks += (store.create(new_key(), None), store.create(new_key(), None))
            sinks[-1].abort()
            self.keep(store, sinks[-2].commit())
        assert descriptors() < before + 16

    def test_asking_holds_nothing(self, store: Store) -> None:
        location = self.keep(store, self.put(store, b"data"))

        def ask() -> None:
            store.check()
            assert store.size(location) == 4
            assert missing(store, new_key())
            store.discard(new_key())

        ask()
        before = descriptors()
        for _ in range(16):
            ask()
        assert descriptors() < before + 16

    # What it says of itself.

    def test_properties_can_be_shown(self, store: Store) -> None:
        shown = json.dumps(dict(store.properties()))
        secrets = [getattr(store.settings, opt.dest, None) for opt in store.OPTS if opt.secret]
        assert not [secret for secret in secrets if secret and secret in shown]

    def test_free_space_is_a_number_of_bytes_where_known(self, store: Store) -> None:
        free = store.free_space()
        assert free is None or (isinstance(free, int) and free >= 0)

    def test_its_place_can_be_compared(self, store: Store) -> None:
        assert store.place() == store.place()
        hash(store.place())

    # A full store.

    def test_what_cannot_fit_is_refused_at_once(self, small_store: Store) -> None:
        free = small_store.free_space()
        if free is None:
            pytest.skip("this store cannot know its free space")
        with pytest.raises(errors.StoreFull) as caught:
            small_store.create(new_key(), free + MIB)
        assert caught.value.details == {"store": small_store.name}
        assert not self.leftovers(small_store)

    def test_what_one_upload_announced_no_other_gets(self, small_store: Store) -> None:
        free = small_store.free_space()
        if free is None:
            pytest.skip("this store cannot know its free space")
        size = free * 2 // 3
        with small_store.create(new_key(), size) as sink:
            sink.write(body(size // 2))
            with pytest.raises(errors.StoreFull):
                small_store.create(new_key(), size)
            sink.write(body(size - size // 2))
            location = sink.commit()
        small_store.delete(location)
        with small_store.create(new_key(), size):
            pass
        assert not self.leftovers(small_store)
        small_store.delete(self.put(small_store, body(size), size=size))

    def test_what_does_not_fit_is_refused_as_such(self, small_store: Store) -> None:
        """By ``create`` or later: a driver that announces the size may hear of it otherwise."""
        size, chunk = 64 * MIB, body(65_536)
        with (
            pytest.raises(errors.StoreFull) as caught,
            small_store.create(new_key(), size) as sink,
        ):
            for _ in range(size // len(chunk)):
                sink.write(chunk)
            sink.commit()
        assert caught.value.details == {"store": small_store.name}
        assert not self.leftovers(small_store)

    def test_a_store_that_fills_up_gives_all_of_it_back(self, small_store: Store) -> None:
        chunk = body(65_536)
        for _ in range(3):
            with small_store.create(new_key(), None) as sink:
                with pytest.raises(errors.StoreFull) as caught:
                    for _ in range(64 * MIB // len(chunk)):
                        sink.write(chunk)
                    sink.commit()
                assert caught.value.details == {"store": small_store.name}
                with pytest.raises(REPORTED):
                    sink.commit()
            assert not self.leftovers(small_store)
        location = self.put(small_store, chunk, size=len(chunk))
        assert content(small_store, location) == chunk
        small_store.delete(location)

    # All of it together.

    def test_it_does_whatever_the_memory_store_does(self, store: Store) -> None:
        store_machine.compare(store, self.leftovers, self.SEQUENCES)
