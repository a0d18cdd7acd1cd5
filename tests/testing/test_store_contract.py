"""The store kit rejects every broken store, by the check for its defect."""

import pathlib
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from imsgate import testing
from tests.testing import broken_stores

BROKEN = pathlib.Path(broken_stores.__file__)
CASES = [(kind.__name__, check) for kind, check in broken_stores.DOUBLES.items()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcomes of the cases of each (double, check), run in one other pytest."""
    # The sound store first: a file that a broken one leaves open fails the test that runs when
    # the garbage collector closes it.
    wanted = [f"{BROKEN}::TestSound"]
    wanted += [f"{BROKEN}::Test{name}::{check}" for name, check in CASES]
    report = tmp_path_factory.mktemp("kit") / "report.xml"
    # Plain asserts: if CI is set, pytest would compare megabytes line by line.
    command = [sys.executable, "-m", "pytest", "-q", "--assert=plain", "--tb=line"]
    command += ["-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--junitxml", report, *wanted], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname").rpartition(".Test")[2]
        check = case.get("name").partition("[")[0]
        outcome = {"failure", "error", "skipped"} & {child.tag for child in case}
        found.setdefault((name, check), set()).update(outcome or {"passed"})
    return found


@pytest.mark.parametrize(("double", "check"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_store_is_rejected(outcomes, double, check):
    assert {"failure", "error"} & outcomes[double, check]


def test_a_sound_store_passes(outcomes):
    seen = {check: result for (double, check), result in outcomes.items() if double == "Sound"}
    assert {check for check in dir(testing.StoreContract) if check.startswith("test_")} == set(seen)
    for ability in (
        "test_a_local_file_holds_the_object",
        "test_the_sweep_finds_suspended_attempts",
    ):
        assert seen.pop(ability) == {"skipped"}
    assert set().union(*seen.values()) == {"passed"}


def test_every_check_rejects_something():
    checks = {check for check in dir(testing.StoreContract) if check.startswith("test_")}
    assert checks == set(broken_stores.DOUBLES.values())


def test_the_kit_is_found_by_its_short_name():
    assert testing.StoreContract.__module__ == "imsgate.testing.stores"
    with pytest.raises(AttributeError):
        _ = testing.NoSuchContract
