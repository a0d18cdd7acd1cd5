"""The filter kit rejects every filter that is wrong, by the check meant for it."""

import subprocess
import sys

import pytest

from imsgate import testing
from tests.testing import broken_filters, nested

CASES = [(kind.__name__, check) for kind, check in broken_filters.DOUBLES.items()]
CHECKS = {name for name in dir(testing.FilterContract) if name.startswith("test_")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return nested.run(broken_filters.__file__, CASES, tmp_path_factory.mktemp("kit") / "report.xml")


@pytest.mark.parametrize(("double", "check"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_filter_is_rejected(outcomes, double, check):
    assert {"failure", "error"} & outcomes[double, check]


def test_a_sound_filter_passes(outcomes):
    seen = {check: result for (double, check), result in outcomes.items() if double == "Sound"}
    assert set(seen) == CHECKS
    # sizelimit and sniff, whose tests say what body they refuse, show that it can pass.
    body = "test_a_refused_body_is_refused_whatever_the_application_does"
    assert seen.pop(body) == {"skipped"}
    assert set().union(*seen.values()) == {"passed"}


def test_every_check_rejects_something():
    assert set(broken_filters.DOUBLES.values()) == CHECKS


@pytest.mark.parametrize("module", ["apps", "servers"])
def test_the_fakes_need_no_test_tools(module):
    """So that an author may use them in a script, or with another test runner."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('pytest', 'hypothesis')))\n"
        f"import imsgate.testing.{module}, imsgate.opts, imsgate.app, imsgate.cmd.main"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
