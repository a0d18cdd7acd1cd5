"""Enabled stores: one that is away at start, and which copy is read."""

import dataclasses

import pytest

from imsgate import errors
from imsgate.model import Damage, Location
from imsgate.stores import enabled, loader


def test_an_optional_store_may_be_away_at_start(configured, tmp_path, monkeypatch):
    blocked = tmp_path / "mount"
    blocked.touch()
    conf = configured(
        "[DEFAULT]\nenabled_backends = near:file, far:file\n"
        "[glance_store]\ndefault_backend = near\n"
        f"[near]\nfilesystem_store_datadir = {tmp_path}/near\n"
        f"[far]\nfilesystem_store_datadir = {blocked}/far\noptional = true\n"
    )
    now = 1000.0
    monkeypatch.setattr(enabled.time, "monotonic", lambda: now)
    stores = loader.load(conf)
    assert stores.get("near").name == "near"
    with pytest.raises(errors.StoreUnavailable):
        stores.get("far")
    blocked.unlink()
    with pytest.raises(errors.StoreUnavailable):
        stores.get("far")  # not retried at every request
    now += 60
    assert stores.get("far").name == "far"


def test_stores_that_were_away_do_not_start_in_one_place(configured, tmp_path, monkeypatch):
    """Deleting one copy would delete the other."""
    blocked = tmp_path / "mount"
    blocked.touch()
    place = f"filesystem_store_datadir = {blocked}/far\noptional = true\n"
    conf = configured(
        "[DEFAULT]\nenabled_backends = near:memory, far:file, further:file\n"
        f"[glance_store]\ndefault_backend = near\n[far]\n{place}[further]\n{place}"
    )
    now = 1000.0
    monkeypatch.setattr(enabled.time, "monotonic", lambda: now)
    stores = loader.load(conf)
    blocked.unlink()
    now += 60
    assert stores.get("far").name == "far"
    with pytest.raises(errors.StoreUnavailable):
        stores.get("further")
    assert stores.get("far").name == "far"


def test_copies_are_read_by_weight(configured, tmp_path):
    enabled = (
        "[DEFAULT]\nenabled_backends = a:memory, b:memory, c:memory\n"
        "[glance_store]\ndefault_backend = a\n"
    )
    conf = configured(f"{enabled}[b]\nweight = 5\n[c]\nweight = -1\n")
    stores = loader.load(conf)
    copies = [Location(store, "x") for store in ("c", "former", "a", "b")]
    assert [copy.store for copy in stores.preferred(copies)] == ["b", "former", "a", "c"]
    named = ["c", "a", "elsewhere"]
    assert [copy.store for copy in stores.preferred(copies, named)] == ["c", "a", "b", "former"]
    missing = [dataclasses.replace(copies[0], damage=Damage.MISSING), *copies[1:]]
    assert [copy.store for copy in stores.preferred(missing, named)] == ["a", "b", "former", "c"]
    (tmp_path / "imsgate.conf").write_text(f"{enabled}[b]\nweight = -2\n[c]\nweight = 7\n")
    conf.reload()
    assert [copy.store for copy in stores.preferred(copies)] == ["c", "former", "a", "b"]
