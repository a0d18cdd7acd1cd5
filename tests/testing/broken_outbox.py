"""Registries that break one promise about events each, and the test to fail."""

import dataclasses
import threading

from imsgate.registry.base import NOTHING
from imsgate.registry.memory import MemoryRegistry
from imsgate.registry.outbox import Event


class _Silent(MemoryRegistry):
    """A method that forgets the events of what it does."""

    def quiet(self, step):
        recorder, self._recorder = self._recorder, None
        try:
            return step()
        finally:
            self._recorder = recorder


class AddsQuietly(_Silent):
    def add(self, image, within=None, outcome=None):
        self.quiet(lambda: super(_Silent, self).add(image, within, outcome))


class ChangesQuietly(_Silent):
    def change(self, image_id, was, within=None, /, **to):
        return self.quiet(lambda: super(_Silent, self).change(image_id, was, within, **to))


class AnswersQuietly(_Silent):
    def change_member(self, image_id, member_id, status):
        return self.quiet(lambda: super(_Silent, self).change_member(image_id, member_id, status))


class RemovesQuietly(_Silent):
    def remove_member(self, image_id, member_id):
        self.quiet(lambda: super(_Silent, self).remove_member(image_id, member_id))


class ClaimsQuietly(_Silent):
    def claim_job(self, kinds, now, lease, job_id=None, without=()):
        return self.quiet(lambda: super(_Silent, self).claim_job(kinds, now, lease))


class EndsJobsQuietly(_Silent):
    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        end = lambda: super(_Silent, self).change_job(job_id, epoch, fields, was, within, **to)  # noqa: E731
        return self.quiet(end)


class UploadsQuietly(_Silent):
    def change_upload(self, upload_id, epoch, fields, was=NOTHING, within=None, /, **to):
        change = super().change_upload
        return self.quiet(lambda: change(upload_id, epoch, fields, was, within, **to))


class TellsOfLeases(MemoryRegistry):
    def change(self, image_id, was, within=None, /, **to):
        changed = super().change(image_id, was, within, **to)
        if all(name.startswith("upload_") for name in to):
            self._record_image(changed, changed)
        return changed


class TellsWhatItWas(MemoryRegistry):
    """Reads what it changed before the change, from another image."""

    def _record_image(self, before, after):
        super()._record_image(before and dataclasses.replace(before, name="?"), after)


class TellsFirst(MemoryRegistry):
    """The event is recorded although the change is refused."""

    def change(self, image_id, was, within=None, /, **to):
        recorded = self._images.get(image_id)
        if recorded is not None and not was:
            self._record_image(recorded, recorded)
        return super().change(image_id, was, within, **to)


class TellsOfRefusals(MemoryRegistry):
    def _check_idle(self, image_id):
        self._record_image(self._images[image_id], self._images[image_id])
        super()._check_idle(image_id)


class TellsOfJobsFirst(MemoryRegistry):
    def change_job(self, job_id, epoch, fields, was=NOTHING, within=None, /, **to):
        self._record_job(None, dataclasses.replace(self.get_job(job_id), state="?"))
        return super().change_job(job_id, epoch, fields, was, within, **to)


class TellsOfNewImagesFirst(MemoryRegistry):
    def add(self, image, within=None, outcome=None):
        self._record_image(None, image)
        super().add(image, within, outcome)


class RecordsAlways(MemoryRegistry):
    def __init__(self):
        super().__init__()
        self.last = None

    def record_events(self, recorder):
        self.last = recorder or self.last
        super().record_events(self.last)


class EachTargetHasIds(MemoryRegistry):
    def add_events(self, events):
        super().add_events(events)
        for position, each in self._waiting.items():
            message = dataclasses.replace(each.message, event=Event(body=each.message.event.body))
            self._waiting[position] = dataclasses.replace(each, message=message)


class OneTargetOnly(MemoryRegistry):
    def add_events(self, events):
        super().add_events(events)
        self._waiting = {n: each for n, each in self._waiting.items() if each.target == "bus"}


class NewestFirst(MemoryRegistry):
    def take_turn(self, target, now, until, limit=20):
        turn = super().take_turn(target, now, until, 1000)
        return turn and dataclasses.replace(turn, messages=turn.messages[::-1][:limit])


class NoLimit(MemoryRegistry):
    def take_turn(self, target, now, until, limit=20):
        return super().take_turn(target, now, until, 1000)


