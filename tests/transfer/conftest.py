import threading

import pytest

from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing.gateways import memory_store, settings
from imsgate.transfer import lease
from tests.transfer.attempts import Attempt, Clock, pass_time


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    pass_time(monkeypatch, clock)
    return clock


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """As many tries, one behind the other."""
    monkeypatch.setattr(lease, "RETRY_PAUSES_SECONDS", [0] * len(lease.RETRY_PAUSES_SECONDS))


@pytest.fixture(autouse=True)
def threads():
    """Whatever happens, no thread of an upload outlives it."""
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("lease", "digest-"))]


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    if request.param == "memory":
        return memory_store()
    directory = tmp_path / "images"
    options = settings(FilesystemStore.OPTS, filesystem_store_datadir=str(directory))
    return FilesystemStore("fast", options)


@pytest.fixture
def attempt(store, clock):
    return Attempt(store)
