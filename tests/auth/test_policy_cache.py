"""A cached decision is the one that oslo.policy would make again."""

from collections.abc import Mapping
from typing import Any

import pytest
from oslo_policy import policy as oslo_policy

from imsgate.auth import policy_cache
from imsgate.auth.policy_cache import DecisionCache
from imsgate.model import Identity

ALICE, BOB = Identity(user_id="alice"), Identity(user_id="bob")


class Whole(oslo_policy.Check):
    """A check of a plugin, which may use the whole target."""

    def __call__(self, target: Any, creds: Any, enforcer: Any, current_rule: Any = None) -> bool:
        return bool(target)


def rules(**texts: str) -> Mapping[str, Any]:
    return {name: oslo_policy.RuleDefault(name, text).check for name, text in texts.items()}


class Ask:
    """Says yes and counts."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def __call__(self, rule: str, who: Identity, target: Mapping[str, Any]) -> bool:
        self.asked.append((rule, who, dict(target)))
        return self.answer


def test_equal_questions_are_asked_once() -> None:
    ask = Ask()
    cache = DecisionCache(lambda: rules(see="project_id:%(owner)s", do="role:a"), ask)
    for number in range(3):
        assert cache.judge("see", ALICE)({"owner": "p", "id": number})
    assert len(ask.asked) == 1
    for rule, who, target in (("see", BOB, "p"), ("see", ALICE, "q"), ("do", ALICE, "p")):
        assert cache.judge(rule, who)({"owner": target})
    assert len(ask.asked) == 4
    assert cache.judge("see", ALICE)({})
    assert ask.asked[-1] == ("see", ALICE, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [("role:admin", "project_id:%(owner)s"), ("a:%(id)s", "project_id:%(owner)s")],
    ids=["looks at more", "looks at something else"],
)
def test_a_rule_that_is_read_anew_when_it_is_asked(before: str, after: str) -> None:
    known = dict(rules(see=before))

    def ask(rule: str, who: Identity, target: Mapping[str, Any]) -> bool:
        known.update(rules(see=after))
        return bool(target["owner"] == who.user_id)

    cache = DecisionCache(lambda: known, ask)
    of_a_list = cache.judge("see", ALICE)
    for owner, answer in (("alice", True), ("bob", False), ("alice", True)):
        for judge in (of_a_list, cache.judge("see", ALICE)):
            assert judge({"owner": owner, "id": "alice"}) == answer


def test_a_refusal_is_cache_too() -> None:
    ask = Ask(answer=False)
    cache = DecisionCache(lambda: rules(see="!"), ask)
    assert not cache.judge("see", ALICE)({})
    assert not cache.judge("see", ALICE)({})
    assert len(ask.asked) == 1


def test_what_may_depend_on_anything_is_asked_each_time() -> None:
    ask = Ask()
    cache = DecisionCache(lambda: {"see": Whole("whole", "")}, ask)
    assert cache.judge("see", ALICE)({"id": 1})
    assert cache.judge("see", ALICE)({"id": 1})
    assert len(ask.asked) == 2


@pytest.mark.parametrize("limit", ["TTL_SECONDS", "_MAX_DECISIONS"])
def test_decisions_expire(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_cache, limit, 0)
    ask = Ask()
    cache = DecisionCache(lambda: rules(see="@"), ask)
    for _ in range(2):
        assert cache.judge("see", ALICE)({})
    assert len(ask.asked) == 2
