"""Scratch space: reserved before it is used, and freed whatever happens."""

import os
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.conversion.scratch import Scratch, ScratchTap
from tests.conversion.conftest import files_in

MIB = 1 << 20


@pytest.fixture
def small(tmp_path):
    return Scratch(str(tmp_path / "small"), 10 * MIB)


def test_what_is_reserved_is_not_reserved_twice(small):
    with small.reservation() as one, small.reservation() as other:
        one.reserve(6 * MIB)
        with pytest.raises(errors.ScratchFull):
            other.reserve(4 * MIB + 1)
        other.reserve(4 * MIB)
        one.reserve(5 * MIB)
        other.reserve(5 * MIB)
    with small.reservation() as one:
        one.reserve(10 * MIB)
    assert files_in(small) == []


def test_what_can_never_fit_is_not_waited_for(small):
    with small.reservation() as one, pytest.raises(errors.ScratchTooSmall):
        one.reserve(10 * MIB + 1)


def test_free_space_is_the_limit(scratch):
    free = os.statvfs(scratch.directory)
    with scratch.reservation() as one, pytest.raises(errors.ScratchFull) as caught:
        one.reserve(free.f_blocks * free.f_frsize + 1)
    assert isinstance(caught.value, errors.SourceUnavailable), "the job is tried again"


def test_written_bytes_are_not_counted_twice(scratch, monkeypatch):
    """They are no longer free. Only the rest of each reservation still needs free space."""
    free = 100 * MIB

    def statvfs(path):
        return os.statvfs_result((1, 1, 0, 0, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr("imsgate.conversion.scratch.os.statvfs", statvfs)
    with scratch.reservation() as one, scratch.reservation() as other:
        one.reserve(60 * MIB)
        file = one.file()
        file.write(bytes(8 * MIB))
        os.fsync(file.fileno())
        free -= 8 * MIB
        with pytest.raises(errors.ScratchFull):
            other.reserve(40 * MIB)
        one.reserve(60 * MIB)  # notices what it has written
        other.reserve(40 * MIB)
        with pytest.raises(errors.ScratchFull):
            other.reserve(41 * MIB)


DIES = """
import os, signal, sys
from imsgate.conversion.scratch import Scratch, ScratchTap
with Scratch(sys.argv[1], 10 << 20).reservation() as space:
    space.reserve(8 << 20)
    ScratchTap(space.file()).feed(bytes(8 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing(small):
    command = [sys.executable, "-c", DIES, small.directory]
    assert subprocess.run(command, check=False, env=dict(os.environ)).returncode == -9
    [entry] = files_in(small)  # the file had no name, so the kernel has freed it
    assert os.stat(os.path.join(small.directory, entry)).st_size < 100
    with small.reservation() as one:
        one.reserve(10 * MIB)
    assert files_in(small) == []


def test_the_next_start_removes_what_a_killed_process_left(small):
    command = [sys.executable, "-c", DIES, small.directory]
    subprocess.run(command, check=False, env=dict(os.environ))
    assert files_in(small)
    Scratch(small.directory, 0)
    assert files_in(small) == []


def test_a_full_disk_is_reported(scratch):
    with scratch.reservation() as space:
        file = space.file()
        file.close()
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(errors.ScratchFull):
            ScratchTap(full).feed(b"x")
