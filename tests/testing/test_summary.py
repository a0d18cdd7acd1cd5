"""The end of a run names the hooks that a driver's tests lack."""

import subprocess
import sys

TESTS = """
import pytest
from imsgate.config import Section
from imsgate.stores.memory import MemoryStore
from imsgate.testing import StoreContract


class TestMine(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryStore("mine", Section(memory_store_capacity=None))

    def again(self, store):
        return store

    def leftovers(self, store):
        return store.held()

    def private(self, store):
        return ["hunter2"]
"""


def test_hooks_that_are_not_given_are_named_with_what_was_not_checked(tmp_path):
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    command += ["-k", "test_properties_can_be_shown"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = done.stdout.partition("TestMine: hooks not given, and what was not checked")[2]
    assert "1 passed" in done.stdout
    names = [line.split()[0] for line in listed.splitlines()[1:] if "  " in line]
    assert {"sync_fault", "away", "small_store", "truncate"} <= {*names}
    assert "private" not in names


def test_a_failure_says_where_the_contract_is(tmp_path):
    broken = TESTS.replace("return store.held()", "return ['something']")
    (tmp_path / "test_mine.py").write_text(broken)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    command += ["-x", "-k", "ends_with"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The contract of what this checks: Sink and Store.discard" in done.stdout
    assert "abort must remove everything" in done.stdout
