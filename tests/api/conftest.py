"""A gateway in memory, and the people who ask it."""

import pathlib
import tempfile
import types
from collections.abc import Callable

import pytest

from imsgate import app
from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person
from tests.api.stack import CONFIG, Stack


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


def starting(directory: pathlib.Path) -> Callable[..., Stack]:
    """What starts applications whose files are in this directory."""

    def begin(policy: str | None = None, config: str = "") -> Stack:
        text = CONFIG + config
        if policy is not None:
            rules = directory / "rules.yaml"
            rules.write_text(policy)
            text += f"\n[oslo_policy]\npolicy_file = {rules}\n"
        # A file of its own: one that was read is not read again in the same process.
        conf = pathlib.Path(tempfile.mkdtemp(dir=directory)) / "imsgate.conf"
        conf.write_text(text)
        return Stack(app.app_factory({"config_file": str(conf), "state_path": str(directory)}))

    return begin


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Callable[..., Stack]:
    """Start an application; ``policy`` is the text of its policy file."""
    return starting(tmp_path)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """One application for all tests of a module, without a policy file."""
    return starting(tmp_path_factory.mktemp("stack"))()
