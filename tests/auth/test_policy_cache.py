"""A kept decision is the one that would be made again."""

from collections.abc import Mapping
from typing import Any

import pytest
from oslo_policy import policy as oslo_policy

from imsgate.auth import policy_cache
from imsgate.auth.policy_cache import DecisionCache
from imsgate.model import Identity

ALICE, BOB = Identity(user_id="alice"), Identity(user_id="bob")


class Whole(oslo_policy.Check):
    """A check of somebody else's, which may look at anything."""

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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("!", []),
        ("role:admin", []),
        ("role:%(needed)s", ["needed"]),
        ("project_id:%(owner)s and not 'x':%(state)s", ["owner", "state"]),
        ("rule:other or a:%(b)s", ["b", "c"]),
        ("rule:nowhere", []),
        ("rule:round", ["d"]),
        ("http://127.0.0.1:1/%(id)s", None),
        ("role:admin or http://127.0.0.1:1/", None),
    ],
)
def test_what_a_rule_looks_at(text: str, names: list[str] | None) -> None:
    known = rules(rule=text, other="x:%(c)s", round="rule:back", back="rule:round or x:%(d)s")
    assert policy_cache.named(known, "rule") == (None if names is None else tuple(names))


def test_a_rule_that_is_missing_is_the_default_one() -> None:
    known = oslo_policy.Rules(rules(rule="rule:nowhere", default="x:%(y)s"), "default")
    assert policy_cache.named(known, "rule") == ("y",)


def test_a_check_of_others_is_shown_everything() -> None:
    assert policy_cache.named({"rule": Whole("whole", "")}, "rule") is None


def test_equal_questions_are_asked_once() -> None:
    ask = Ask()
    kept = DecisionCache(lambda: rules(see="project_id:%(owner)s", do="role:a"), ask)
    for number in range(3):
        assert kept.judge("see", ALICE)({"owner": "p", "id": number})
    assert len(ask.asked) == 1
    for rule, who, target in (("see", BOB, "p"), ("see", ALICE, "q"), ("do", ALICE, "p")):
        assert kept.judge(rule, who)({"owner": target})
    assert len(ask.asked) == 4
    assert kept.judge("see", ALICE)({})
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

    kept = DecisionCache(lambda: known, ask)
    of_a_list = kept.judge("see", ALICE)
    for owner, answer in (("alice", True), ("bob", False), ("alice", True)):
        for judge in (of_a_list, kept.judge("see", ALICE)):
            assert judge({"owner": owner, "id": "alice"}) == answer


def test_a_refusal_is_kept_too() -> None:
    ask = Ask(answer=False)
    kept = DecisionCache(lambda: rules(see="!"), ask)
    assert not kept.judge("see", ALICE)({})
    assert not kept.judge("see", ALICE)({})
    assert len(ask.asked) == 1


def test_what_may_depend_on_anything_is_asked_each_time() -> None:
    ask = Ask()
    kept = DecisionCache(lambda: {"see": Whole("whole", "")}, ask)
    assert kept.judge("see", ALICE)({"id": 1})
    assert kept.judge("see", ALICE)({"id": 1})
    assert len(ask.asked) == 2


@pytest.mark.parametrize("limit", ["KEPT", "_MOST"])
def test_decisions_are_forgotten(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_cache, limit, 0)
    ask = Ask()
    kept = DecisionCache(lambda: rules(see="@"), ask)
    for _ in range(2):
        assert kept.judge("see", ALICE)({})
    assert len(ask.asked) == 2
