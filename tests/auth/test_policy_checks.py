"""Which attributes of a target a rule depends on."""

from collections.abc import Mapping
from typing import Any

import pytest
from oslo_policy import policy as oslo_policy

from imsgate.auth.policy_checks import names_used


class Whole(oslo_policy.Check):
    """A check of a plugin, which may use the whole target."""

    def __call__(self, target: Any, creds: Any, enforcer: Any, current_rule: Any = None) -> bool:
        return bool(target)


def rules(**texts: str) -> Mapping[str, Any]:
    return {name: oslo_policy.RuleDefault(name, text).check for name, text in texts.items()}


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
def test_the_names_that_a_rule_uses(text: str, names: list[str] | None) -> None:
    known = rules(rule=text, other="x:%(c)s", round="rule:back", back="rule:round or x:%(d)s")
    assert names_used(known, "rule") == (None if names is None else tuple(names))


def test_an_unknown_rule_means_the_default_rule() -> None:
    known = oslo_policy.Rules(rules(rule="rule:nowhere", default="x:%(y)s"), "default")
    assert names_used(known, "rule") == ("y",)


def test_a_check_of_a_plugin_may_use_everything() -> None:
    assert names_used({"rule": Whole("whole", "")}, "rule") is None
