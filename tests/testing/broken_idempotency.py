"""Registries that break one promise about idempotency keys each, and the test to fail."""

import dataclasses
import threading

from imsgate.errors import KeyReused
from imsgate.registry.base import NOTHING
from imsgate.registry.idempotency import Claim
from imsgate.registry.memory import MemoryRegistry


class KeepsNothing(MemoryRegistry):
    def _end(self, outcome):
        pass


class IgnoresTheFingerprint(MemoryRegistry):
    def claim_key(self, key, fingerprint, *, now, lease, expires):
        return super().claim_key(key, "", now=now, lease=lease, expires=expires)


class IgnoresTheKey(MemoryRegistry):
    def claim_key(self, key, fingerprint, *, now, lease, expires):
        return super().claim_key("", fingerprint, now=now, lease=lease, expires=expires)


class ClaimsTwice(MemoryRegistry):
    """Looks first, and writes in a second step."""

    def __init__(self):
        super().__init__()
        self.all_looked = threading.Barrier(8, timeout=10)

    def claim_key(self, key, fingerprint, *, now, lease, expires):
        before = dict(self._keys)
        self.all_looked.wait()
        with self._lock:
            self._keys = before
            return super().claim_key(key, fingerprint, now=now, lease=lease, expires=expires)


class NeverTakesOver(MemoryRegistry):
    def claim_key(self, key, fingerprint, *, now, lease, expires):
        return super().claim_key(key, fingerprint, now=now, lease=expires, expires=expires)


class TakesOverAtOnce(MemoryRegistry):
    def claim_key(self, key, fingerprint, *, now, lease, expires):
        return super().claim_key(key, fingerprint, now=now, lease=now - 1, expires=expires)


class HoldersAreAlike(MemoryRegistry):
    """A process that lost its claim may end it all the same."""

    def claim_key(self, key, fingerprint, *, now, lease, expires):
        taken = super().claim_key(key, fingerprint, now=now, lease=lease, expires=expires)
        if not isinstance(taken, Claim):
            return taken
        self._keys[key] = dataclasses.replace(self._keys[key], holder="all")
        return Claim(key, "all")


class RecordsFirst(MemoryRegistry):
    """The claim is looked at in a second step."""

    def add(self, image, within=None, outcome=None):
        super().add(image, within)
        self._check_claim(outcome)
        self._end(outcome)


class StartsFirst(MemoryRegistry):
    def add_job(self, job, was=NOTHING, within=None, outcome=None, /, **to):
        super().add_job(job, was, within, **to)
        self._check_claim(outcome)
        self._end(outcome)


class AnswersFirst(MemoryRegistry):
    def add(self, image, within=None, outcome=None):
        self._check_claim(outcome)
        self._end(outcome)
        super().add(image, within)


class ReleasesAnswers(MemoryRegistry):
    def release_key(self, claim):
        entry = self._keys.get(claim.key)
        if entry and entry.holder == claim.holder:
            del self._keys[claim.key]


class ReleasesAnybodys(MemoryRegistry):
    def release_key(self, claim):
        self._keys.pop(claim.key, None)


class NeverExpires(MemoryRegistry):
    def claim_key(self, key, fingerprint, *, now, lease, expires):
        if key in self._keys and self._keys[key].fingerprint != fingerprint:
            raise KeyReused
        return super().claim_key(key, fingerprint, now=now, lease=lease, expires=expires)


class ForgetsAnswersOnly(MemoryRegistry):
    def forget_keys(self, now):
        kept = {key: entry for key, entry in self._keys.items() if entry.answer is None}
        count = super().forget_keys(now)
        self._keys |= kept
        return count


REJECTED = [
    (KeepsNothing, "answer_is_given_again"),
    (IgnoresTheFingerprint, "answer_is_given_again"),
    (IgnoresTheKey, "answer_is_given_again"),
    (ClaimsTwice, "one_of_many_gets_the_claim"),
    (NeverTakesOver, "lost_claim_ends_nothing"),
    (TakesOverAtOnce, "key_in_use"),
    (HoldersAreAlike, "lost_claim_ends_nothing"),
    (RecordsFirst, "image_of_a_lost_claim_is_not_recorded"),
    (StartsFirst, "lost_claim_leaves_the_image_of_a_job_alone"),
    (AnswersFirst, "step_that_fails_keeps_no_answer"),
    (ReleasesAnswers, "released_key_is_new"),
    (ReleasesAnybodys, "released_key_is_new"),
    (NeverExpires, "expired_key_is_new"),
    (ForgetsAnswersOnly, "expired_keys_are_forgotten"),
]
