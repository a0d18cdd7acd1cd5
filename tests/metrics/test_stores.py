"""What a store does is counted with its outcome, and nothing else changes."""

import pytest

from imsgate import errors
from imsgate.metrics import values
from imsgate.stores.base import Resumable
from imsgate.stores.watched import Outages, watched
from imsgate.testing.gateways import memory_store

KEY = "71c675ab-d94f-49cd-a114-e12490b328d9.1"


@pytest.fixture(autouse=True)
def directory(tmp_path):
    values.end()
    values.begin(str(tmp_path))
    yield str(tmp_path)
    values.end()


@pytest.fixture
def store():
    return watched(memory_store(capacity=10), Outages("fast"))


@pytest.fixture
def counted(directory):
    """How often each operation ended how, and the bytes written."""

    def read():
        _, numbers, _ = values.collect(directory)
        found = {}
        for key, number in numbers.items():
            if key[0] == "imsgate_store_operation_seconds" and key[-1].startswith("le="):
                found[key[2:-1]] = found.get(key[2:-1], 0) + number
        written = numbers.get(("imsgate_store_written_bytes", "fast"), 0)
        return found, written

    return read


def test_an_object_is_written_read_and_deleted(store, counted):
    with store.create(KEY, 4) as sink:
        sink.write(b"da")
        sink.write(b"ta")
        place = sink.commit()
    reader = store.read(place)
    assert b"".join(reader) == b"data"
    reader.close()
    assert store.size(place) == 4
    store.delete(place)
    found, written = counted()
    operations = ("create", "commit", "read", "size", "delete")
    assert found.items() >= {(operation, "success"): 1 for operation in operations}.items()
    assert written == 4


def test_failures_have_their_reasons(store, counted):
    with pytest.raises(errors.StoreFull):
        store.create(KEY, 100)
    with store.create(KEY, None) as sink:
        sink.write(b"1234")
        with pytest.raises(errors.StoreFull):
            sink.write(b"5" * 100)
    with pytest.raises(errors.ObjectNotFound):
        store.read("nothing")
    found, written = counted()
    assert found["create", "store_full"] == 1
    assert found["write", "store_full"] == 1
    assert found["read", "object_not_found"] == 1
    assert written == 4


def test_a_reader_that_fails_on_the_way(store, counted):
    def broken(*_):
        yield b"1"
        raise errors.StoreUnavailable(store="fast", problem="away")

    other = memory_store("fast")
    other.read = broken
    with pytest.raises(errors.StoreUnavailable):
        list(watched(other, Outages("fast")).read("place"))
    found, _ = counted()
    assert found["read", "store_unavailable"] == 1


def test_a_suspended_attempt(store, counted):
    assert isinstance(store, Resumable)
    sink = store.begin(KEY, 4, 1)
    sink.write(b"da")
    assert sink.suspend() == 2
    with store.resume(KEY, 4, 2, 2) as sink:
        sink.write(b"ta")
        sink.commit()
    found, written = counted()
    operations = ("begin", "suspend", "resume", "commit")
    assert found.items() >= {(operation, "success"): 1 for operation in operations}.items()
    assert written == 4
