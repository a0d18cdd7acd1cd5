"""A gateway in memory, and the people who ask it."""

import types

import pytest

from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person


@pytest.fixture
def gate():
    return gateway(stores=[memory_store("fast"), memory_store("archive")])


@pytest.fixture
def people(gate):
    """A client for each of PEOPLE, by name."""
    return types.SimpleNamespace(**{name: Person(gate.app, who) for name, who in PEOPLE.items()})


@pytest.fixture
def owner(people):
    return people.owner
