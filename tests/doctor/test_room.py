"""When free space and inodes are too few."""

import pytest

from imsgate.doctor import room
from imsgate.stores.base import Room

G = 1 << 30


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        (Room(), "skipped"),
        (Room(100 * G, 50 * G), "ok"),
        (Room(10 * G, 1 * G), "ok"),  # small, and a tenth is free
        (Room(100 * G, 4 * G), "warning"),
        (Room(None, 10 * G), "warning"),
        (Room(10_000 * G, 30 * G), "ok"),
        (Room(10_000 * G, 10 * G), "warning"),
        (Room(100 * G, 50 * G, 47 * G), "warning"),
        (Room(100 * G, 50 * G, 51 * G), "error"),
        (Room(100 * G, 1 << 20), "error"),
    ],
)
def test_space(found, severity):
    assert room.judge("room.x", found).severity == severity


@pytest.mark.parametrize(
    ("free", "total", "severity"),
    [(0, 0, "ok"), (900, 1000, "ok"), (200, 10_000, "warning"), (99, 1000, "error")],
)
def test_inodes(free, total, severity):
    assert room.judge_files("room.x.inodes", free, total).severity == severity
