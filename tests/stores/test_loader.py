"""The loader: Glance's options, and configurations that are refused at start."""

import os
import subprocess
import sys

import pytest

from imsgate import errors
from imsgate.stores import loader
from imsgate.stores.filesystem import FilesystemStore
from imsgate.stores.memory import MemoryStore

PASTED = """
[DEFAULT]
enabled_backends = fast:file, Archive.2:memory
debug = false

[glance_store]
default_backend = fast

[fast]
store_description = Quick disks
weight = 100
filesystem_store_datadir = {fast}
filesystem_store_metadata_file = /etc/glance/metadata.json
filesystem_thin_provisioning = true
filesystem_store_timeout = 30
no_such_option = 1
"""


def test_a_pasted_configuration(configured, tmp_path):
    stores = loader.load(configured(PASTED.format(fast=tmp_path / "fast")))
    backends = [(b.id, b.driver, b.description, b.weight, b.store.__class__) for b in stores]
    assert backends == [
        ("fast", "file", "Quick disks", 100, FilesystemStore),
        ("Archive.2", "memory", None, 0, MemoryStore),
    ]
    assert stores.default == "fast"
    assert stores.get("fast") is stores.choose(None) is stores.choose("fast")
    assert stores.choose("Archive.2").name == "Archive.2"
    with pytest.raises(errors.StoreUnavailable, match="not enabled"):
        stores.get("former")
    with pytest.raises(errors.UnknownStore) as caught:
        stores.choose("former")
    assert caught.value.details == {"store": "former", "stores": "fast, Archive.2"}


def test_without_configuration_there_is_one_store_below_the_state_directory(configured, tmp_path):
    stores = loader.load(configured(""))
    assert [backend.id for backend in stores] == ["file"]
    assert stores.choose(None).properties()["data_dir"] == str(tmp_path / "state" / "images")


def test_the_only_store_needs_no_default(configured):
    assert (
        loader.load(configured("[DEFAULT]\nenabled_backends = m:memory")).choose(None).name == "m"
    )


ENABLED = "[DEFAULT] enabled_backends"
BAD = {
    "no store": ("enabled_backends =", ENABLED),
    "not a dict": ("enabled_backends = file", ENABLED),
    "id twice": ("enabled_backends = a:memory, a:memory", ENABLED),
    "ids differ by case": ("enabled_backends = a:memory, A:memory", ENABLED),
    "unknown driver": ("enabled_backends = a:floppy", ENABLED),
    "no driver": ("enabled_backends = a:", ENABLED),
    "Glance's staging": ("enabled_backends = os_glance_staging_store:memory", ENABLED),
    "the DEFAULT section": ("enabled_backends = default:memory", ENABLED),
    "the glance_store section": ("enabled_backends = glance_store:memory", ENABLED),
    "an option of DEFAULT": ("enabled_backends = state_path:memory", ENABLED),
    "id with a slash": ("enabled_backends = a/b:memory", ENABLED),
    "id that no header takes": ("enabled_backends = é:memory", ENABLED),
    "no default of two": (
        "enabled_backends = a:memory, b:memory",
        "[glance_store] default_backend",
    ),
    "unknown default": (
        "enabled_backends = a:memory\n[glance_store]\ndefault_backend = b",
        "[glance_store] default_backend",
    ),
    "one directory twice": (
        "enabled_backends = a:file, b:file\n[glance_store]\ndefault_backend = a",
        "[b]",
    ),
    "bad weight": ("enabled_backends = a:memory\n[a]\nweight = heavy", "[a] weight"),
    "bad driver option": (
        "enabled_backends = a:file\n[a]\nfilesystem_store_chunk_size = 0",
        "[a] filesystem_store_chunk_size",
    ),
    "unusable store": (
        "enabled_backends = a:file\n[a]\nfilesystem_store_datadir = /dev/null/x",
        "[a] filesystem_store_datadir",
    ),
}


@pytest.mark.parametrize(("text", "key"), BAD.values(), ids=BAD)
def test_what_must_not_start(configured, text, key):
    with pytest.raises(errors.BadConfig) as caught:
        loader.load(configured(f"[DEFAULT]\n{text}"))
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")


def test_sample_options_are_sorted_and_have_those_of_every_store():
    opts = loader.list_opts()
    names = [name for name, _ in opts]
    assert names[:2] == ["DEFAULT", "glance_store"]
    assert names[2:] == sorted(names[2:])
    assert {"file", "memory"} <= set(names)
    for _, found in opts[2:]:
        assert [opt.name for opt in found[:2]] == ["store_description", "weight"]


# Entry points are read from installed packages, so the test installs a plugin as a package and
# loads it in a new interpreter.
PLUGINS = {
    "tape": ("tape = tape:TapeStore", ""),
    "unimportable": ("broken = tape_without:Store", "cannot be imported"),
    "class missing": ("broken = tape:Absent", "cannot be imported"),
    "two of one name": ("memory = tape:TapeStore", "several installed packages"),
}
TAPE = """
from oslo_config import cfg
from imsgate.stores.memory import MemoryStore
class TapeStore(MemoryStore):
    OPTS = (*MemoryStore.OPTS, cfg.StrOpt("tape_drive", default="/dev/st0"))
"""
LOAD = """
import sys
from imsgate import config
from imsgate.stores import loader
driver = sys.argv[1]
open("c.conf", "w").write("[DEFAULT]\\nenabled_backends = t:" + driver + "\\n[t]\\ntape_drive = x")
try:
    print(loader.load(config.Config(["c.conf"])).choose(None).settings.tape_drive)
except Exception as error:
    print(type(error).__name__, error)
print([name for name, opts in loader.list_opts() if "tape_drive" in {o.name for o in opts}])
"""


@pytest.mark.parametrize(("entry", "problem"), PLUGINS.values(), ids=PLUGINS)
def test_plugins_of_other_packages(tmp_path, entry, problem):
    info = tmp_path / "tape-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tape\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[imsgate.stores]\n{entry}\n")
    (tmp_path / "tape.py").write_text(TAPE)
    paths = os.pathsep.join(["", str(tmp_path), *sys.path])
    env = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    driver = entry.split(" ")[0]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, driver],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded, listed = done.stdout.splitlines()
    if problem:
        assert loaded.startswith("BadConfig [DEFAULT] enabled_backends: ")
        assert problem in loaded
    else:
        assert (loaded, listed) == ("x", "['tape']")
