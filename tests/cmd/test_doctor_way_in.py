"""``imsgate doctor --public-url``: what it needs. What it finds is in tests/functional."""

import json

import pytest

from imsgate.cmd import main
from tests.functional.gateway import free_port

CHECK = ("doctor", "--check", "way-in")


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """An environment without credentials."""
    for name in (
        "OS_CLOUD",
        "OS_AUTH_TYPE",
        "OS_TOKEN",
        "HUAWEICLOUD_SDK_AK",
        "OS_CLIENT_CONFIG_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_it_needs_the_public_url(capsys):
    assert main.main([*CHECK]) == 2
    assert "--public-url" in capsys.readouterr().err


def test_it_needs_no_configuration(capsys):
    url = f"http://127.0.0.1:{free_port()}"
    assert main.main([*CHECK, "--public-url", url, "--os-token", "secret", "--json"]) == 2
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["check"] == "way-in.reachable"
    assert "refused" in entry["message"]
    assert entry["message"].startswith("The ")
    assert entry["advice"].endswith(".")


def test_missing_credentials_are_a_finding(capsys):
    assert main.main([*CHECK, "--public-url", "http://127.0.0.1:1"]) == 2
    out = capsys.readouterr().out
    assert "ERROR    way-in.credentials: There are no credentials" in out


@pytest.mark.parametrize("option", ["--quiet", "--patience"])
def test_times_are_numbers_of_seconds(option, capsys):
    with pytest.raises(SystemExit):
        main.main([*CHECK, "--public-url", "http://x", option, "-1"])
    assert "not a number of seconds" in capsys.readouterr().err
