"""The trial of each store, and what to do about a failure."""

import pytest

from imsgate import errors
from imsgate.doctor import stores
from imsgate.stores.memory import MemoryStore
from tests.doctor.conftest import wrong

TWO = (
    "[DEFAULT]\nenabled_backends = near:file, far:{driver}\n"
    "[glance_store]\ndefault_backend = near\n"
    "[near]\nfilesystem_store_datadir = {{place}}/near\n"
    "[far]\nfilesystem_store_datadir = {far}\noptional = {optional}\n"
)


@pytest.mark.parametrize("optional", [True, False])
def test_a_store_without_its_directory(examine, optional):
    text = TWO.format(driver="file", far="/proc/none", optional=optional)
    near, far = examine(text, "stores")
    assert wrong([near, far]) == [("stores.far", "error")]
    assert near.check == "stores.near"


@pytest.mark.parametrize(
    ("raised", "advice"),
    [
        (errors.StoreFull(store="far"), "Free space"),
        (errors.StoreDenied(store="far", problem="no"), "credentials"),
        (errors.StoreUnavailable(store="far", problem="no"), "[far]"),
    ],
)
def test_a_store_that_fails(install, monkeypatch, raised, advice):
    def fail(self, key, size):
        raise raised

    monkeypatch.setattr(MemoryStore, "create", fail)
    text = TWO.format(driver="memory", far="x", optional=False)
    found = [each for each in stores.check(install(text)) if each.severity == "error"]
    assert [each.check for each in found] == ["stores.far"]
    assert advice in found[0].advice


def test_a_store_that_returns_other_data(install, monkeypatch):
    read = MemoryStore.read
    monkeypatch.setattr(
        MemoryStore, "read", lambda self, *place: (bytes(len(part)) for part in read(self, *place))
    )
    text = TWO.format(driver="memory", far="x", optional=False)
    found = [each for each in stores.check(install(text)) if each.severity == "error"]
    assert "loses or changes data" in found[0].advice
