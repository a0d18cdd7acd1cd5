"""The store kit rejects every broken store, by the check for its defect."""

import pytest

from imsgate import testing
from tests.testing import broken_stores, nested

CASES = [(kind.__name__, check) for kind, check in broken_stores.DOUBLES.items()]

#: What a store in memory cannot do; a store of files shows that a sound one passes.
OF_FILES = [
    "test_a_copy_has_the_bytes_of_its_source",
    "test_a_copy_is_not_visible_before_commit",
    "test_a_copy_replaces_no_object",
    "test_a_copy_stops_if_its_check_raises",
    "test_a_copy_that_is_not_committed_leaves_nothing",
    "test_a_local_file_holds_the_object",
    "test_a_size_that_is_not_the_sources_is_refused",
    "test_a_source_that_is_replaced_meanwhile_is_not_copied_in_part",
    "test_a_source_that_was_replaced_is_not_copied",
    "test_a_sync_that_fails_is_reported",
    "test_an_object_of_another_service_is_not_copied",
    "test_discard_removes_what_is_committed_meanwhile",
    "test_the_sweep_finds_suspended_attempts",
    "test_the_sweep_of_objects_removes_only_orphans",
    "test_the_sweep_removes_what_dead_processes_left",
    "test_the_sweep_spares_data_of_other_applications",
    "test_the_sweep_spares_the_living_the_young_and_the_committed",
    "test_what_is_committed_is_durable",
    "test_what_is_committed_or_suspended_by_a_resumable_attempt_is_durable",
    "test_what_is_missing_is_no_source",
]

#: What takes direct URLs.
OF_URLS = [
    "test_a_direct_url_ends",
    "test_a_direct_url_gives_the_object_and_its_ranges",
    "test_a_direct_url_permits_nothing_else",
    "test_direct_urls_have_to_be_enabled",
    "test_what_is_missing_has_no_direct_url",
]
OTHER_SOUND = {**dict.fromkeys(OF_FILES, "Files"), **dict.fromkeys(OF_URLS, "Redirects")}
SOUND_CASES = [(double, check) for check, double in OTHER_SOUND.items()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    report = tmp_path_factory.mktemp("kit") / "report.xml"
    return nested.run(broken_stores.__file__, [*SOUND_CASES, *CASES], report)


@pytest.mark.parametrize(("double", "check"), CASES, ids=[name for name, _ in CASES])
def test_a_broken_store_is_rejected(outcomes, double, check):
    assert {"failure", "error"} & outcomes[double, check]


def test_a_sound_store_passes(outcomes):
    seen = {check: result for (double, check), result in outcomes.items() if double == "Sound"}
    assert {check for check in dir(testing.StoreContract) if check.startswith("test_")} == set(seen)
    for check, double in OTHER_SOUND.items():
        seen[check] = outcomes[double, check]
    assert set().union(*seen.values()) == {"passed"}


def test_every_check_rejects_something():
    checks = {check for check in dir(testing.StoreContract) if check.startswith("test_")}
    assert checks == set(broken_stores.DOUBLES.values())


def test_the_kit_is_found_by_its_short_name():
    assert testing.StoreContract.__module__ == "imsgate.testing.stores"
    with pytest.raises(AttributeError):
        _ = testing.NoSuchContract
