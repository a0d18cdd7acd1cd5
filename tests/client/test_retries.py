"""How long a client waits, and when it gives up."""

import pytest

from imsgate.client.failures import TransferInterrupted
from imsgate.client.retries import Retries, retry_after
from tests.client.scripted import Clock


@pytest.fixture
def clock():
    return Clock()


def retries(clock, patience=100.0, **options):
    return Retries(patience, clock=clock, sleep=clock.sleep, spread=lambda: 1.0, **options)


def test_waits_grow_until_there_is_progress(clock):
    waiting = retries(clock, patience=1000)
    for _ in range(9):
        waiting.wait("away")
    assert clock.slept == [0, 0.5, 1, 2, 4, 8, 15, 30, 30]
    waiting.progressed()
    waiting.wait("away")
    assert clock.slept[-1] == 0


def test_patience_is_counted_from_the_last_progress(clock):
    waiting = retries(clock)
    for _ in range(3):
        waiting.wait("away", 60)
        waiting.progressed()
    waiting.wait("away", 60)
    with pytest.raises(TransferInterrupted, match="no progress for 100 seconds: away"):
        waiting.wait("away", 60)
    assert len(clock.slept) == 4


def test_what_the_server_asks_for_is_the_least(clock):
    waiting = retries(clock)
    waiting.wait("busy", 7)
    waiting.wait("busy", 0)
    assert clock.slept == [7, 0.5]


def test_waits_vary_by_half(clock):
    waiting = Retries(100, clock=clock, sleep=clock.sleep, spread=lambda: 0.0)
    for _ in range(3):
        waiting.wait("away")
    assert clock.slept == [0, 0.25, 0.5]


def test_the_reason_is_reported_before_the_wait(clock):
    said = []
    waiting = retries(clock, report=lambda why, seconds: said.append((why, seconds, clock.now)))
    waiting.wait("away", 3)
    assert said == [("away", 3, 0.0)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("Sun, 29 Nov 2026 10:00:30 GMT", 30.0),
        ("Sun, 29 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("\u0661", None),
    ],
)
def test_retry_after(text, seconds):
    now = 1795946400.0  # 2026-11-29 10:00:00 UTC
    assert retry_after({"Retry-After": text}, now) == seconds


def test_no_retry_after():
    assert retry_after({}, 0) is None
