"""Checks that a store returns what was written, by location, range and URL."""

import os

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import Addressed, LocalFiles, Store
from imsgate.testing.stores.checks import REPORTED, StoreChecks, assert_missing
from imsgate.testing.stores.data import MIB, SIZE, assert_same, body, content, new_key

_UNKNOWN = -1

#: Size of the object, size of the chunks, and announced size.
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

#: Written size and announced size.
MISANNOUNCED = {
    "fewer": (70_000, 200_000),
    "far fewer": (1, SIZE),
    "none": (0, SIZE),
    "one more": (200_001, 200_000),
    "some instead of none": (70_000, 0),
}

#: Offset and length in an object of SIZE bytes.
RANGES = {
    "all": (0, None),
    "all, with its length": (0, SIZE),
    "nothing": (0, 0),
    "first byte": (0, 1),
    "all except the first byte": (1, None),
    "all except the last byte": (0, SIZE - 1),
    "last byte": (SIZE - 1, 1),
    "last byte, without a length": (SIZE - 1, None),
    "inside": (1, SIZE - 2),
    "first MiB": (0, MIB),
    "up to a MiB": (0, MIB - 1),
    "past a MiB": (0, MIB + 1),
    "from a MiB": (MIB, None),
    "from before a MiB": (MIB - 1, 2),
    "from a MiB, one MiB": (MIB, MIB),
    "from within to the end": (2 * MIB + 5, SIZE - 2 * MIB - 5),
}

#: Locations that no sink returned. A record may contain one after a change of the store or after
#: a manual repair.
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

_READ_RULE = "read must return the bytes that were written"


