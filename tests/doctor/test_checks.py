"""All checks together: no false alarm, and one that cannot go on does not hide the others."""

import pytest

from imsgate.doctor import checks
from imsgate.doctor.diagnosis import Severity
from tests.doctor.conftest import wrong
from tests.functional.gateway import ROOT

FRONT = "[paste_deploy]\nflavor = front\n[forward]\nupstream = http://127.0.0.1:1\n"


def configurations():
    """The one of a first start, those of doc/operators.md, and one without records."""
    page = (ROOT / "doc/operators.md").read_text()
    blocks = page.split("```\n")[1::2]
    stores = [text for text in blocks if text.startswith("[DEFAULT]\nenabled_backends")]
    assert len(stores) == 2
    yield pytest.param("", True, id="default")
    yield pytest.param("", False, id="before-the-first-start")
    for number, text in enumerate(stores):
        yield pytest.param(text.replace("/srv", "{place}"), True, id=f"page-{number}")
    yield pytest.param(FRONT, False, id="front")
    yield pytest.param(f"{FRONT}spool_store = file\n", True, id="spool")


@pytest.mark.parametrize(("text", "tables"), list(configurations()))
def test_a_healthy_installation_has_no_finding(examine, text, tables):
    findings = examine(text, tables=tables)
    # Whether the disk of this machine is full is its own affair.
    assert wrong(each for each in findings if not each.check.startswith("room.")) == []
    assert {each.check.partition(".")[0] for each in findings} == set(checks.CHECKS)


def test_a_check_that_cannot_go_on_is_no_success(examine):
    findings = examine("[registry]\ndriver = paper\n", "data", "room")
    assert wrong(findings[:1]) == [("data", "warning")]
    assert "[registry] driver" in findings[0].message
    assert {each.check for each in findings[1:]} >= {"room.file", "room.state"}


def test_a_paste_file_that_cannot_be_used_hides_nothing(examine, place):
    findings = examine("", paste={"egg:imsgate#sniff": "egg:imsgate#snif"})
    others = [each for each in findings if not each.check.startswith("room.")]
    assert {check for check, _ in wrong(others)} == {"configuration"}
    assert {"stores.file", "data.records"} <= {each.check for each in findings}


def test_a_defect_of_a_check_does_not_hide_the_others(examine, monkeypatch, capsys):
    def broken(installation):
        yield from ()
        raise LookupError(" ".join(("a", "secret")))

    monkeypatch.setattr(checks, "CHECKS", {**checks.CHECKS, "stores": (broken, "")})
    first, *others = examine("", "stores", "room")
    assert (first.check, first.severity) == ("stores", Severity.ERROR)
    assert "LookupError" in first.message
    shown = capsys.readouterr().err
    assert "in broken" in shown
    assert "a secret" not in shown
    assert others
