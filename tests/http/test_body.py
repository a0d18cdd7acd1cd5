"""The one wrapper: every byte once, in order, whatever the sizes; failures stay."""

import contextlib
import io
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.http.body import LINE_STEP_BYTES, STEP_BYTES, Limit, Tapped
from imsgate.testing import servers


class Watch:
    """A tap that remembers, and may object."""

    def __init__(self, *, at=None, finishing=None):
        self.chunks = []
        self.finished = 0
        self._at = at
        self._finishing = finishing

    def feed(self, chunk):
        self.chunks.append(chunk)
        if self._at is not None and len(self.seen) > self._at:
            raise errors.BadRequest(problem="enough")

    def finish(self):
        self.finished += 1
        if self._finishing:
            raise self._finishing

    @property
    def seen(self):
        return b"".join(self.chunks)


def tapped(data, length=None, watch=None, **how):
    stream = Tapped(servers.Input(data, **how), length)
    if watch:
        stream.join(watch)
    return stream


def whole(read, sizes):
    """Read with these sizes, over and over, to the end."""
    parts = []
    while True:
        for size in sizes:
            part = read(size)
            if not part and size:
                return b"".join(parts)
            parts.append(part)


@given(
    st.binary(max_size=200),
    st.lists(st.integers(0, 70), min_size=1).filter(any),
    st.none() | st.integers(1, 20),
    st.booleans(),
)
def test_every_byte_once_and_in_order(data, sizes, step, known):
    watch = Watch()
    stream = tapped(data, len(data) if known else None, watch, step=step)
    assert whole(stream.read, sizes) == data
    assert watch.seen == data
    assert all(watch.chunks)
    assert (watch.finished, stream.received, stream.failure) == (1, len(data), None)
    assert stream.read(10) == b""
    assert watch.finished == 1


