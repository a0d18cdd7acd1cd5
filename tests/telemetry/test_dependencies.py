"""What is logged about an outage: its beginning, once a minute, and its end."""

import logging

import pytest

from imsgate.telemetry.dependencies import Dependency, one_line

LOG = logging.getLogger("imsgate.tests")


class Outage:
    """A dependency with a clock that stands still."""

    def __init__(self, caplog):
        caplog.set_level(logging.INFO)
        self.now = 1000.0
        self._caplog = caplog
        self.dependency = Dependency("The tape robot", LOG, clock=lambda: self.now)

    def fails(self, seconds=0.0, problem="its arm is stuck"):
        self.now += seconds
        self.dependency.failed(problem)

    def works(self, seconds=0.0):
        self.now += seconds
        self.dependency.works()

    @property
    def records(self):
        return self._caplog.records

    @property
    def lines(self):
        return [(record.levelname, record.getMessage()) for record in self.records]


@pytest.fixture
def outage(caplog):
    return Outage(caplog)


FIRST = ("ERROR", "The tape robot fails: its arm is stuck")


def test_the_first_failure_is_an_error_at_once(outage):
    outage.fails()
    assert outage.lines == [FIRST]


def test_a_minute_of_failures_is_one_line(outage):
    for _ in range(60):
        outage.fails(0.999)
    assert outage.lines == [FIRST]


def test_after_a_minute_the_next_failure_counts_the_others(outage):
    for seconds in (0, 10, 20, 30):
        outage.fails(seconds)
    assert outage.lines == [FIRST, ("ERROR", FIRST[1] + " (3 failures)")]


def test_a_failure_after_a_quiet_minute_is_like_the_first(outage):
    outage.fails()
    outage.fails(61)
    assert outage.lines == [FIRST, FIRST]


def test_the_end_is_logged_once_with_the_duration(outage):
    outage.fails()
    outage.fails(30)
    outage.works(90)
    outage.works(5)
    assert outage.lines == [FIRST, ("INFO", "The tape robot works again after 120 s")]


def test_what_never_failed_says_nothing(outage):
    outage.works()
    assert outage.lines == []


def test_what_fails_now_and_then_has_a_line_a_minute(outage):
    for _ in range(12):
        outage.fails(5)
        outage.works(5)
    end = ("INFO", "The tape robot works again after 5 s")
    assert outage.lines == [FIRST, end, ("ERROR", FIRST[1] + " (6 failures)"), end]


def test_fields_for_json(outage):
    outage.fails()
    outage.works(2)
    name = {"dependency": "The tape robot"}
    assert [record.extra for record in outage.records] == [
        {**name, "problem": "its arm is stuck", "failures": 1},
        {**name, "seconds": 2.0},
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n\tb  c", "a b c"),
        ("a\x1b[31m\x00", "a\\x1b[31m\\x00"),
        ("half \ud800", "half \\ud800"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        (ValueError("why"), "why"),
    ],
)
def test_a_problem_is_one_short_line(text, line):
    assert one_line(text) == line
