"""Inputs that once broke a parser, found by fuzzing."""

from pathlib import Path

import pytest

from imsgate.formats.inspector import Inspector
from tests.formats.check import assert_same_if_split

FINDS = sorted(Path(__file__).with_name("finds").glob("*.bin"))


@pytest.mark.parametrize("path", FINDS, ids=lambda path: path.name)
def test_inputs_found_by_fuzzing_stay_fixed(path):
    data = path.read_bytes()
    assert_same_if_split(Inspector(), data[4:], int.from_bytes(data[:4], "big"))
