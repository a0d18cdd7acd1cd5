"""The bytes of an upload: of files with holes, and of streams."""

import contextlib
import errno
import hashlib
import io
import os
import random

import pytest

from imsgate.client import source as sources
from imsgate.client.failures import TransferInterrupted, Unreadable
from imsgate.client.source import PIECE_BYTES, FileSource, StreamSource

DATA = random.Random(3).randbytes(5 * PIECE_BYTES + 17)
SHA512 = hashlib.sha512(DATA).hexdigest()


@pytest.fixture
def opened():
    """Opens files, and closes them at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(contextlib.closing(FileSource(str(path))))


def sparse(path, *extents, size):
    """A file with random data at these offsets and lengths, and holes elsewhere."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in extents:
            file.seek(offset)
            file.write(random.Random(offset).randbytes(length))
    return path


@pytest.mark.parametrize(
    "extents",
    [
        (),
        ((0, 4096),),
        ((1 << 20, 1 << 16),),
        ((0, 8192), (1 << 19, 4096), ((1 << 21) - 4096, 4096)),
        (((1 << 21) - 5, 5),),
    ],
)
@pytest.mark.parametrize(("offset", "limit"), [(0, None), (0, 100_000), (5000, 1 << 20), (7, 1)])
def test_holes_are_zeros(opened, tmp_path, extents, offset, limit):
    file = sparse(tmp_path / "disk", *extents, size=1 << 21)
    source = opened(file)
    expected = file.read_bytes()[offset : None if limit is None else offset + limit]
    pieces = list(source.pieces(offset, limit))
    assert b"".join(pieces) == expected
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def test_holes_are_not_read(opened, tmp_path, monkeypatch):
    file = sparse(tmp_path / "disk", (1 << 27, 1 << 16), size=1 << 28)
    source = opened(file)
    read = []
    pread = os.pread

    def counted(number, length, offset):
        chunk = pread(number, length, offset)
        read.append(len(chunk))
        return chunk

    monkeypatch.setattr(os, "pread", counted)
    assert sum(map(len, source.pieces(0, None))) == 1 << 28
    assert sum(read) <= 1 << 17  # a block of the file system on both sides


def test_a_file_system_without_holes(opened, tmp_path, monkeypatch):
    def refuse(number, offset, whence, lseek=os.lseek):
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "Invalid argument")
        return lseek(number, offset, whence)

    file = tmp_path / "disk"
    file.write_bytes(DATA)
    source = opened(file)
    monkeypatch.setattr(os, "lseek", refuse)
    assert b"".join(source.pieces(0, None)) == DATA


def test_digest_of_what_is_sent_again(opened, tmp_path, monkeypatch):
    file = tmp_path / "disk"
    file.write_bytes(DATA)
    source = opened(file)
    for offset, limit in ((0, 100_000), (40_000, 100_000), (140_000, None)):
        for _ in source.pieces(offset, limit):
            pass
    monkeypatch.setattr(source, "_read", lambda offset, length: pytest.fail("read again"))
    assert source.digest("sha512") == SHA512


def test_digest_of_an_upload_that_continues(opened, tmp_path):
    file = tmp_path / "disk"
    file.write_bytes(DATA)
    source = opened(file)
    assert list(source.catch_up(100_000)) == [100_000]
    for _ in source.pieces(100_000, None):
        pass
    assert source.digest("sha512") == SHA512


@pytest.mark.parametrize("name", ["sha256", "md5", "sha3_512"])
def test_digest_by_another_algorithm(opened, tmp_path, name):
    file = tmp_path / "disk"
    file.write_bytes(DATA)
    source = opened(file)
    assert source.digest(name) == hashlib.new(name, DATA).hexdigest()
    assert source.digest("unheard-of") is None


def test_a_file_that_changes(opened, tmp_path):
    file = tmp_path / "disk"
    file.write_bytes(DATA)
    source = opened(file)
    source.release(10)
    pieces = source.pieces(0, None)
    next(pieces)
    os.utime(file, (1, 1))
    with pytest.raises(Unreadable, match="was changed while it was uploaded"):
        next(pieces)
    with pytest.raises(Unreadable, match="was changed while it was uploaded"):
        source.release(20)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read(opened, tmp_path, name):
    with pytest.raises(Unreadable, match=r"No such file|s a directory"):
        opened(tmp_path / name)


def stream(window, data=DATA):
    return StreamSource(io.BytesIO(data), window)


def test_a_stream_in_parts():
    source, offset, sent = stream(PIECE_BYTES), 0, b""
    while not source.reaches_end(offset, PIECE_BYTES):
        sent += b"".join(source.pieces(offset, PIECE_BYTES))
        offset = len(sent)
        source.release(offset)
    sent += b"".join(source.pieces(offset, PIECE_BYTES))
    assert sent == DATA
    assert source.size == len(DATA)
    assert source.digest("sha512") == SHA512
    assert source.digest("sha256") == hashlib.sha256(DATA).hexdigest()
    assert source.digest("md5") is None


def test_a_stream_is_sent_again_within_its_window():
    source = stream(2 * PIECE_BYTES)
    list(source.pieces(0, 2 * PIECE_BYTES))
    source.release(1000)
    again = b"".join(source.pieces(1000, PIECE_BYTES))
    assert again == DATA[1000 : 1000 + PIECE_BYTES]
    with pytest.raises(TransferInterrupted, match="cannot be read again from byte 999"):
        list(source.pieces(999, 1))


def test_a_whole_stream_takes_no_memory():
    source = stream(PIECE_BYTES)
    kept = [len(source._kept) for _ in source.pieces(0, None)]
    assert max(kept) <= 2 * PIECE_BYTES
    assert source.digest("sha512") == SHA512


@pytest.mark.parametrize("data", [b"", b"x", DATA])
def test_the_head_of_a_stream(data):
    source = stream(PIECE_BYTES, data)
    assert source.head(100) == data[:100]
    assert b"".join(source.pieces(0, None)) == data
    assert source.size == len(data)


def test_the_module_has_one_buffer_of_zeros():
    assert len(sources._ZEROS) == PIECE_BYTES