READS = {
    "read": lambda stream: stream.read(),
    "read(-1)": lambda stream: stream.read(-1),
    "read(None)": lambda stream: stream.read(None),
    "readall": lambda stream: stream.readall(),
    "iteration": b"".join,
    "readlines": lambda stream: b"".join(stream.readlines()),
    "buffered": lambda stream: io.BufferedReader(stream, 7).read(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_every_way_to_read(read, known):
    data, watch = b"one\ntwo\n\nlast", Watch()
    assert read(tapped(data, len(data) if known else None, watch, step=3)) == data
    assert (watch.seen, watch.finished) == (data, 1)


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n"]), max_size=40).map(b"".join),
    st.lists(st.tuples(st.booleans(), st.none() | st.integers(-1, 9)), min_size=1, max_size=30),
    st.booleans(),
)
def test_lines_as_a_file_has_them(data, calls, known):
    """Also between other reads."""
    watch, file = Watch(), io.BytesIO(data)
    stream = tapped(data, len(data) if known else None, watch)
    for by_line, size in calls:
        if by_line:
            assert stream.readline(size) == file.readline(-1 if size is None else size)
        else:
            part = stream.read(size)
            assert part == file.read(len(part))
            assert part or not size or not file.read(1)
    rest = stream.readlines()
    assert b"".join(rest) == file.read()
    assert all(line.endswith(b"\n") for line in rest[:-1])
    assert (watch.seen, watch.finished) == (data, 1)


@pytest.mark.parametrize("data", [b"\0" * (3 << 20), b"line\n" * 400_000], ids=["long", "many"])
def test_lines_cost_the_taps_no_call_per_byte(data):
    watch = Watch()
    assert b"".join(tapped(data, None, watch)) == data
    assert len(watch.chunks) <= len(data) / LINE_STEP_BYTES + 1


def test_readinto_fills_a_part_of_a_buffer():
    buffer = bytearray(b"xxxxxxxx")
    assert tapped(b"abc", 3).readinto(memoryview(buffer)) == 3
    assert buffer == b"abcxxxxx"


def test_it_is_a_readable_stream_and_no_more():
    stream = tapped(b"abc", 3)
    assert (stream.readable(), stream.writable(), stream.seekable()) == (True, False, False)


def test_nothing_is_read_beyond_the_length():
    source = servers.Input(b"bodynext request")
    stream = Tapped(source, 4)
    assert stream.read(100) == b"body"
    asked = source.asked
    assert stream.read(100) == b""
    assert (source.given, source.asked) == (4, asked)


def test_a_read_of_nothing_asks_nothing():
    source = servers.Input(b"body")
    stream = Tapped(source, 4)
    assert stream.read(0) == b""
    assert source.asked == 0


@pytest.mark.parametrize("length", [0, None], ids=["known", "unknown"])
def test_an_empty_body_is_finished_by_its_first_read(length):
    watch = Watch()
    stream = tapped(b"", length, watch)
    assert watch.finished == 0
    assert stream.read(1) == b""
    assert stream.read(1) == b""
    assert watch.finished == 1


def test_a_known_body_is_finished_with_its_last_byte():
    watch = Watch()
    stream = tapped(b"abcd", 4, watch)
    stream.read(3)
    assert watch.finished == 0
    stream.read(1)
    assert watch.finished == 1


def test_all_taps_see_all_before_the_reader():
    watches = [Watch(), Watch()]
    stream = tapped(b"abcd", 4)
    for watch in watches:
        stream.join(watch)
    assert stream.read(2) == b"ab"
    assert [watch.seen for watch in watches] == [b"ab", b"ab"]


# Failures


@pytest.mark.parametrize("first", [False, True])
def test_the_first_tap_objects_first(first):
    watch, other = Watch(at=3), Watch(at=3)
    stream = tapped(b"abcdefgh", 8, watch)
    stream.join(other, first=first)
    with pytest.raises(errors.BadRequest):
        stream.read()
    assert (watch.seen, other.seen) == ((b"", b"abcdefgh") if first else (b"abcdefgh", b""))


def test_a_tap_that_objects_ends_the_body_for_good():
    watch, second = Watch(at=3), Watch()
    stream = tapped(b"abcdefgh", 8, watch)
    stream.join(second)
    assert stream.read(3) == b"abc"
    caught = []
    for size in (3, 1, 0, -1):
        with pytest.raises(errors.BadRequest) as failure:
            stream.read(size)
        caught.append(failure.value)
    assert len(set(map(id, caught))) == 1
    assert stream.failure is caught[0]
    assert (watch.seen, second.seen) == (b"abcdef", b"abc")
    assert (watch.finished, second.finished) == (0, 0)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_tap_that_objects_to_the_end_fails_the_last_read(known):
    error = errors.BadImage(check="c", offset=0, problem="p")
    watch = Watch(finishing=error)
    stream = tapped(b"abcd", 4 if known else None, watch)
    if not known:
        assert stream.read(4) == b"abcd"
    for _ in range(2):
        with pytest.raises(errors.BadImage):
            stream.read(4)
    assert (stream.failure, watch.finished) == (error, 1)


@pytest.mark.parametrize(
    ("how", "length", "received"),
    [
        pytest.param({}, 5, 3, id="silent-end"),
        pytest.param({"fails": ConnectionResetError("peer")}, 5, 3, id="reset"),
        pytest.param({"fails": ValueError("bad chunk")}, None, 3, id="bad-chunk"),
        pytest.param({"fails": EOFError()}, None, 3, id="end-of-file"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_cut_body_is_no_whole_one(how, length, received, size):
    watch = Watch()
    stream = tapped(b"abc", length, watch, **how)
    with pytest.raises(errors.BodyCut) as caught:
        whole(stream.read, [size])
    assert caught.value.details == {"received": received}
    assert stream.failure is caught.value
    assert (watch.seen, watch.finished) == (b"abc", 0)
    with pytest.raises(errors.BodyCut):
        stream.read(1)


def test_what_the_process_is_told_is_no_cut_body():
    class Stop(BaseException):
        pass

    class Stops:
        def read(self, size):
            raise Stop

    stream = Tapped(Stops(), 5)
    with pytest.raises(Stop):
        stream.read(1)
    assert stream.failure is None


def test_closing_it_leaves_the_servers_stream_open():
    source = io.BytesIO(b"abc")
    Tapped(source, 3).close()
    assert not source.closed


# Large reads

READ_WHOLE = {
    "read": lambda stream, size: stream.read(size),
    "read-all": lambda stream, size: stream.read(),
    "readall": lambda stream, size: stream.readall(),
    "readinto": lambda stream, size: stream.readinto(bytearray(size)),
    "buffered": lambda stream, size: io.BufferedReader(stream, 1 << 16).read(size),
}


@pytest.mark.parametrize("read", READ_WHOLE.values(), ids=READ_WHOLE)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_refusal_ends_a_large_read(read, known):
    size = 5 * STEP_BYTES
    source = servers.Input(bytes(size))
    stream = Tapped(source, size if known else None)
    stream.join(Watch(at=1))
    with pytest.raises(errors.BadRequest):
        read(stream, size)
    assert source.given <= STEP_BYTES


@pytest.mark.parametrize("step", [None, 700_001], ids=["full", "short"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_large_read_is_whole_though_the_taps_get_steps(step, known):
    data = random.Random(19).randbytes(3 * STEP_BYTES + 5)
    watch = Watch()
    stream = tapped(data + b"rest", len(data) + 4 if known else None, watch, step=step)
    assert stream.read(len(data)) == data
    assert watch.seen == data
    assert max(map(len, watch.chunks)) <= STEP_BYTES
    assert stream.read() == b"rest"

    buffer = bytearray(len(data))
    assert tapped(data, len(data) if known else None, step=step).readinto(buffer) == len(data)
    assert buffer == data


@pytest.mark.parametrize("size", [1 << 60, -1])
def test_memory_is_taken_for_what_arrives_alone(size):
    """Not for what is announced or asked for, and not twice for a body that is read at once."""
    length = 32 * STEP_BYTES

    class Zeros:
        def read(self, size):
            return bytes(size)

    stream = Tapped(Zeros(), length)
    tracemalloc.start()
    try:
        assert len(stream.read(size)) == length
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * length


# The counter


@given(st.lists(st.binary(max_size=20)), st.integers(0, 100))
def test_a_limit_is_the_number_of_bytes_allowed(chunks, limit):
    counter = Limit(limit)
    allowed = sum(map(len, chunks)) <= limit
    with contextlib.nullcontext() if allowed else pytest.raises(errors.TooLarge) as caught:
        for chunk in chunks:
            counter.feed(chunk)
        counter.finish()
    assert allowed or caught.value.details == {"limit": limit}


class Unsent(servers.Input):
    """A body that arrives while it is read, as the server tells."""

    def may_wait(self):
        return True


@pytest.mark.parametrize(("stream", "turns"), [(Unsent, 2), (servers.Input, 0)])
def test_a_read_that_may_wait_takes_its_turn(stream, turns):
    taken = []
    found = Tapped(stream(b"four"), 4)
    found.turn = lambda: contextlib.nullcontext(taken.append(found.received))
    assert found.read(2) + found.read(2) == b"four"
    assert len(taken) == turns


def test_a_read_that_gets_no_turn_fails_unread():
    def refuse():
        raise errors.Busy

    stream = Unsent(b"four")
    found = Tapped(stream, 4)
    found.turn = refuse
    for _ in range(2):
        with pytest.raises(errors.Busy):
            found.read()
    assert stream.asked == 0
