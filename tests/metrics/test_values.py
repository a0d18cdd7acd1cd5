"""The numbers of all processes of a host."""

import configparser
import importlib.metadata
import pathlib
import shutil

import pytest

from imsgate.metrics import values

A, B = ("a",), ("b", "label")


def files(directory):
    return sorted(path.name for path in pathlib.Path(directory).glob("*.db"))


def test_nothing_is_counted_before_it_begins(directory):
    values.add((A, 1))
    values.begin(directory)
    assert values.collect(directory) == ({}, {}, 1)


def test_a_number_is_the_sum_of_what_was_added(directory):
    values.begin(directory)
    values.begin(directory)  # does nothing
    values.add((A, 1), (B, 0.5))
    values.add((A, 2))
    assert values.collect(directory) == ({}, {A: 3, B: 0.5}, 1)


def test_numbers_survive_the_process(directory):
    values.begin(directory)
    values.add((A, 1))
    values.end()
    values.begin(directory)
    values.add((A, 2))
    assert values.collect(directory) == ({A: 1}, {A: 2}, 1)
    assert len(files(directory)) == 1


def test_counters_of_killed_processes_stay_and_their_files_go(directory, processes):
    for count in range(1, 5):
        processes("fork", "add a 1", "add a 1", "kill")
        if count % 2:
            assert values.collect(directory) == ({A: 2 * count}, {}, 1)
    processes("fork", "add a 10", "fork", "add a 100", "fork", "add a 1000", "kill", "kill")
    assert values.collect(directory) == ({A: 1108}, {A: 10}, 2)
    assert len(files(directory)) == 2


def test_every_process_that_begins_clears_up(directory, processes):
    """Nobody may ever ask for the metrics."""
    processes("fork", "add a 1", "kill", "fork", "add a 1", "kill")
    values.begin(directory)
    assert len(files(directory)) == 2  # the parent's and that of this process


def test_a_process_that_dies_while_it_clears_up_adds_no_file_twice(directory, processes, tmp_path):
    processes("fork", "add a 5", "kill")
    shutil.copytree(directory, tmp_path / "before")
    values.collect(directory)
    for name in files(tmp_path / "before"):  # as if the sum had been written and no file removed
        if name not in files(directory):
            shutil.copy(tmp_path / "before" / name, directory)
    processes("fork", "add a 1", "kill")
    assert values.collect(directory) == ({A: 6}, {}, 1)
    assert len(files(directory)) == 1


def test_files_stay_while_the_sum_cannot_be_written(directory, processes, caplog):
    processes("fork", "add a 5", "kill")
    blocking = pathlib.Path(directory, "ended.new")
    blocking.mkdir()
    assert values.collect(directory) == values.collect(directory) == ({A: 5}, {}, 1)
    assert "stay in" in caplog.text
    blocking.rmdir()
    values.collect(directory)
    assert values.collect(directory) == ({A: 5}, {}, 1)
    assert len(files(directory)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x0f\0\0" + b"\xff" * 4096, b"\x40\0\0\0" + b"\x7f" * 100]
)
def test_a_damaged_file_counts_nothing_and_goes(directory, content, caplog):
    values.begin(directory)
    values.add((A, 1))
    pathlib.Path(directory, "1-damaged.db").write_bytes(content)
    assert values.collect(directory) == ({}, {A: 1}, 1)
    assert "1-damaged.db" in caplog.text
    assert len(files(directory)) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"sum": [[["a"], 1]]}'])
def test_a_damaged_sum_begins_anew(directory, content, caplog):
    values.begin(directory)
    pathlib.Path(directory, "ended").write_text(content)
    assert values.collect(directory) == ({}, {}, 1)
    assert "are lost" in caplog.text


def test_a_file_never_grows(directory):
    """It could not on a full disk, and the number of time series is bounded in any case."""
    values.begin(directory)
    for number in range(4000):
        values.add(((f"{number:>500}",), 1))
    values.add((("0".rjust(500),), 1))
    (path,) = pathlib.Path(directory).glob("*.db")
    assert path.stat().st_size == values.FILE_BYTES
    _, living, _ = values.collect(directory)
    assert 1000 < len(living) < 2100
    assert living[("0".rjust(500),)] == 2


#: Verified with this version, which setup.cfg requires, and with later ones up to this bound:
#: ``MmapedDict`` maps a file of the size that it finds, as ``_m``, and each number is a double at
#: the offset that ``_positions`` has, a multiple of 8.
LOWEST, BOUND = (0, 20), (0, 27)


def test_the_private_part_of_the_library_has_been_verified():
    version = importlib.metadata.version("prometheus_client")
    assert LOWEST <= tuple(map(int, version.split(".")[:2])) < BOUND
    setup = configparser.ConfigParser()
    setup.read(pathlib.Path(__file__).parent.parent.parent / "setup.cfg")
    lowest = ".".join(map(str, LOWEST))
    required = setup["options.extras_require"]["server"].split()
    assert f"prometheus_client>={lowest}" in required
