"""What the rules decided, kept for a moment.

oslo.policy looks for its files and inspects the signature of every check each time it is
asked: half a millisecond, several times for one image and once for each of a list. But a
decision depends only on who asks and on what of the target the rule names, and most
images of a list are alike in that.
"""

import contextlib
import functools
import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from imsgate.model import Identity

#: Seconds that a decision is kept, and so a change of the policy file may go unnoticed.
KEPT = 1.0
#: Decisions kept at most; beyond it they are forgotten early.
_MOST = 10_000

Target = Mapping[str, Any]
Names = tuple[str, ...]
Answers = dict[tuple[Any, ...], bool]

_NAME = re.compile(r"%\(([^)]*)\)")


class DecisionCache:
    """The answers of ``ask``, which decides whether somebody may do something to a target."""

    def __init__(
        self, rules: Callable[[], Mapping[str, Any]], ask: Callable[[str, Identity, Target], bool]
    ) -> None:
        """``rules`` gives the check of each rule's name as it is now."""
        self._rules = rules
        self._ask = ask
        #: What a rule looks at, and its answers to somebody by that of the target.
        self._kept: tuple[dict[str, Names | None], dict[Hashable, Answers]] = ({}, {})
        self._until = 0.0
        self._count = 0

    def judge(self, rule: str, who: Identity) -> Callable[[Target], bool]:
        """Gives for any target what ``ask`` says, or said of the same question a moment ago."""
        looks_at, answers = self._fresh()
        if rule not in looks_at:
            looks_at[rule] = named(self._rules(), rule)
        names = looks_at[rule]
        if names is None:
            return functools.partial(self._ask, rule, who)
        known = answers.setdefault((rule, names, who), {})

        def judged(target: Target) -> bool:
            values = tuple([target.get(name) for name in names])
            if values in known:
                return known[values]
            answer = self._ask(rule, who, target)
            # To ask may be to read a changed file, whose rule looks at something else.
            looks_at[rule] = now = named(self._rules(), rule)
            if now == names:
                known[values] = answer
                self._count += 1
            return answer

        return judged

    def _fresh(self) -> tuple[dict[str, Names | None], dict[Hashable, Answers]]:
        """What is kept by now. Whoever still has the last one may finish."""
        now = time.monotonic()
        if now >= self._until or self._count > _MOST:
            self._kept, self._until, self._count = ({}, {}), now + KEPT, 0
        return self._kept


def named(rules: Mapping[str, Any], rule: str) -> Names | None:
    """The names of a target that a rule's check looks at, or None where it may look at all.

    Checks of oslo.policy's own language look at what they name; those that others add, and
    those that ask a server, are shown the whole target.
    """
    found: set[str] = set()
    seen = {rule}
    waiting = _checks(rules, rule)
    while waiting:
        check = waiting.pop()
        if type(check).__module__ != "oslo_policy._checks":
            return None
        waiting += _parts(check)
        text = getattr(check, "match", "")
        found.update(_NAME.findall(text))
        if getattr(check, "kind", None) == "rule" and text not in seen:
            seen.add(text)
            waiting += _checks(rules, text)
    return tuple(sorted(found))


def _checks(rules: Mapping[str, Any], rule: str) -> list[Any]:
    # By index: for a name it lacks, oslo.policy's mapping has the default rule.
    with contextlib.suppress(KeyError):
        return [rules[rule]]
    return []


def _parts(check: Any) -> Iterable[Any]:
    """The checks that ``and``, ``or`` and ``not`` put together."""
    return [*getattr(check, "rules", ()), *filter(None, [getattr(check, "rule", None)])]
