"""``imsgate stores new``: the package that it writes works at once."""

import configparser
import os
import subprocess
import sys

import pytest

from imsgate.cmd import main

#: A long random walk, which other drivers of this kind make.
WALK = "whatever_the_memory_store"


def test_the_package(tmp_path, capsys):
    target = tmp_path / "new"
    assert main.main(["stores", "new", "cold_tape", "--directory", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    driver = "imsgate_store_cold_tape.py"
    assert files == {"README.md", driver, "pyproject.toml", "setup.cfg", "tests/test_store.py"}
    setup = configparser.ConfigParser()
    setup.read(target / "setup.cfg")
    entry = "cold_tape = imsgate_store_cold_tape:ColdTapeStore"
    assert setup["options.entry_points"]["imsgate.stores"].strip() == entry
    for name in files:
        text = (target / name).read_text()
        assert "NAME" not in text, name
        assert "CLASS" not in text, name


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "new").mkdir()
    assert main.main(["stores", "new", "tape", "--directory", str(tmp_path / "new")]) == 1
    assert "File exists" in capsys.readouterr().err
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("name", ["", "Tape", "1tape", "a-b", "a.b", "../a", "a b"])
def test_a_name_that_no_module_can_have(capsys, name):
    with pytest.raises(SystemExit) as ended:
        main.main(["stores", "new", name])
    assert ended.value.code == 2
    assert "lower-case" in capsys.readouterr().err


def test_its_own_tests_pass(tmp_path):
    target = tmp_path / "new"
    assert main.main(["stores", "new", "tape", "--directory", str(target)]) == 0
    paths = filter(None, (str(target), os.environ.get("PYTHONPATH")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not {WALK}"],
        cwd=target,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
