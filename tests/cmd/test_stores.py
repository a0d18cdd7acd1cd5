"""``imsgate stores``: the tables, the exit statuses, and that nothing stays behind."""

import datetime
import json
import os
import pathlib
import types

import pytest

from imsgate import config
from imsgate.cmd import main
from imsgate.doctor import store_trial
from imsgate.model import Image, Location, Status
from imsgate.registry.loader import load_registry
from imsgate.registry.sql import migrations
from imsgate.stores import loader
from imsgate.stores.memory import MemoryStore


@pytest.fixture
def configured(tmp_path):
    """The arguments that name a configuration with the stores ``near`` and ``far``."""
    path = tmp_path / "imsgate.conf"
    path.write_text(
        "[DEFAULT]\nenabled_backends = near:file, far:file\n"
        "[glance_store]\ndefault_backend = near\n"
        f"[near]\nfilesystem_store_datadir = {tmp_path}/near\n"
        f"[far]\nfilesystem_store_datadir = {tmp_path}/far\noptional = true\n"
    )
    return ["--config-file", str(path), "--state", str(tmp_path / "state")]


def table(text):
    return [line.split() for line in text.splitlines()]


def test_every_driver_is_listed(capsys):
    assert main.main(["stores", "drivers"]) == 0
    head, *rows = table(capsys.readouterr().out)
    assert head[0] == "DRIVER"
    assert [row[0] for row in rows] == list(loader.installed())
    assert ["file", "imsgate.stores.filesystem.store:FilesystemStore"] in [row[:2] for row in rows]


STEPS = ["check", "write", "size", "read", "range", "delete", "gone"]


def test_check_goes_through_every_store_and_leaves_nothing(capsys, configured, tmp_path):
    assert main.main(["stores", "check", "--size", "3", *configured]) == 0
    head, *rows = table(capsys.readouterr().out)
    assert head == ["STORE", "STEP", "RESULT", "MS", "MIB/S"]
    assert [row[:3] for row in rows] == [[s, p, "ok"] for s in ("near", "far") for p in STEPS]
    assert os.listdir(tmp_path / "near") == os.listdir(tmp_path / "far") == []


def test_check_of_one_store(capsys, configured):
    assert main.main(["stores", "check", "far", *configured]) == 0
    assert {row[0] for row in table(capsys.readouterr().out)[1:]} == {"far"}


def test_check_refuses_a_directory_that_lacks_its_images(capsys, configured, tmp_path):
    os.mkdir(configured[-1])
    assert main.main(["db", "upgrade", *configured]) == 0
    conf = config.Config(configured[1:2], state_path=configured[-1])
    place = Location("near", "6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    registry = load_registry(conf)
    registry.add(
        Image(id="i", status=Status.ACTIVE, created_at=now, updated_at=now, locations=(place,))
    )
    registry.close()
    assert main.main(["stores", "check", *configured]) == 1
    rows = table(capsys.readouterr().out)
    near = [row for row in rows if row[0] == "near"]
    assert [row[1] for row in near] == ["check"]
    assert "stores adopt near" in " ".join(near[0])
    assert [row[:3] for row in rows if row[0] == "far"] == [["far", p, "ok"] for p in STEPS]
    assert os.listdir(tmp_path / "near") == []


def test_check_without_a_database_says_what_it_does_not_check(capsys, configured):
    assert main.main(["stores", "check", *configured]) == 0
    assert "not checked" in capsys.readouterr().err


def test_check_of_a_store_that_is_away(capsys, configured, tmp_path):
    pathlib.Path(tmp_path, "far").touch()
    assert main.main(["stores", "check", *configured]) == 1
    rows = table(capsys.readouterr().out)
    assert [row[1] for row in rows if row[0] == "far"] == ["start"]
    assert [row[1] for row in rows if row[0] == "near"] == STEPS


def test_an_unknown_store_is_misuse(capsys, configured):
    assert main.main(["stores", "check", "nowhere", *configured]) == 2
    assert "the configured stores are: near, far" in capsys.readouterr().err


class Wrong(MemoryStore):
    """Right until it is told otherwise."""

    wrong = ""

    def read(self, location, offset=0, length=None):
        data = b"".join(super().read(location, offset, length))
        if self.wrong == "bytes":
            data = bytes(len(data))
        return iter([data[:-1] if self.wrong == "short" else data])

    def size(self, location):
        return super().size(location) + (self.wrong == "size")

    def delete(self, location):
        if self.wrong != "delete":
            super().delete(location)


FOUND = {"": "gone", "bytes": "read", "short": "read", "size": "size", "delete": "gone"}


@pytest.mark.parametrize(("wrong", "last"), FOUND.items(), ids=lambda value: value or "nothing")
def test_a_trial_ends_where_the_store_is_wrong(wrong, last):
    store = Wrong("m", config.Section(memory_store_capacity=None))
    store.wrong = wrong
    steps = list(store_trial.run(types.SimpleNamespace(store=store), 3 << 20))
    assert steps[-1].name == last
    assert bool(steps[-1].problem) is bool(wrong)
    assert not any(step.problem for step in steps[:-1])
    assert store.held() == []


def test_sweep_of_all_stores(capsys, configured, tmp_path):
    os.mkdir(configured[-1])
    os.mkdir(tmp_path / "near")
    residue = tmp_path / "near" / ".part-6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1"
    residue.write_text("part")
    assert main.main(["db", "upgrade", *configured]) == 0
    assert main.main(["stores", "sweep", "--age", "0", *configured]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"The tables were created: revision {migrations.revisions()[-1]}.",
        "near: 1 uploads, 4 bytes removed",
        "far: 0 uploads, 0 bytes removed",
    ]
    assert not residue.exists()


def test_the_list_shows_health_and_room(capsys, configured, tmp_path):
    assert main.main(["stores", "list", "--json", *configured]) == 0
    near, far = json.loads(capsys.readouterr().out)
    room = {name: near.pop(name) for name in ("total", "free", "reserved")}
    assert near == {
        "store": "near",
        "driver": "file",
        "default": True,
        "health": "ok",
        "read_only": False,
    }
    assert 0 < room["free"] <= room["total"]
    assert room["reserved"] == 0
    assert far["default"] is False
    assert main.main(["stores", "list", *configured]) == 0
    head, first, _ = table(capsys.readouterr().out)
    assert head == "STORE DRIVER HEALTH TOTAL FREE RESERVED DEFAULT READ-ONLY".split()
    assert first[:3] == ["near", "file", "ok"]
    assert (first[4], first[-1]) == ("GiB", "yes")


def test_the_list_shows_what_uploads_have_reserved(capsys, configured, tmp_path):
    os.mkdir(tmp_path / "near")
    with open(tmp_path / "near" / ".part-6f1c6b2e-0c3a-4f5e-9d1b-1f2e3d4c5b6a.1", "wb") as part:
        part.truncate(5 << 20)
    assert main.main(["stores", "list", "--json", *configured]) == 0
    assert json.loads(capsys.readouterr().out)[0]["reserved"] == 5 << 20


def test_the_list_shows_stores_that_cannot_be_used(capsys, configured, tmp_path):
    (tmp_path / "near").touch()
    (tmp_path / "far").touch()
    assert main.main(["stores", "list", "--json", *configured]) == 1
    near, far = json.loads(capsys.readouterr().out)
    assert near["health"].startswith("[near] filesystem_store_datadir: ")
    assert "could not be started" in far["health"]
    assert (near["free"], near["read_only"]) == (None, None)
    assert main.main(["stores", "list", *configured]) == 1
