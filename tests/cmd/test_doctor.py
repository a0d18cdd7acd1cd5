"""``imsgate doctor``: its output, its exit statuses, and that it changes nothing by itself."""

import json
import os

import pytest

from imsgate.cmd import main
from imsgate.doctor import checks


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Run it with this configuration; return the exit status and the output."""
    monkeypatch.setattr("imsgate.config.Config.set_up_log", lambda self: None)
    tmp_path.chmod(0o755)
    state = tmp_path / "state"

    def run(*words, text=""):
        conf = tmp_path / "imsgate.conf"
        conf.write_text(text)
        status = main.main(["doctor", "--config-file", str(conf), "--state", str(state), *words])
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def open_tokens(tmp_path):
    """A token file that its group can write."""
    (tmp_path / "state").mkdir(mode=0o700)
    path = tmp_path / "state" / "tokens"
    path.touch()
    path.chmod(0o660)
    return path


CHECK = ("--check", "permissions")


def test_a_warning_is_exit_status_1(doctor, open_tokens):
    status, text = doctor(*CHECK)
    assert status == 1
    first, advice, last = text.splitlines()
    assert first.startswith(f"WARNING  permissions.secret: {open_tokens} can be written")
    assert advice.strip() == f"Run 'chmod 0640 {open_tokens}'."
    assert last == "0 errors, 1 warning"


def test_nothing_is_changed_without_fix(doctor, open_tokens):
    doctor(*CHECK, "--json")
    assert open_tokens.stat().st_mode & 0o777 == 0o660


def test_what_is_repaired_does_not_count(doctor, open_tokens):
    status, text = doctor(*CHECK, "--fix")
    assert status == 0
    assert f"{open_tokens} has mode 0640 now." in text
    assert text.endswith("0 errors, 0 warnings\n")
    assert open_tokens.stat().st_mode & 0o777 == 0o640


def test_json(doctor, open_tokens):
    status, text = doctor(*CHECK, "--json")
    (entry,) = json.loads(text)
    assert status == 1
    assert entry == {
        "check": "permissions.secret",
        "severity": "warning",
        "message": f"{open_tokens} can be written by all members of its group (mode 0660).",
        "advice": f"Run 'chmod 0640 {open_tokens}'.",
        "fixable": True,
        "fixed": None,
    }
    (entry,) = json.loads(doctor(*CHECK, "--json", "--fix")[1])
    assert (entry["severity"], entry["fixed"]) == ("warning", f"{open_tokens} has mode 0640 now.")


def test_what_cannot_be_repaired_counts(doctor, open_tokens, monkeypatch):
    def refuse(path, mode):
        raise PermissionError("no")

    monkeypatch.setattr(os, "chmod", refuse)
    status, text = doctor(*CHECK, "--fix")
    assert (status, "It could not be repaired: no." in text) == (1, True)


def test_an_error_is_exit_status_2(doctor):
    status, text = doctor("--check", "configuration", text="[sniff]\nmax_ratio = -1\n")
    assert status == 2
    assert text.startswith("ERROR    configuration: The server would not start: [sniff] max_ratio")
    assert text.endswith("1 error, 0 warnings\n")


def test_a_configuration_that_cannot_be_read(doctor):
    status, text = doctor("--json", text="nonsense\n")
    (entry,) = json.loads(text)
    assert (status, entry["check"], entry["severity"]) == (2, "configuration", "error")


def test_the_list_of_checks(doctor):
    status, text = doctor("--list")
    assert status == 0
    assert [line.split()[0] for line in text.splitlines()] == [*checks.CHECKS, "way-in"]


def test_an_unknown_check(doctor, capsys):
    assert main.main(["doctor", "--check", "weather"]) == 2
    assert "'weather' is not one of configuration, " in capsys.readouterr().err


def test_root_does_not_stand_for_the_user_of_the_service(doctor, open_tokens, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owner = os.stat(open_tokens).st_uid
    real = os.stat

    def stat(path, *rest, **options):
        status = real(path, *rest, **options)
        is_state = str(path) == str(open_tokens.parent)
        return os.stat_result([*status[:4], owner + 1000, *status[5:]]) if is_state else status

    monkeypatch.setattr(os, "stat", stat)
    assert doctor(*CHECK) == (2, "")


@pytest.mark.parametrize("sample", ["all", "20"])
def test_data_is_read_on_demand(doctor, tmp_path, capsys, sample):
    place = ["--config-file", str(tmp_path / "imsgate.conf"), "--state", str(tmp_path / "state")]
    (entry,) = json.loads(doctor("--check", "digests", "--json")[1])
    assert entry["severity"] == "skipped"
    assert main.main(["db", "upgrade", *place]) == 0
    capsys.readouterr()
    words = ("--check", "room", "--verify", sample, "--rate", "5", "--json")
    *_, entry = json.loads(doctor(*words)[1])
    assert entry["message"] == "0 good copies; 0 bytes read."


@pytest.mark.parametrize("sample", ["0", "-1", "some"])
def test_a_sample_of_no_size(doctor, capsys, sample):
    with pytest.raises(SystemExit):
        doctor("--verify", sample)
    assert "--verify" in capsys.readouterr().err