class ContentChecks(StoreChecks):
    """What was written comes back."""

    @pytest.mark.parametrize(("size", "chunk", "announced"), ANNOUNCED.values(), ids=ANNOUNCED)
    def test_it_comes_back_byte_for_byte(
        self, store: Store, size: int, chunk: int, announced: int
    ) -> None:
        data = body(size)
        expected = None if announced == _UNKNOWN else announced
        location = self.keep(store, self.put(store, data, size=expected, chunk=chunk))
        valid = isinstance(location, str) and location
        assert valid, f"commit must return a non-empty text; it returned {location!r}"
        _assert_size(store, location, size)
        assert_same(content(store, location), data, _READ_RULE)
        assert_same(content(store, location), data, "a second read must return the same bytes")

    @pytest.mark.parametrize("known", [True, False], ids=["announced", "unknown size"])
    @pytest.mark.parametrize("extra", [-1, 0, 1])
    @pytest.mark.parametrize("parts", [1, 2])
    def test_whole_parts_and_a_byte_more_or_less(
        self, store: Store, parts: int, extra: int, known: bool
    ) -> None:
        size = parts * self.PART + extra
        data = body(size)
        announced = size if known else None
        location = self.keep(store, self.put(store, data, size=announced, chunk=MIB - 1))
        _assert_size(store, location, size)
        assert_same(content(store, location), data, _READ_RULE)
        edge = self.PART * (parts - 1)
        assert_same(content(store, location, edge), data[edge:], f"{_READ_RULE} after {edge}")

    @pytest.mark.parametrize(("size", "announced"), MISANNOUNCED.values(), ids=MISANNOUNCED)
    def test_another_size_than_announced(self, store: Store, size: int, announced: int) -> None:
        data = body(size)
        try:
            location = self.put(store, data, size=announced)
        except (*REPORTED, errors.SizeMismatch):
            self.assert_empty(store, "after a failed attempt")
            return
        self.keep(store, location)
        _assert_size(store, location, size)
        rule = "commit must fail or store exactly the bytes written, whatever was announced"
        assert_same(content(store, location), data, rule)

    def test_ranges(self, store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data, size=SIZE))
        for name, (offset, length) in RANGES.items():
            end = SIZE if length is None else offset + length
            rule = f"read(location, {offset}, {length}) must return exactly this range ({name})"
            assert_same(content(store, location, offset, length), data[offset:end], rule)

    def test_two_readers_of_one_object(self, store: Store) -> None:
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        first, second = store.read(location), store.read(location, 1)
        chunks = next(first), next(second)
        rule = "two readers of one object must not affect each other"
        assert_same(chunks[0] + b"".join(first), data, rule)
        assert_same(chunks[1] + b"".join(second), data[1:], rule)

    def test_a_local_file_holds_the_object(self, store: Store) -> None:
        if not isinstance(store, LocalFiles):
            pytest.skip("this driver's objects are no local files")
        data = body(SIZE)
        location = self.keep(store, self.put(store, data))
        with store.open(location) as file:
            size = os.fstat(file.fileno()).st_size
            assert size == SIZE, f"open must return the object's file; its size is {size}"
            assert_same(file.read(10), data[:10], "the file must contain the object")
            position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
            assert position == 10, (
                f"the file must be unbuffered; a read of 10 bytes took {position}"
            )
            whole = os.pread(file.fileno(), SIZE, 0)
            assert_same(whole, data, "the file must contain the whole object")

    def test_a_url_leads_back_and_no_other_does(self, store: Store) -> None:
        addressed = _addressed(store)
        location = self.keep(store, self.put(store, b"data"))
        url = addressed.url(location)
        if url is None:
            pytest.skip("the objects of this store have no URLs")
        located = addressed.locate(url)
        assert located == location, f"locate({url!r}) must return {location!r}, not {located!r}"
        scheme, _, rest = url.partition("://")
        assert scheme != "file", f"url must not name a file on this host; it returned {url!r}"
        place, _, key = rest.rpartition("/")
        assert "@" not in place, "url must not contain user information (Addressed)"
        shown = [text for text in self.private(store) if text in url]
        assert not shown, f"url must contain no credentials; it contains {shown} (Addressed)"
        wrong = [f"file://{rest}", f"{scheme}://user:secret@{rest}", f"{scheme}://{place}x/{key}"]
        wrong += [f"{scheme}://x{rest}", f"{scheme}x://{rest}", f"x{url}"]
        wrong += [f"{url}?a=b", f"{url}#a", f"{url}\n", f"{url}/../{key}", f"{url}%00"]
        wrong += [f"{scheme}://{place}/", f"{scheme}://{place}/../{key}", rest, key, "", location]
        for text in wrong:
            located = addressed.locate(text)
            assert located is None, f"locate({text!r}) must return None, not {located!r}"

    def test_a_url_stays_that_of_what_is_gone(self, store: Store) -> None:
        addressed = _addressed(store)
        location = self.put(store, b"data")
        url = addressed.url(location)
        store.delete(location)
        rule = "must return the same whether or not the object exists"
        assert addressed.url(location) == url, f"url {rule}"
        assert url is None or addressed.locate(url) == location, f"locate {rule}"

    @pytest.mark.parametrize("size", [0, 1, SIZE])
    def test_a_deleted_object_is_missing(self, store: Store, size: int) -> None:
        other = self.keep(store, self.put(store, b"other"))
        location = self.put(store, body(size))
        store.delete(location)
        assert_missing(store, location, "the object was deleted")
        assert_same(content(store, other), b"other", "delete must not touch other objects")

    def test_what_no_sink_returned_is_missing(self, store: Store) -> None:
        for name, location in FOREIGN.items():
            assert_missing(store, location, f"no sink returned this location ({name})")
            with pytest.raises(ObjectNotFound) as caught:
                store.size(location)
            self.check_error(store, caught.value, f"size, of a location that is {name}")

    def test_a_key_of_the_greatest_length(self, store: Store) -> None:
        key = new_key()
        key += "f" * (100 - len(key))
        location = self.keep(store, self.put(store, b"data", key=key))
        assert_same(content(store, location), b"data", "a key may have 100 characters")
        with store.create(key[:-1], None) as sink:
            sink.write(b"data")
        rule = "keys must not be cut: an attempt with 99 of the 100 characters is another one"
        assert_same(content(store, location), b"data", rule)


def _addressed(store: Store) -> Addressed:
    """The store as one whose objects have URLs; skips the check if they have none."""
    if not isinstance(store, Addressed):
        pytest.skip("this driver's objects have no URLs")
    return store


def _assert_size(store: Store, location: str, expected: int) -> None:
    size = store.size(location)
    assert size == expected, f"size must return {expected}, the bytes written; it returned {size}"
