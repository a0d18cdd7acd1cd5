"""The registry contract rejects registries that break one promise each."""

import pytest
from hypothesis import Phase

from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.registries import RegistryContract, walk
from tests.testing import (
    broken_changes,
    broken_idempotency,
    broken_jobs,
    broken_limits,
    broken_lists,
    broken_members,
    broken_outbox,
    broken_records,
    broken_statuses,
    broken_uploads,
)

REJECTED = [
    *broken_records.REJECTED,
    *broken_changes.REJECTED,
    *broken_statuses.REJECTED,
    *broken_lists.REJECTED,
    *broken_members.REJECTED,
    *broken_limits.REJECTED,
    *broken_jobs.REJECTED,
    *broken_idempotency.REJECTED,
    *broken_uploads.REJECTED,
    *broken_outbox.REJECTED,
]


def cases(test):
    """The arguments of each case of a parametrized test."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        return [()]
    ((names, values),) = [mark.args for mark in marks]
    return [(value,) if isinstance(names, str) else value for value in values]


def passes(registry, test, arguments):
    try:
        test(RegistryContract(), registry, *arguments)
    except (Exception, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize(("broken", "name"), REJECTED)
def test_broken_registry_is_rejected(broken, name):
    test = getattr(RegistryContract, f"test_{name}")
    assert not all(passes(broken(), test, arguments) for arguments in cases(test))


@pytest.mark.parametrize("name", sorted({name for _, name in REJECTED}))
def test_whole_registry_is_not(name):
    test = getattr(RegistryContract, f"test_{name}")
    assert all(passes(MemoryRegistry(), test, arguments) for arguments in cases(test))


@pytest.mark.parametrize(
    "broken",
    [
        broken_changes.ComparesNothing,
        broken_statuses.AllowsAnyTransition,
        broken_records.UsesDeletedIdsAgain,
        broken_records.SweepsLateOnly,
        broken_lists.LeaksCommunity,
        broken_lists.NoValueIsLess,
        broken_lists.SortsNoValueLast,
        broken_lists.PagesSkipTies,
        broken_lists.PagesSkipNoValue,
    ],
)
def test_random_walk_finds_what_is_broken(broken):
    with pytest.raises(AssertionError):
        walk.walk(broken(), max_examples=3000, derandomize=True, phases=[Phase.generate])
