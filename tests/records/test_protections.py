"""Property protections: which files cannot work, and what those that do permit."""

import os

import pytest

from imsgate import config
from imsgate.auth.policy import Policy
from imsgate.errors import BadConfig
from imsgate.model import Identity
from imsgate.records import protections

#: The samples that Glance installs.
GLANCE_ROLES = """
[^x_.*]
create = admin,member,_member_
read = admin,member,_member_
update = admin,member,_member_
delete = admin,member,_member_

[.*]
create = admin
read = admin
update = admin
delete = admin
"""
GLANCE_POLICIES = GLANCE_ROLES.replace("admin,member,_member_", "default").replace(
    "= admin", "= context_is_admin"
)


def section(name=".*", **actions):
    values = {"create": "@", "read": "@", "update": "@", "delete": "@", **actions}
    lines = [f"{action} = {value}\n" for action, value in values.items() if value is not None]
    return f"[{name}]\n{''.join(lines)}"


@pytest.fixture
def configured(tmp_path):
    def read(text):
        (tmp_path / "imsgate.conf").write_text(text)
        return config.Config([str(tmp_path / "imsgate.conf")], str(tmp_path))

    return read


@pytest.fixture
def load(configured, tmp_path):
    """Load protections from the text of a file."""

    def loaded(text, form="roles", policy='"owners": "role:owner"'):
        (tmp_path / "rules.yaml").write_text(policy)
        file = tmp_path / "protections.conf"
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        conf = configured(
            f"[DEFAULT]\nproperty_protection_file = {file}\n"
            f"property_protection_rule_format = {form}\n"
            f"[oslo_policy]\npolicy_file = {tmp_path}/rules.yaml\n"
        )
        return protections.load(conf, Policy(conf.native))

    return loaded


INVALID = {
    "missing": (None, "roles", "No such file"),
    "empty": ("", "roles", "no section"),
    "reserved-only": (section("os_glance.*"), "roles", "no section"),
    "not-utf8": (b"[\xff]", "roles", "utf-8"),
    "no-sections": ("create = @\n", "roles", "no section headers"),
    "twice": (section("a") + section("a"), "roles", "already exists"),
    "regex": (section("*a"), "roles", r"\[\*a\] is not a regular expression"),
    "no-create": (section(create=None), "roles", "create: it is missing"),
    "no-delete": (section(delete=None), "policies", "delete: it is missing"),
    "percent": (section(read="100%"), "roles", r"\] read: '%' must be"),
    "both": (section(update="@, !"), "roles", "update: @ and ! exclude"),
    "two-policies": (section(read="owners,default"), "policies", "read: name one policy rule"),
    "no-policy": (section(read="admins"), "policies", "no policy rule 'admins'"),
}


@pytest.mark.parametrize(("text", "form", "problem"), INVALID.values(), ids=INVALID)
def test_a_file_that_cannot_work(load, text, form, problem):
    with pytest.raises(BadConfig, match=rf"\[DEFAULT\] property_protection_file.*{problem}"):
        load(text, form)


def who(*roles, service=()):
    return Identity(
        user_id="u", project_id="p", roles=frozenset(roles), service_roles=frozenset(service)
    )


PERMITTED = {
    "role": (section(read="member, admin"), "roles", who("admin"), "a", True),
    "no-role": (section(read="member, admin"), "roles", who("reader"), "a", False),
    "case": (section(read="Member"), "roles", who("mEMBER"), "a", True),
    "service": (section(read="member"), "roles", who("reader", service=["member"]), "a", True),
    "everybody": (section(), "roles", who(), "a", True),
    "everybody-and": (section(read="@,admin"), "roles", who(), "a", True),
    "nobody": (section(read="!"), "roles", who("admin", "!"), "a", False),
    "nobody-else": (section(read="!,admin"), "roles", who("admin"), "a", False),
    "empty": (section(read=""), "roles", who("admin", ""), "a", False),
    "first-match": (section("^a", read="!") + section(), "roles", who("admin"), "ab", False),
    "search": (section("b", read="!") + section(), "roles", who("admin"), "abc", False),
    "second": (section("^a", read="!") + section(), "roles", who(), "b", True),
    "no-match": (section("^a"), "roles", who("admin"), "b", False),
    "reserved": (section(read="!"), "roles", who(), "os_glance_failed_import", True),
    "policy": (section(read="owners"), "policies", who("owner"), "a", True),
    "not-policy": (section(read="owners"), "policies", who("admin"), "a", False),
    "policy-everybody": (section(read="@"), "policies", who(), "a", True),
    "policy-nobody": (section(read="!"), "policies", who("admin"), "a", False),
    "policy-empty": (section(read=""), "policies", who("admin"), "a", False),
    "default": (section("DEFAULT", read="admin") + "[a]\n", "roles", who("admin"), "a", True),
    "glance-x": (GLANCE_ROLES, "roles", who("member"), "x_a", True),
    "glance-rest": (GLANCE_ROLES, "roles", who("member"), "a", False),
    "glance-admin": (GLANCE_ROLES, "roles", who("admin"), "a", True),
    "glance-policy": (GLANCE_POLICIES, "policies", who("member"), "a", False),
    "glance-policy-admin": (GLANCE_POLICIES, "policies", who("admin"), "a", True),
    "glance-policy-x": (GLANCE_POLICIES, "policies", who(), "x_a", True),
}


@pytest.mark.parametrize(
    ("text", "form", "asker", "name", "expected"), PERMITTED.values(), ids=PERMITTED
)
def test_permitted(load, text, form, asker, name, expected):
    assert load(text, form).permits(asker, "read", name) is expected


def test_each_action_has_its_own_value(load):
    rules = load(section(create="a", read="b", update="c", delete="d"))
    permitted = {
        action: [role for role in "abcd" if rules.permits(who(role), action, "name")]
        for action in ("create", "read", "update", "delete")
    }
    assert permitted == {"create": ["a"], "read": ["b"], "update": ["c"], "delete": ["d"]}


def test_without_a_file_everything_is_permitted(configured):
    conf = configured("")
    rules = protections.load(conf, Policy(conf.native))
    assert rules.permits(who(), "delete", "a")


def test_a_policy_rule_that_is_removed_later_permits_nothing(load, tmp_path):
    """oslo.policy would ask the rule ``default``, which everybody meets."""
    rules = load(section(read="owners"), "policies")
    file = tmp_path / "rules.yaml"
    file.write_text('"others": "role:owner"')
    os.utime(file, (2e9, 2e9))  # newer, however coarse the clock of the file system
    assert not rules.permits(who("owner"), "read", "a")
    assert not rules.permits(who("owner"), "read", "a")
