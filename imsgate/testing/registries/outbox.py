"""The part of the registry contract about events: which are recorded, and who may send them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imsgate.errors import Error
from imsgate.model import Image, Job, JobState, Limits, Member, MemberStatus, Status
from imsgate.registry.base import Registry
from imsgate.registry.outbox import Event, OutboxMessage, Turn
from imsgate.testing.records import image, job, member, upload
from imsgate.testing.registries.threads import together

#: Seconds since the epoch, after every message of the tests was recorded.
NOW = 9e9
UNTIL = NOW + 60.25

_TARGETS = ("bus", "hook")


class _Recorder:
    """Records one event for each change."""

    targets = _TARGETS

    def image(self, before: Image | None, after: Image) -> Iterator[Event]:
        was = None if before is None else [before.name, sorted(before.tags)]
        yield Event(body={"image": after.id, "was": was, "is": [after.name, sorted(after.tags)]})

    def member(self, action: str, member: Member, image: Image) -> Iterator[Event]:
        status = str(member.status)
        yield Event(body={action: member.member_id, "status": status, "name": image.name})

    def job(self, before: JobState | None, after: Job) -> Iterator[Event]:
        if before != after.state:
            yield Event(body={"job": after.id, "was": before, "is": after.state})


@contextlib.contextmanager
def recording(registry: Registry) -> Iterator[None]:
    registry.record_events(_Recorder())
    try:
        yield
    finally:
        registry.record_events(None)


def _waiting(registry: Registry, target: str) -> list[OutboxMessage]:
    """The messages to a target, each of them removed."""
    messages: list[OutboxMessage] = []
    while turn := registry.take_turn(target, NOW, UNTIL):
        messages += turn.messages
        registry.remove_messages(turn.messages)
        registry.keep_turn(turn, 0.0)
    return messages


def events(registry: Registry) -> list[Any]:
    """What is sent to each target: the bodies in order. All targets get the same."""
    first, *others = (
        [message.event for message in _waiting(registry, target)] for target in _TARGETS
    )
    assert all(other == first for other in others)
    assert len({event.id for event in first}) == len(first)
    return [dict(event.body) for event in first]


OLD, NEW = {"name": "old"}, {"name": "new"}
_RENAMED = {"was": ["old", []], "is": ["new", []]}


def _add(registry: Registry, record: Image, task: Job) -> list[Any]:
    new = image(name="new", tags=frozenset("ba"))
    registry.add(new)
    return [{"image": new.id, "was": None, "is": ["new", ["a", "b"]]}]


def _change(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.change(record.id, {}, tags=frozenset("t"))
    registry.change(record.id, {}, name="new", upload_key="key")
    return [
        {"image": record.id, "was": ["old", []], "is": ["old", ["t"]]},
        {"image": record.id, "was": ["old", ["t"]], "is": ["new", ["t"]]},
    ]


def _limited_change(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.change(record.id, {}, Limits("project", {"image_size_total": 1}), **NEW)
    return [{"image": record.id, **_RENAMED}]


def _members(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.add_member(member(record.id, "them"))
    registry.change_member(record.id, "them", MemberStatus.ACCEPTED)
    registry.remove_member(record.id, "them")
    return [
        {"create": "them", "status": "pending", "name": "old"},
        {"update": "them", "status": "accepted", "name": "old"},
        {"delete": "them", "status": "accepted", "name": "old"},
    ]


def _add_job(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.add_job(task, {}, **NEW)
    return [{"image": record.id, **_RENAMED}, {"job": task.id, "was": None, "is": "INIT"}]


def _add_with_job(registry: Registry, record: Image, task: Job) -> list[Any]:
    new = image(name="new")
    registry.add_with_job(new, job(new.id, id=task.id))
    return [
        {"image": new.id, "was": None, "is": ["new", []]},
        {"job": task.id, "was": None, "is": "INIT"},
    ]


def _end_job(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.add_job(task)
    taken = registry.claim_job([task.kind], NOW, UNTIL)
    assert taken is not None
    registry.change_job(task.id, 1, {"lease": UNTIL + 1})
    registry.change_job(task.id, 1, {"state": JobState.SUCCESS}, {}, **NEW)
    running = "RUNNING"
    return [
        {"job": task.id, "was": None, "is": "INIT"},
        {"job": task.id, "was": "INIT", "is": running},
        {"job": task.id, "was": running, "is": "SUCCESS"},
        {"image": record.id, **_RENAMED},
    ]


def _uploads(registry: Registry, record: Image, task: Job) -> list[Any]:
    new = upload(record.id)
    registry.add_upload(new, {}, name="during")
    registry.change_upload(new.id, 0, {"offset": 1})
    registry.change_upload(new.id, 0, {"offset": 2}, {}, **NEW)
    return [
        {"image": record.id, "was": ["old", []], "is": ["during", []]},
        {"image": record.id, "was": ["during", []], "is": ["new", []]},
    ]


def _running_upload(registry: Registry, record: Image, task: Job) -> list[Any]:
    registry.change(record.id, {}, upload_key="key", upload_expires=1.5, upload_received=7)
    return []


def _removals(registry: Registry, record: Image, task: Job) -> list[Any]:
    new = upload(record.id, expires=1.0)
    registry.change(record.id, {}, upload_key="key")
    registry.add_upload(new, {}, upload_key="key")
    registry.forget_uploads(2.0)
    registry.cancel_jobs(record.id)
    return []


Step = Callable[[Registry, Image, Job], list[Any]]

CHANGES: list[Step] = [
    _add,
    _change,
    _limited_change,
    _members,
    _add_job,
    _add_with_job,
    _end_job,
    _uploads,
    _running_upload,
    _removals,
]

_WRONG = {"status": Status.ACTIVE}


def _add_twice(registry: Registry, record: Image, task: Job) -> None:
    registry.add(record)


def _add_over_limit(registry: Registry, record: Image, task: Job) -> None:
    limits = Limits("project", {"image_count_total": 1})
    registry.add(image(owner="project"), limits)


def _change_another(registry: Registry, record: Image, task: Job) -> None:
    registry.change(record.id, _WRONG, **NEW)


def _change_unknown(registry: Registry, record: Image, task: Job) -> None:
    registry.change(image().id, {}, **NEW)


def _grow_over_limit(registry: Registry, record: Image, task: Job) -> None:
    registry.change(
        record.id, {}, Limits("project", {"image_size_total": 0}), upload_reserved=1, **NEW
    )


def _add_member_of_none(registry: Registry, record: Image, task: Job) -> None:
    registry.add_member(member(image().id, "them"))


def _add_too_many_members(registry: Registry, record: Image, task: Job) -> None:
    registry.add_member(member(record.id, "them"), 0)


def _remove_no_member(registry: Registry, record: Image, task: Job) -> None:
    registry.remove_member(record.id, "nobody")


def _add_job_twice(registry: Registry, record: Image, task: Job) -> None:
    registry.add_job(job(record.id), {}, **NEW)


def _add_with_old_job(registry: Registry, record: Image, task: Job) -> None:
    new = image()
    registry.add_with_job(new, job(new.id, id=task.id))


def _change_old_job(registry: Registry, record: Image, task: Job) -> None:
    registry.change_job(task.id, 8, {"state": JobState.FAIL}, {}, **NEW)


def _end_with_another(registry: Registry, record: Image, task: Job) -> None:
    registry.change_job(task.id, 1, {"state": JobState.FAIL}, _WRONG, **NEW)


def _change_old_upload(registry: Registry, record: Image, task: Job) -> None:
    registry.change_upload("upload", 8, {"offset": 1}, {}, **NEW)


def _upload_to_another(registry: Registry, record: Image, task: Job) -> None:
    registry.add_upload(upload(record.id), _WRONG, **NEW)


REFUSED: list[Callable[[Registry, Image, Job], None]] = [
    _add_twice,
    _add_over_limit,
    _change_another,
    _change_unknown,
    _grow_over_limit,
    _add_member_of_none,
    _add_too_many_members,
    _remove_no_member,
    _add_job_twice,
    _add_with_old_job,
    _change_old_job,
    _end_with_another,
    _change_old_upload,
    _upload_to_another,
]


def _record(registry: Registry, *names: str) -> None:
    with recording(registry):
        registry.add_events([Event(body={"name": name}) for name in names])


def _names(turn: Turn | None) -> list[str]:
    assert turn is not None
    return [message.event.body["name"] for message in turn.messages]


def _take(registry: Registry, now: float = NOW, until: float = UNTIL, **more: Any) -> Turn | None:
    return registry.take_turn("bus", now, until, **more)


class OutboxContract:
    """The promises of ``imsgate.registry.outbox``."""

    @pytest.mark.parametrize("step", CHANGES)
    def test_change_records_its_events(self, registry: Registry, step: Step) -> None:
        record = image(owner="project", **OLD)
        registry.add(record)
        with recording(registry):
            expected = step(registry, record, job(record.id))
        found = events(registry)
        # Those of an image and its job are one step; their order is the driver's.
        assert sorted(found, key=str) == sorted(expected, key=str)
        images = [body for body in found if "image" in body or "status" in body]
        assert images == [body for body in expected if body in images]

    @pytest.mark.parametrize("step", REFUSED)
    def test_refused_change_records_no_event(
        self, registry: Registry, step: Callable[[Registry, Image, Job], None]
    ) -> None:
        record = image(owner="project", **OLD)
        registry.add(record)
        task = job(record.id)
        registry.add_job(task)
        registry.claim_job([task.kind], NOW, UNTIL)
        registry.add_upload(upload(record.id, id="upload"))
        with recording(registry), pytest.raises(Error):
            step(registry, record, task)
        assert events(registry) == []

    def test_without_a_recorder_nothing_is_recorded(self, registry: Registry) -> None:
        with recording(registry):
            pass
        registry.add(image())
        registry.add_events([Event(body={})])
        assert events(registry) == []

    def test_event_comes_back_as_it_was(self, registry: Registry) -> None:
        event = Event(body={"Ünï 🐧": ["x" * 2**20, None, 1.5, {"a": False}]})
        with recording(registry):
            registry.add_events([event])
        for target in _TARGETS:
            (message,) = _waiting(registry, target)
            assert (message.event, message.attempts) == (event, 0)

    def test_messages_are_sent_in_order(self, registry: Registry) -> None:
        _record(registry, *"abcde")
        assert _names(_take(registry, until=NOW, limit=2)) == ["a", "b"]
        turn = _take(registry, limit=4)
        assert _names(turn) == ["a", "b", "c", "d"]
        assert turn is not None
        registry.remove_messages(turn.messages[1:2])
        registry.remove_messages(turn.messages[1:3])
        registry.keep_turn(turn, NOW)
        assert _names(_take(registry)) == ["a", "d", "e"]

    def test_one_at_a_time_sends(self, registry: Registry) -> None:
        assert _take(registry) is None
        _record(registry, "a")
        first = _take(registry)
        assert first is not None
        for now in (NOW, UNTIL - 0.25):
            assert _take(registry, now) is None
        assert registry.take_turn("hook", NOW, UNTIL) is not None
        assert registry.keep_turn(first, UNTIL + 1, 3)
        assert _take(registry, UNTIL) is None
        second = _take(registry, UNTIL + 1, UNTIL + 2)
        assert second is not None
        assert second.failures == 3
        # The first sender was paused past the end of its turn.
        assert not registry.keep_turn(first, NOW, 5)
        assert _take(registry, UNTIL + 1) is None
        assert registry.keep_turn(second, NOW)
        third = _take(registry)
        assert third is not None
        assert third.failures == 0

    def test_of_many_senders_one_gets_the_turn(self, registry: Registry) -> None:
        for now in (NOW, UNTIL + 1):
            _record(registry, "a")
            turns = together(4, lambda _, now=now: _take(registry, now, now + 60))  # type: ignore[misc]
            assert sum(isinstance(turn, Turn) for turn in turns) == 1, turns
            assert turns.count(None) == 3, turns

    def test_refused_message_waits(self, registry: Registry) -> None:
        _record(registry, *"abc")
        turn = _take(registry, until=NOW)
        assert turn is not None
        registry.postpone_message(turn.messages[0], NOW + 5)
        assert _names(_take(registry, until=NOW)) == ["b", "c"]
        late = _take(registry, NOW + 5, NOW + 5)
        assert _names(late) == ["a", "b", "c"]
        assert late is not None
        assert [message.attempts for message in late.messages] == [1, 0, 0]
        for message in turn.messages:
            registry.postpone_message(message, UNTIL)
        assert _take(registry, NOW + 5) is None

    def test_old_messages_are_forgotten(self, registry: Registry) -> None:
        _record(registry, *"ab")
        assert registry.forget_messages(0.0) == 0
        assert _names(_take(registry, until=NOW)) == ["a", "b"]
        assert registry.forget_messages(NOW) == 2 * len(_TARGETS)
        assert _take(registry) is None