class EverybodySends(MemoryRegistry):
    def take_turn(self, target, now, until, limit=20):
        return super().take_turn(target, now, now, limit)


class OneTurnForAll(MemoryRegistry):
    def take_turn(self, target, now, until, limit=20):
        if any(end > now for _, end, _ in self._turns.values()):
            return None
        return super().take_turn(target, now, until, limit)


class AnybodyKeepsTheTurn(MemoryRegistry):
    def keep_turn(self, turn, until, failures=0):
        epoch = self._turns[turn.target][0]
        return super().keep_turn(dataclasses.replace(turn, epoch=epoch), until, failures)


class ForgetsFailures(MemoryRegistry):
    def keep_turn(self, turn, until, failures=0):
        return super().keep_turn(turn, until)


class AddsFailures(MemoryRegistry):
    def keep_turn(self, turn, until, failures=0):
        return super().keep_turn(turn, until, turn.failures + failures)


class LooksBeforeItTakesTurns(MemoryRegistry):
    """All have seen that the turn is free before one takes it."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(4, timeout=10)

    def take_turn(self, target, now, until, limit=20):
        before = dict(self._turns)
        self.all_looked.wait()
        with self._lock:
            self._turns = before
            return super().take_turn(target, now, until, limit)


class SendsAtOnceAgain(MemoryRegistry):
    def postpone_message(self, message, due):
        super().postpone_message(message, 0.0)


class CountsNoAttempts(MemoryRegistry):
    def postpone_message(self, message, due):
        super().postpone_message(message, due)
        waiting = self._waiting[message.position]
        counted = dataclasses.replace(waiting.message, attempts=0)
        self._waiting[message.position] = dataclasses.replace(waiting, message=counted)


class PostponesToTheEnd(MemoryRegistry):
    def postpone_message(self, message, due):
        super().postpone_message(message, due)
        self._waiting[message.position] = self._waiting.pop(message.position)


class RemovesOnce(MemoryRegistry):
    def remove_messages(self, messages):
        for message in messages:
            del self._waiting[message.position]


class RemovesOne(MemoryRegistry):
    def remove_messages(self, messages):
        super().remove_messages(messages[:1])


class ForgetsAll(MemoryRegistry):
    def forget_messages(self, before):
        return super().forget_messages(9e9)


class ForgetsOneTarget(MemoryRegistry):
    def forget_messages(self, before):
        kept = {n: each for n, each in self._waiting.items() if each.target == "bus"}
        count = super().forget_messages(before)
        self._waiting |= kept if before else {}
        return count


REJECTED = [
    *(
        (silent, "change_records_its_events")
        for silent in (
            AddsQuietly,
            ChangesQuietly,
            AnswersQuietly,
            RemovesQuietly,
            ClaimsQuietly,
            EndsJobsQuietly,
            UploadsQuietly,
            TellsOfLeases,
            TellsWhatItWas,
        )
    ),
    (TellsFirst, "refused_change_records_no_event"),
    (TellsOfRefusals, "refused_change_records_no_event"),
    (TellsOfJobsFirst, "refused_change_records_no_event"),
    (TellsOfNewImagesFirst, "refused_change_records_no_event"),
    (RecordsAlways, "without_a_recorder_nothing_is_recorded"),
    (EachTargetHasIds, "change_records_its_events"),
    (OneTargetOnly, "event_comes_back_as_it_was"),
    (NewestFirst, "messages_are_sent_in_order"),
    (NoLimit, "messages_are_sent_in_order"),
    (EverybodySends, "one_at_a_time_sends"),
    (OneTurnForAll, "one_at_a_time_sends"),
    (AnybodyKeepsTheTurn, "one_at_a_time_sends"),
    (ForgetsFailures, "one_at_a_time_sends"),
    (AddsFailures, "one_at_a_time_sends"),
    (LooksBeforeItTakesTurns, "of_many_senders_one_gets_the_turn"),
    (SendsAtOnceAgain, "refused_message_waits"),
    (CountsNoAttempts, "refused_message_waits"),
    (PostponesToTheEnd, "refused_message_waits"),
    (RemovesOnce, "messages_are_sent_in_order"),
    (RemovesOne, "messages_are_sent_in_order"),
    (ForgetsAll, "old_messages_are_forgotten"),
    (ForgetsOneTarget, "old_messages_are_forgotten"),
]
