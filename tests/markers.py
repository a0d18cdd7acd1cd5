"""Which tests need which server: markers that are set by rule, so that nobody has to think of them.

``make quick`` runs the tests that have none of them. Code that starts a server calls ``require``,
which fails a test that the rules do not cover.
"""

from collections.abc import Iterator

import pytest

#: By the beginning of a test's id. Slow are tests that start processes, the corpus (more than a
#: thousand tests with images that external tools write), the contracts of drivers that share their
#: code with another one, long tables of whole requests, and what examines a whole installation or
#: source tree.
_BY_ID = {
    "tests/adoption/": "slow",
    "tests/api/test_cinder_and_nova.py": "slow",
    "tests/api/test_idempotency.py::test_a_killed_process": "slow",
    "tests/api/test_patch.py::test_any_": "slow",
    "tests/api/test_policy.py": "slow",
    "tests/api/test_repeat.py": "slow",
    "tests/bridge/": "slow",
    "tests/cmd/test_config_check.py": "slow",
    "tests/cmd/test_extras.py": "slow",
    "tests/cmd/test_new_store.py::test_its_own": "slow",
    "tests/cmd/test_output.py": "slow",
    "tests/conversion/": "slow",
    "tests/doctor/": "slow",
    "tests/filters/test_encoding.py": "slow",
    "tests/filters/test_sizelimit.py::TestEachRoute": "slow",
    "tests/formats/test_corpus.py": "slow",
    "tests/formats/test_cuts.py": "slow",
    "tests/formats/test_properties.py": "slow",
    "tests/functional/": "gateway",
    "tests/functional/test_pages.py::test_bridge_page": "s3",
    "tests/functional/test_pages.py::test_ims_page": "s3",
    "tests/http/test_body.py::test_lines_cost_the_taps_no_call_per_byte": "slow",
    "tests/http/test_wsgi.py::test_json_answers_say_what_they_were_given": "slow",
    "tests/jobs/test_conversion_kills.py": "slow",
    "tests/notifications/test_sender.py::test_a_process_dies": "slow",
    "tests/registry/test_migrations.py": "slow",
    "tests/registry/test_processes.py": "slow",
    "tests/registry/test_scale.py": "slow",
    "tests/registry/test_sql.py::TestSqlite": "slow",
    "tests/registry/test_sql.py::test_page_that_is_long_enough": "slow",
    "tests/sources/test_decompress.py": "slow",
    "tests/sources/test_downloads.py": "slow",
    "tests/sources/test_openpgp.py": "slow",
    "tests/sources/test_web.py": "slow",
    "tests/stores/s3/test_faults.py": "s3",
    "tests/stores/test_filesystem.py::TestThinInSmallSteps": "slow",
    "tests/stores/test_glance.py::TestWithItsFilesystemDriver": "slow",
    "tests/stores/test_limited.py::TestLimitedStore": "slow",
    "tests/stores/test_loader.py::test_plugins_of_other": "slow",
    "tests/test_examples.py": "slow",
    "tests/test_plugin_pages.py": "slow",
    "tests/test_security_page.py::test_nothing_starts_a_program": "slow",
    "tests/testing/": "slow",
    "tests/verification/": "slow",
}

#: By the name of a test in a contract: long random walks.
_BY_NAME = {
    "test_random_cuts": "slow",
    "test_it_does_whatever_the_memory_store_does": "slow",
    "test_random_walk": "slow",
    "test_random_walk_within_limits": "slow",
}

#: By a fixture that the test uses, directly or through others.
_BY_FIXTURE = {
    "_mariadb": "mariadb",
    "mariadb_server": "mariadb",
    "_postgresql": "postgresql",
    "postgresql_server": "postgresql",
    "bucket": "s3",
    "serve": "nginx",
    "served": "nginx",
    "ceph": "s3",
    "seaweed": "s3",
    "swift": "s3",
    "broker": "broker",
    "browser": "browser",
    "gateway": "gateway",
    "keystone": "keystone",
}

#: By the parameter of a fixture that starts one of several servers.
_BY_PARAMETER = {"mariadb": "mariadb", "postgresql": "postgresql"}

_running: list[pytest.Item] = []


def mark(item: pytest.Item) -> None:
    """Set the markers of a test that has been collected."""
    for name in set(_markers(item)):
        item.add_marker(name)


def _markers(item: pytest.Item) -> Iterator[str]:
    nodeid = str(item.nodeid)
    yield from (name for start, name in _BY_ID.items() if nodeid.startswith(start))
    yield from (name for test, name in _BY_NAME.items() if item.name.partition("[")[0] == test)
    fixtures = getattr(item, "fixturenames", ())
    yield from (name for fixture, name in _BY_FIXTURE.items() if fixture in fixtures)
    call = getattr(item, "callspec", None)
    values = [value for value in call.params.values() if isinstance(value, str)] if call else []
    yield from (_BY_PARAMETER[value] for value in _BY_PARAMETER if value in values)


def enter(item: pytest.Item) -> None:
    """Note that this test begins."""
    _running[:] = [item]


def require(name: str) -> None:
    """Fail the running test unless it has this marker."""
    for item in _running:
        if item.get_closest_marker(name) is None:
            pytest.fail(f"{item.nodeid} starts a server: add a rule for {name} in {__name__}")
