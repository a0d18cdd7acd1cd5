"""The store kit rejects every broken store, by the check for its defect."""

import pytest

from imsgate import testing
from tests.testing import broken_stores, nested

CASES = [(kind.__name__, check) for kind, check in broken_stores.DOUBLES.items()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return nested.run(broken_stores.__file__, CASES, tmp_path_factory.mktemp("kit") / "report.xml")


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
