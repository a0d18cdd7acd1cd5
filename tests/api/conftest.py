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


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Callable[..., Stack]:
    """Start an application; ``policy`` is the text of its policy file."""

    def begin(policy: str | None = None, config: str = "") -> Stack:
        text = CONFIG + config
        if policy is not None:
            rules = tmp_path / "rules.yaml"
            rules.write_text(policy)
            text += f"\n[oslo_policy]\npolicy_file = {rules}\n"
        # A file of its own: one that was read is not read again in the same process.
        conf = pathlib.Path(tempfile.mkdtemp(dir=tmp_path)) / "imsgate.conf"
        conf.write_text(text)
        return Stack(app.app_factory({"config_file": str(conf), "state_path": str(tmp_path)}))

    return begin


@pytest.fixture
def stack(start: Callable[..., Stack]) -> Stack:
    return start()
