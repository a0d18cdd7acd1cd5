"""Leases: how they are renewed, and how an outage is waited out."""

import itertools
import threading
import types

import pytest

from imsgate import errors
from imsgate.transfer import lease
from imsgate.transfer.lease import Lease, retry_while_unavailable


def test_a_lease_that_a_slow_database_has_used_up_is_renewed_at_once(monkeypatch):
    now, pauses = 0.0, []

    class Done(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return len(pauses) == 4

    monkeypatch.setattr(lease, "time", types.SimpleNamespace(monotonic=lambda: now))
    for _, taken in zip(lease.every(5.0, Done()), (2, 55, 0), strict=False):
        now += taken
    assert pauses == [5.0, 3.0, 0.0, 5.0]


class Refused(Exception):
    pass


@pytest.mark.parametrize("outages", [0, 3])
def test_a_lease_is_renewed_until_it_is_refused(outages):
    turns, refused = itertools.count(), threading.Event()

    def renew():
        if next(turns) < outages:
            raise errors.Unavailable(what="The database")
        refused.set()
        raise Refused

    with Lease("image i", renew, interval=0.001, refusals=(Refused,)) as held:
        assert refused.wait(300)
        held._thread.join(300)
        assert held.lost
    assert next(turns) == outages + 1


def test_a_lease_is_kept_by_the_thread_that_works(monkeypatch):
    now, renewed = 0.0, []
    monkeypatch.setattr(lease, "time", types.SimpleNamespace(monotonic=lambda: now))

    def renew():
        renewed.append(now)
        if now > 300:
            raise Refused
        if now > 200:
            raise errors.Unavailable(what="The database")

    held = Lease("image i", renew, interval=50, refusals=(Refused,))
    for now in (0, 100, 101, 150, 201, 202, 250, 303, 500):  # noqa: B007
        held.keep()
    assert (renewed, held.lost) == ([101, 202, 303], True)


def test_waiting_ends_with_the_lease():
    with Lease("image i", lambda: None, interval=60, refusals=()) as held:
        held.end()
        held.wait(3600)
    assert not held.lost


def retry(step, pauses, seconds=float("inf")):
    waited = []
    try:
        result = retry_while_unavailable(
            step, subject="Job j", pauses=pauses, wait=waited.append, seconds=seconds
        )
    except errors.Unavailable as error:
        result = type(error)
    return result, waited


def failing(times):
    turns = itertools.count(1)

    def step():
        if next(turns) <= times:
            raise errors.Unavailable(what="The database")
        return "done"

    return step


@pytest.mark.parametrize(
    ("times", "seconds", "expected"),
    [
        (0, 60, ("done", [])),
        (2, 60, ("done", [1, 2])),
        (3, 60, ("done", [1, 2, 4])),
        (4, 60, (errors.Unavailable, [1, 2, 4])),
        (3, 3, (errors.Unavailable, [1, 2])),
    ],
)
def test_an_outage_is_waited_out_as_long_as_there_are_pauses_and_time(times, seconds, expected):
    assert retry(failing(times), [1, 2, 4], seconds) == expected


def test_another_failure_is_no_outage():
    def step():
        raise errors.Conflict(problem="no")

    with pytest.raises(errors.Conflict):
        retry(step, [1, 2])


def test_waiting_may_give_up():
    def wait(seconds):
        raise errors.Cancelled(image_id="i")

    with pytest.raises(errors.Cancelled):
        retry_while_unavailable(failing(9), subject="Job j", pauses=[1], wait=wait)
