"""Policy decisions, cached for a second.

oslo.policy looks for changed files and inspects the signature of every check each time it is
asked. That takes half a millisecond, several times for one image and once for each image of a
list. But a decision depends only on the identity and on the attributes of the target that the
rule names, and these are equal for most images of a list.
"""

import functools
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from imsgate.auth.policy_checks import names_used
from imsgate.model import Identity

#: How long a decision is reused. A change of the policy file takes effect after that time.
TTL_SECONDS = 1.0
#: With more decisions than this the cache is emptied early.
_MAX_DECISIONS = 10_000

Target = Mapping[str, Any]
Names = tuple[str, ...]
#: Decisions by the values of the attributes that the rule names.
Decisions = dict[tuple[Any, ...], bool]


class DecisionCache:
    """Caches ``decide``, which says whether an identity may do something to a target."""

    def __init__(
        self,
        rules: Callable[[], Mapping[str, Any]],
        decide: Callable[[str, Identity, Target], bool],
    ) -> None:
        """``rules`` returns the current check of each rule, by the rule's name."""
        self._rules = rules
        self._decide = decide
        #: The names that each rule uses, and the decisions by rule, names and identity. One
        #: attribute, so that a thread never combines an old one with a new one.
        self._cached: tuple[dict[str, Names | None], dict[Hashable, Decisions]] = ({}, {})
        self._expires = 0.0
        self._count = 0

    def judge(self, rule: str, who: Identity) -> Callable[[Target], bool]:
        """Returns ``decide`` for one rule and identity, as a function of the target."""
        names_by_rule, decisions_by_question = self._current()
        if rule not in names_by_rule:
            names_by_rule[rule] = names_used(self._rules(), rule)
        names = names_by_rule[rule]
        if names is None:
            return functools.partial(self._decide, rule, who)
        decisions = decisions_by_question.setdefault((rule, names, who), {})

        def judged(target: Target) -> bool:
            values = tuple([target.get(name) for name in names])
            if values in decisions:
                return decisions[values]
            decision = self._decide(rule, who, target)
            # Deciding may have read a changed file, in which the rule uses other names.
            names_by_rule[rule] = names_now = names_used(self._rules(), rule)
            if names_now == names:
                decisions[values] = decision
                self._count += 1
            return decision

        return judged

    def _current(self) -> tuple[dict[str, Names | None], dict[Hashable, Decisions]]:
        """The cache, emptied if it has expired. Threads that use the old one may finish."""
        now = time.monotonic()
        if now >= self._expires or self._count > _MAX_DECISIONS:
            self._cached, self._expires, self._count = ({}, {}), now + TTL_SECONDS, 0
        return self._cached
