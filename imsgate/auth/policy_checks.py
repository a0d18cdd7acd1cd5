"""Which attributes of its target a policy rule depends on.

oslo.policy does not say. This is the one module that looks into its check objects;
``tests/auth/test_library_internals.py`` checks what it relies on.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from oslo_policy import policy as oslo_policy

#: Check classes of oslo.policy that use nothing of a target except what their text names. All
#: others may use the whole target: those of plugins, those that ask a server (http://...), and
#: any that a later release adds.
_UNDERSTOOD = frozenset(
    "TrueCheck FalseCheck NotCheck AndCheck OrCheck RuleCheck RoleCheck GenericCheck".split()
)

#: A reference to an attribute of the target, as in ``project_id:%(owner)s``.
_REFERENCE = re.compile(r"%\(([^)]*)\)")


def names_used(rules: Mapping[str, Any], rule: str) -> tuple[str, ...] | None:
    """The attributes of a target that decide ``rule``; None if all of them may.

    ``rules`` has the check of each rule, as ``oslo_policy.policy.Enforcer.rules``.
    """
    names: set[str] = set()
    visited = {rule}
    pending = _check_of(rules, rule)
    while pending:
        check = pending.pop()
        if not _is_understood(check):
            return None
        pending += _operands(check)
        text = getattr(check, "match", "")
        names.update(_REFERENCE.findall(text))
        if isinstance(check, oslo_policy.RuleCheck) and text not in visited:
            visited.add(text)
            pending += _check_of(rules, text)
    return tuple(sorted(names))


def _is_understood(check: Any) -> bool:
    kind = type(check)
    return kind.__module__ == oslo_policy.Check.__module__ and kind.__name__ in _UNDERSTOOD


def _check_of(rules: Mapping[str, Any], rule: str) -> list[Any]:
    # By index, because oslo.policy's mapping returns the default rule for an unknown name.
    with contextlib.suppress(KeyError):
        return [rules[rule]]
    return []


def _operands(check: Any) -> Iterable[Any]:
    """The checks that ``and``, ``or`` and ``not`` combine."""
    return [*getattr(check, "rules", ()), *filter(None, [getattr(check, "rule", None)])]
