"""Idempotency keys in the memory of one process."""

import dataclasses

from imsgate.errors import KeyInUse
from imsgate.registry.idempotency import Claim, Entry, IdempotencyKeys, KeptAnswer, Outcome
from imsgate.registry.memory.outbox import MemoryOutbox


class MemoryKeys(MemoryOutbox, IdempotencyKeys):
    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[str, Entry] = {}

    def claim_key(
        self, key: str, fingerprint: str, *, now: float, lease: float, expires: float
    ) -> Claim | KeptAnswer:
        with self._lock:
            entry = self._keys.get(key)
            if entry is not None and (answer := entry.judge(fingerprint, now)):
                return answer
            claim = Claim.new(key)
            self._keys[key] = Entry(
                fingerprint=fingerprint, holder=claim.holder, lease=lease, expires=expires
            )
            return claim

    def keep_answer(self, outcome: Outcome) -> None:
        with self._lock:
            self._check_claim(outcome)
            self._end(outcome)

    def release_key(self, claim: Claim) -> None:
        with self._lock:
            if self._is_held(claim):
                del self._keys[claim.key]

    def forget_keys(self, now: float) -> int:
        with self._lock:
            expired = [key for key, entry in self._keys.items() if entry.expires < now]
            for key in expired:
                del self._keys[key]
            return len(expired)

    def _check_claim(self, outcome: Outcome | None) -> None:
        """Raises KeyInUse if the claim was lost. To be called before a step changes anything."""
        if outcome is not None and not self._is_held(outcome.claim):
            raise KeyInUse

    def _end(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            key = outcome.claim.key
            self._keys[key] = dataclasses.replace(self._keys[key], answer=outcome.answer)

    def _is_held(self, claim: Claim) -> bool:
        entry = self._keys.get(claim.key)
        return entry is not None and entry.holder == claim.holder and entry.answer is None
