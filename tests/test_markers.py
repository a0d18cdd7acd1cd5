"""The rules that set markers."""

import re

import pytest

from tests import markers
from tests.functional.gateway import ROOT


@pytest.mark.parametrize("start", markers._BY_ID)
def test_rules_name_existing_tests(start):
    path, *names = start.split("::")
    assert (ROOT / path).exists()
    text = (ROOT / path).read_text() if names else ""
    assert all(re.search(rf"(class {name}\b|def {name})", text) for name in names)


@pytest.mark.parametrize("name", markers._BY_NAME)
def test_rules_name_tests_of_contracts(name):
    contracts = (ROOT / "imsgate" / "testing").rglob("*.py")
    assert any(f"def {name}(" in contract.read_text() for contract in contracts)


def test_every_rule_sets_a_registered_marker(pytestconfig):
    registered = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    rules = (markers._BY_ID, markers._BY_NAME, markers._BY_FIXTURE, markers._BY_PARAMETER)
    assert {name for rule in rules for name in rule.values()} <= registered


def test_make_quick_leaves_out_every_marker(pytestconfig):
    """Except those of pytest and its plugins, which are registered in code."""
    text = (ROOT / "pyproject.toml").read_text()
    ours = [line.partition(":")[0] for line in pytestconfig.getini("markers")]
    ours = [name for name in ours if f'    "{name}: ' in text]
    assert f"not ({' or '.join(ours)})" in (ROOT / "Makefile").read_text()


@pytest.fixture
def running(request, monkeypatch):
    monkeypatch.setattr(markers, "_running", [request.node])


@pytest.mark.usefixtures("running")
class TestRequire:
    def test_a_test_without_the_marker_fails(self):
        with pytest.raises(pytest.fail.Exception, match=r"add a rule for s3 in tests\.markers"):
            markers.require("s3")

    @pytest.mark.slow
    def test_a_test_with_the_marker_may_start_it(self):
        markers.require("slow")
