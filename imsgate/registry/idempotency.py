"""The contract of idempotency keys: which requests were begun, and what they were answered.

A request claims its key before it does anything. What it does and the answer are then recorded
in one atomic step, so no process can die between the two.
"""

import abc
import dataclasses
import uuid
from collections.abc import Mapping
from typing import Self

from imsgate.errors import KeyInUse, KeyReused


@dataclasses.dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A response that is kept: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work of a request. ``holder`` differs for each claim of a key."""

    key: str
    holder: str

    @classmethod
    def new(cls, key: str) -> Self:
        return cls(key, uuid.uuid4().hex)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The answer that ends a claim."""

    claim: Claim
    answer: KeptAnswer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is recorded of a key. ``lease`` and ``expires`` are in seconds since the epoch."""

    fingerprint: str
    holder: str
    lease: float
    expires: float
    answer: KeptAnswer | None = None

    def judge(self, fingerprint: str, now: float) -> KeptAnswer | None:
        """The answer for a request that claims the key now; None if it may have the claim.

        Raises what ``claim_key`` raises.
        """
        if self.expires < now:
            return None
        if self.fingerprint != fingerprint:
            raise KeyReused
        if self.answer is None and self.lease >= now:
            raise KeyInUse
        return self.answer


class IdempotencyKeys(abc.ABC):
    """The keys of requests.

    A claim ends with its answer: by ``keep_answer``, or by the ``outcome`` of another method,
    which is then recorded in the same atomic step. Once another request has claimed the key,
    such a step raises KeyInUse, and nothing happens.
    """

    @abc.abstractmethod
    def claim_key(
        self, key: str, fingerprint: str, *, now: float, lease: float, expires: float
    ) -> Claim | KeptAnswer:
        """Claim a key for a request with this fingerprint, or return the answer of its first one.

        ``key`` and ``fingerprint`` have 64 characters at most. The claim lasts until ``lease``;
        then another request with the same fingerprint may claim the key. From ``expires`` on
        the key counts as new. All times are in seconds since the epoch. Of concurrent callers
        one gets the claim.

        Raises KeyReused if the first request had another fingerprint, and KeyInUse while
        another claim lasts.
        """

    @abc.abstractmethod
    def keep_answer(self, outcome: Outcome) -> None:
        """End a claim with an answer."""

    @abc.abstractmethod
    def release_key(self, claim: Claim) -> None:
        """Forget a key, unless the claim has ended or another request has claimed the key."""

    @abc.abstractmethod
    def forget_keys(self, now: float) -> int:
        """Remove the keys that expired before ``now``, and return their number."""
