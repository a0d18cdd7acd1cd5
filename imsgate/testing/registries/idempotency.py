"""The part of the registry contract about idempotency keys."""

from collections.abc import Callable
from typing import Any

import pytest

from imsgate.errors import AlreadyExists, Conflict, KeyInUse, KeyReused, NotFound
from imsgate.model import Status
from imsgate.registry.base import Registry
from imsgate.registry.idempotency import Claim, KeptAnswer, Outcome
from imsgate.testing.records import image, job
from imsgate.testing.registries.threads import together, winner

KEY, FINGERPRINT = "k" * 64, "f" * 64

#: In seconds since the epoch.
NOW, LEASE, EXPIRES = 1_700_000_000.25, 1_700_000_060.75, 1_700_086_400.5

ANSWER = KeptAnswer(
    201, {"Location": "http://ü/🐧", "X": ""}, b'{"a": "\xc3\xbc"}\0\xff' + b"x" * 2**20
)


def claim(
    registry: Registry,
    key: str = KEY,
    fingerprint: str = FINGERPRINT,
    now: float = NOW,
    lease: float = LEASE,
    expires: float = EXPIRES,
) -> Claim | KeptAnswer:
    return registry.claim_key(key, fingerprint, now=now, lease=lease, expires=expires)


def claimed(registry: Registry, **changed: Any) -> Claim:
    taken = claim(registry, **changed)
    assert isinstance(taken, Claim)
    return taken


def _add(registry: Registry, outcome: Outcome) -> str:
    record = image()
    registry.add(record, None, outcome)
    return record.id


def _add_with_job(registry: Registry, outcome: Outcome) -> str:
    record = image()
    registry.add_with_job(record, job(record.id), None, outcome)
    return record.id


def _add_job(registry: Registry, outcome: Outcome) -> str:
    new = job()
    registry.add_job(new, {}, None, outcome)
    return new.id


def _keep(registry: Registry, outcome: Outcome) -> str:
    registry.keep_answer(outcome)
    return ""


#: The steps that end a claim. Each returns the id of what it records.
STEPS = [_add, _add_with_job, _add_job, _keep]

Step = Callable[[Registry, Outcome], str]


class IdempotencyContract:
    """The promises of ``imsgate.registry.idempotency``."""

    @pytest.mark.parametrize("step", STEPS)
    def test_answer_is_given_again(self, registry: Registry, step: Step) -> None:
        step(registry, Outcome(claimed(registry), ANSWER))
        assert claim(registry) == claim(registry, now=EXPIRES) == ANSWER
        assert isinstance(claim(registry, key=KEY.upper()), Claim)
        with pytest.raises(KeyReused):
            claim(registry, fingerprint=FINGERPRINT.upper())

    def test_key_in_use(self, registry: Registry) -> None:
        claimed(registry)
        for now in (NOW, LEASE):
            with pytest.raises(KeyInUse):
                claim(registry, now=now)
        with pytest.raises(KeyReused):
            claim(registry, fingerprint="other")

    @pytest.mark.parametrize("step", STEPS)
    def test_lost_claim_ends_nothing(self, registry: Registry, step: Step) -> None:
        """The process was paused past its lease, and another one has begun."""
        late = LEASE + 1
        lost, taken = claimed(registry), claimed(registry, now=late, lease=late + 60)
        record = image(status=Status.PENDING_DELETE)
        registry.add(record)
        with pytest.raises(KeyInUse):
            step(registry, Outcome(lost, ANSWER))
        registry.release_key(lost)
        assert registry.expired(NOW) == [record]
        assert registry.jobs(None) == []
        with pytest.raises(KeyInUse):
            claim(registry, now=late)
        registry.keep_answer(Outcome(taken, ANSWER))
        for claim_ in (lost, taken):
            with pytest.raises(KeyInUse):
                step(registry, Outcome(claim_, KeptAnswer(200, {}, b"")))
        assert claim(registry) == ANSWER

    def test_image_of_a_lost_claim_is_not_recorded(self, registry: Registry) -> None:
        lost = claimed(registry)
        claimed(registry, now=LEASE + 1)
        record = image()
        with pytest.raises(KeyInUse):
            registry.add(record, None, Outcome(lost, ANSWER))
        with pytest.raises(KeyInUse):
            registry.add_with_job(record, job(record.id), None, Outcome(lost, ANSWER))
        with pytest.raises(NotFound):
            registry.recall(record.id)

    def test_step_that_fails_keeps_no_answer(self, registry: Registry) -> None:
        taken, record = claimed(registry), image()
        registry.add(record)
        outcome = Outcome(taken, ANSWER)
        with pytest.raises(AlreadyExists):
            registry.add(record, None, outcome)
        with pytest.raises(AlreadyExists):
            registry.add_with_job(record, job(record.id), None, outcome)
        with pytest.raises(Conflict):
            registry.add_job(job(record.id), {"status": Status.ACTIVE}, None, outcome)
        with pytest.raises(KeyInUse):
            claim(registry)
        registry.keep_answer(outcome)
        assert claim(registry) == ANSWER

    def test_lost_claim_leaves_the_image_of_a_job_alone(self, registry: Registry) -> None:
        lost, record = claimed(registry), image()
        registry.add(record)
        claimed(registry, now=LEASE + 1)
        outcome = Outcome(lost, ANSWER)
        with pytest.raises(KeyInUse):
            registry.add_job(job(record.id), {}, None, outcome, status=Status.IMPORTING)
        assert registry.get(record.id) == record
        assert registry.jobs_of(record.id) == []

    def test_released_key_is_new(self, registry: Registry) -> None:
        first = claimed(registry)
        registry.release_key(first)
        second = claimed(registry, fingerprint="other")
        registry.release_key(first)
        with pytest.raises(KeyInUse):
            claim(registry, fingerprint="other")
        registry.keep_answer(Outcome(second, ANSWER))
        registry.release_key(second)
        assert claim(registry, fingerprint="other") == ANSWER

    @pytest.mark.parametrize("answered", [True, False])
    def test_expired_key_is_new(self, registry: Registry, answered: bool) -> None:
        late = EXPIRES + 0.25
        first = claimed(registry, lease=late + 1)
        if answered:
            registry.keep_answer(Outcome(first, ANSWER))
        second = claimed(registry, fingerprint="other", now=late, lease=late, expires=late + 1)
        other = KeptAnswer(404, {}, b"")
        registry.keep_answer(Outcome(second, other))
        assert claim(registry, fingerprint="other", now=late) == other

    def test_expired_keys_are_forgotten(self, registry: Registry) -> None:
        for number in range(3):
            taken = claimed(registry, key=f"{number}", expires=EXPIRES + number)
            if number:
                registry.keep_answer(Outcome(taken, ANSWER))
        assert registry.forget_keys(EXPIRES + 1) == 1
        assert isinstance(claim(registry, key="0"), Claim)
        assert claim(registry, key="1") == claim(registry, key="2") == ANSWER
        assert registry.forget_keys(EXPIRES + 2) == 2

    def test_one_of_many_gets_the_claim(self, registry: Registry) -> None:
        for now in (NOW, LEASE + 1, EXPIRES + 1):

            def take(number: int, now: float = now) -> object:
                return claim(registry, now=now, lease=now + 60, expires=now + 3600)

            winner(together(8, take), KeyInUse)
