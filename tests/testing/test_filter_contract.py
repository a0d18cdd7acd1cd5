"""The filter kit rejects every filter that is wrong, by the check meant for it."""

import subprocess
import sys

import pytest

from imsgate import testing
from tests.testing import broken_filters, nested

CASES = [(kind.__name__, check) for kind, check in broken_filters.DOUBLES.items()]
#: What needs a filter that refuses bodies; a sound one passes.
OF_BODIES = [
    "test_a_refused_body_is_refused_however_it_is_cut",
    "test_a_refused_body_is_refused_whatever_the_application_does",
    "test_no_request_decides_about_the_body_of_another",
]
SOUND_BODIES = [("Watches", check) for check in OF_BODIES]
CHECKS = {name for name in dir(testing.FilterContract) if name.startswith("test_")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    report = tmp_path_factory.mktemp("kit") / "report.xml"
    return nested.run(broken_filters.__file__, [*SOUND_BODIES, *CASES], report)


@pytest.mark.parametrize(("double", "check"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_filter_is_rejected(outcomes, double, check):
    assert {"failure", "error"} & outcomes[double, check]


def test_a_sound_filter_passes(outcomes):
    seen = {check: result for (double, check), result in outcomes.items() if double == "Sound"}
    assert set(seen) == CHECKS
    seen |= {check: outcomes["Watches", check] for check in OF_BODIES}
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
