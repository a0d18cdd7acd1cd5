"""The pages that teach writing a store and a filter do what they say."""

import os
import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

DOC = pathlib.Path(__file__).parent.parent / "doc"


class Plugin:
    """What a page makes, installed beside what is installed here."""

    def __init__(self, page, place):
        self._source, site = place / "source", place / "site"
        self._source.mkdir()
        blocks = re.findall(r"`(\S+)`:\n\n```\w*\n(.*?)^```", (DOC / page).read_text(), re.M | re.S)
        for name, text in blocks:
            (self._source / name).write_text(text)
        paths = (str(site), os.environ.get("PYTHONPATH"))
        self._env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        how = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
        installed = self.run("pip", "install", *how, ".")
        assert installed.returncode == 0, installed.stderr

    def run(self, module, *words):
        command = [sys.executable, "-m", module, *words]
        return subprocess.run(
            command, cwd=self._source, env=self._env, capture_output=True, text=True, check=False
        )

    def failures(self, test):
        """Names of the checks that fail, of many."""
        report = self._source / "report.xml"
        done = self.run("pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(report), test)
        assert report.exists(), done.stdout + done.stderr
        cases = list(ElementTree.parse(report).iter("testcase"))
        assert len(cases) > 50, done.stdout
        return {
            case.get("name").partition("[")[0]
            for case in cases
            if {"failure", "error"} & {child.tag for child in case}
        }


@pytest.fixture
def plugin(request, tmp_path):
    return Plugin(request.param, tmp_path)


@pytest.mark.parametrize("plugin", ["writing-a-store.md"], indirect=True)
def test_the_store_of_the_page_passes_all_but_what_the_page_says(plugin):
    assert "\ntape " in plugin.run("imsgate.cmd.main", "stores", "drivers").stdout
    assert plugin.failures("test_tape.py") == {"test_what_no_sink_returned_is_missing"}


@pytest.mark.parametrize("plugin", ["filters.md"], indirect=True)
def test_the_filter_of_the_page_passes(plugin):
    assert plugin.failures("test_clients.py") == set()
