"""``imsgate doctor`` with a real Keystone. Its other checks are tested in tests/doctor."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imsgate import config
from imsgate.doctor import checks
from imsgate.doctor import keystone as account
from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.installation import Installation
from tests.functional import partial
from tests.functional.gateway import HOST, INI, Gateway, free_port
from tests.functional.keystone import Keystone
from tests.functional.keystone import config as section

Examine = Callable[[str], list[tuple[str, str]]]


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """The findings about Keystone with this configuration, and their severities."""

    def run(text: str) -> list[tuple[str, str]]:
        file = tmp_path / "imsgate.conf"
        file.write_text(text)
        global_conf = {"config_file": str(file), "state_path": str(tmp_path)}
        installation = Installation(config.load(global_conf), global_conf, str(INI))
        findings = list(account.check(installation))
        assert "hush" not in "".join(each.message + each.advice for each in findings)
        return [(each.check, str(each.severity)) for each in findings]

    return run


def test_beside_a_running_service(
    start: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an image, and an upload that was interrupted."""
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)
    gateway = start("", workers=1)
    gateway.stored(b"whole")
    assert partial.begin(gateway, gateway.create(), b"par").status == 201
    global_conf = {"config_file": str(gateway.config), "state_path": str(gateway.state)}
    installation = Installation(config.load(global_conf), global_conf, str(INI))
    try:
        findings = list(checks.run(list(checks.CHECKS), installation))
    finally:
        installation.close()
    wrong = [each for each in findings if each.severity in (Severity.WARNING, Severity.ERROR)]
    assert [each for each in wrong if not each.check.startswith("room.")] == []
    assert " 1 copy " in next(each.message for each in findings if each.check == "data.records")


def test_the_account_of_a_service(examine: Examine, keystone: Keystone) -> None:
    assert examine(section(keystone)) == [("keystone.account", "ok")]


def test_an_account_that_may_validate_nothing(examine: Examine, keystone: Keystone) -> None:
    text = (
        section(keystone)
        .replace("= svc", "= demo")
        .replace("project_name = service", "project_name = demo")
    )
    assert examine(text) == [("keystone.account", "warning")]


def test_a_wrong_password(examine: Examine, keystone: Keystone) -> None:
    text = section(keystone).replace("password = svc", "password = hush")
    assert examine(text) == [("keystone.account", "error")]


def test_keystone_is_away(examine: Examine, keystone: Keystone) -> None:
    text = section(keystone).replace(str(keystone.port), str(free_port()))
    assert examine(text) == [("keystone.connection", "error")]


def test_memcached_is_away(examine: Examine, keystone: Keystone) -> None:
    servers = f"memcached_servers = {HOST}:{free_port()}\n"
    text = section(keystone) + servers
    assert examine(text) == [("keystone.account", "ok"), ("keystone.memcached", "warning")]


def test_tokens_of_a_file(examine: Examine) -> None:
    assert examine("") == [("keystone", "skipped")]
