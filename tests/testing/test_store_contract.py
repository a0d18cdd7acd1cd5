"""The store kit rejects every broken store, by the check for its defect."""

import pytest

from imsgate import testing
from tests.testing import broken_stores, nested

CASES = [(kind.__name__, check) for kind, check in broken_stores.DOUBLES.items()]

#: What a store in memory cannot do; a store of files shows that a sound one passes.
OF_FILES = [
    "test_a_local_file_holds_the_object",
    "test_a_sync_that_fails_is_reported",
    "test_the_sweep_finds_suspended_attempts",
    "test_what_is_committed_is_durable",
    "test_what_is_committed_or_suspended_by_a_resumable_attempt_is_durable",
]
SOUND_FILES = [("Files", check) for check in OF_FILES]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    report = tmp_path_factory.mktemp("kit") / "report.xml"
    return nested.run(broken_stores.__file__, [*SOUND_FILES, *CASES], report)


@pytest.mark.parametrize(("double", "check"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_store_is_rejected(outcomes, double, check):
    assert {"failure", "error"} & outcomes[double, check]


def test_a_sound_store_passes(outcomes):
    seen = {check: result for (double, check), result in outcomes.items() if double == "Sound"}
    assert {check for check in dir(testing.StoreContract) if check.startswith("test_")} == set(seen)
    for check in OF_FILES:
        seen[check] = outcomes["Files", check]
    assert set().union(*seen.values()) == {"passed"}


def test_every_check_rejects_something():
    checks = {check for check in dir(testing.StoreContract) if check.startswith("test_")}
    assert checks == set(broken_stores.DOUBLES.values())


def test_the_kit_is_found_by_its_short_name():
    assert testing.StoreContract.__module__ == "imsgate.testing.stores"
    with pytest.raises(AttributeError):
        _ = testing.NoSuchContract
