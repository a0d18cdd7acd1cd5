"""Bytes of responses, counted as servers send them: by sendfile, by reading, in chunks."""

import contextlib
import os
import socket
import threading

import pytest

from imsgate.transfer.counted import CountedChunks, CountedFile, SentBytes

SIZE = 1 << 22


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    with open(path, "rb", buffering=0) as opened:
        yield opened


@pytest.fixture
def ends():
    return []


def counter(ends, expected=SIZE):
    return SentBytes(lambda sent, wanted: ends.append((sent, wanted)), expected)


def counted(file, ends, start=0, count=SIZE):
    file.seek(start)
    return CountedFile(file, start, counter(ends, count))


@contextlib.contextmanager
def peer(size):
    """The socket of a client that reads ``size`` bytes and closes the connection."""
    ours, theirs = socket.socketpair()

    def read():
        with theirs:
            left = size
            while left and (data := theirs.recv(min(left, 65536))):
                left -= len(data)

    reader = threading.Thread(target=read)
    reader.start()
    with ours:
        yield ours
    reader.join()


def test_sendfile_sends_all(file, ends):
    with peer(SIZE) as client:
        sent = counted(file, ends)
        client.sendfile(sent, offset=0, count=SIZE)
        # As gunicorn does it.
        os.lseek(sent.fileno(), 0, os.SEEK_SET)
        sent.close()
    assert ends == [(SIZE, SIZE)]


def test_sendfile_sends_a_range(file, ends):
    with peer(500) as client:
        sent = counted(file, ends, 1000, 500)
        client.sendfile(sent, offset=1000, count=500)
        sent.close()
    assert ends == [(500, 500)]


def test_sendfile_is_cut(file, ends):
    with peer(100_000) as client:
        sent = counted(file, ends)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            client.sendfile(sent, offset=0, count=SIZE)
        sent.close()
    ((bytes_sent, expected),) = ends
    assert 100_000 <= bytes_sent < expected == SIZE


@pytest.mark.parametrize("reads", [0, 3])
def test_a_server_reads_the_file(file, ends, reads):
    sent = counted(file, ends)
    for _ in range(reads):
        assert len(sent.read(1000)) == 1000
    sent.close()
    sent.close()
    assert file.closed
    assert ends == [(1000 * reads, SIZE)]


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_chunks(ends, taken):
    """A chunk counts when the server asks for the next one."""
    chunks = CountedChunks([b"x" * 10] * 3, counter(ends, 30))
    iterator = iter(chunks)
    for _ in range(taken):
        next(iterator)
    chunks.close()
    assert ends == [(10 * (taken - 1), 30)]


def test_all_chunks(ends):
    class Source(list):
        closed = 0

        def close(self):
            self.closed += 1

    source = Source([b"x" * 10] * 3)
    chunks = CountedChunks(source, counter(ends, 30))
    assert list(chunks) == source
    chunks.close()
    assert ends == [(30, 30)]
    assert source.closed == 1
