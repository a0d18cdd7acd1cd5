"""What fuzzing found, once and for all."""

from pathlib import Path

import pytest

from imsgate.formats.inspector import Inspector
from tests.formats.check import same_for_splits

FINDS = sorted(Path(__file__).with_name("finds").glob("*.bin"))


@pytest.mark.parametrize("path", FINDS, ids=lambda path: path.name)
def test_what_was_found_stays_fixed(path):
    data = path.read_bytes()
    same_for_splits(Inspector(), data[4:], int.from_bytes(data[:4], "big"))
