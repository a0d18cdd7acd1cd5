"""Private parts of libraries that imsgate relies on, checked against the installed release.

If a test fails after an upgrade, its message names the module to look at. Compare that module
with the new release, adapt it, and then change the range of verified releases below.
"""

import configparser
import importlib.metadata
import pathlib

import pytest
from oslo_policy import policy as oslo_policy

from imsgate import config
from imsgate.auth import keystone, policy
from imsgate.auth.policy_checks import names_used
from imsgate.testing import servers

ROOT = pathlib.Path(__file__).parent.parent.parent

#: Library: the oldest release and the newest major release that the module was compared with.
VERIFIED = {
    "oslo.policy": ("4.5", 6, "imsgate/auth/policy_checks.py"),
    "keystonemiddleware": ("10.10", 13, "imsgate/auth/keystone.py"),
}


def requirements():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"].values()
    return "\n".join([setup["options"]["install_requires"], *extras]).splitlines()


@pytest.mark.parametrize("library", VERIFIED)
def test_the_installed_release_is_one_of_those_verified(library):
    oldest, newest_major, module = VERIFIED[library]
    version = importlib.metadata.version(library)
    assert int(version.partition(".")[0]) <= newest_major, (
        f"{library} {version} is newer than the releases that {module} was compared with. "
        f"It uses private parts of {library}: compare them, then raise VERIFIED."
    )
    assert f"{library}>={oldest}" in requirements(), (
        f"setup.cfg allows other releases of {library} than {module} was compared with"
    )


# oslo.policy: imsgate/auth/policy_checks.py


class Recorder(dict):
    """A target that records which attributes a check uses."""

    def __init__(self, **attributes):
        super().__init__(attributes)
        self.used = set()

    def __getitem__(self, name):
        self.used.add(name)
        return super().__getitem__(name)


TARGET = {"owner": "p", "visibility": "public", "role": "member"}
CREDENTIALS = {"roles": ["member"], "project_id": "p", "nested": {"id": "p"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "!",
        "role:%(role)s",
        "project_id:%(owner)s",
        "nested.id:%(owner)s",
        "'public':%(visibility)s",
        "True:%(owner)s",
        "not project_id:%(owner)s",
        "role:%(role)s and 'public':%(visibility)s",
        "role:nobody or project_id:%(owner)s",
        "rule:other and not rule:another",
    ],
)
def test_a_decision_uses_no_other_attributes_than_were_found(text):
    texts = {"asked": text, "other": "project_id:%(owner)s", "another": "role:%(role)s"}
    rules = {name: oslo_policy.RuleDefault(name, text).check for name, text in texts.items()}
    target = Recorder(**TARGET)

    class Enforcer:
        pass

    Enforcer.rules = rules
    rules["asked"](target, dict(CREDENTIALS), Enforcer())
    names = names_used(rules, "asked")
    assert names is not None, "a check of oslo.policy is not recognized: see policy_checks.py"
    assert target.used <= set(names), "see imsgate/auth/policy_checks.py"


def test_the_rules_of_a_request_can_be_cached():
    """A renamed class of oslo.policy would make every decision slow, and nothing else."""
    rules = {rule.name: rule.check for rule in policy.list_rules()}
    assert None not in {names_used(rules, name) for name in rules}


# keystonemiddleware: imsgate/auth/keystone.py


@pytest.fixture
def protocol(tmp_path):
    account = {"auth_type": "password", "auth_url": "http://127.0.0.1:1/v3", "username": "imsgate"}
    native = config.Config(state_path=str(tmp_path)).native
    return keystone.make_protocol(keystone.Reauthentication, native, account)


def test_overrides_of_a_paste_file_are_read_with_their_types(protocol):
    assert protocol._conf.get("memcache_tls_enabled") is False
    assert protocol._conf.get("username") == "imsgate"
    assert protocol._conf.get("delay_auth_decision") is False


class IdentityServer:
    """Keystone, which returns an expired token if it is asked for one."""

    def __init__(self):
        self.allowed = []

    def verify_token(self, token, allow_expired):
        self.allowed.append(allow_expired)
        domain = {"id": "default", "name": "Default"}
        return {
            "token": {
                "methods": ["password"],
                "issued_at": "2001-01-01T00:00:00.000000Z",
                "expires_at": "2001-01-02T00:00:00.000000Z",
                "user": {"id": "u", "name": "alice", "domain": domain},
                "project": {"id": "p", "name": "demo", "domain": domain},
                "roles": [{"id": "r", "name": "member"}],
            }
        }


def test_an_expired_token_is_accepted_and_never_cached(protocol, caplog):
    protocol._identity_server = server = IdentityServer()
    for _ in range(2):
        environ = servers.environ(HTTP_X_AUTH_TOKEN="token")
        assert protocol.variables(environ)["HTTP_X_USER_ID"] == "u", (
            "keystonemiddleware no longer calls the overrides in imsgate/auth/keystone.py"
        )
    assert server.allowed == [True, True]
    # Not that memcached_servers should be set: it may be.
    assert [line.message for line in caplog.records if line.levelname == "WARNING"] == []
