"""The documentation speaks of what is there."""

import pathlib
import re

import pytest

from imsgate import errors
from imsgate.api import info
from imsgate.formats.checks import CHECKS

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "doc").glob("*.md"))]


def _reasons(of: type[errors.Error]) -> set[tuple[int, str]]:
    found = {(of.status, of.reason)}
    return found.union(*map(_reasons, of.__subclasses__()))


def test_every_reason_is_in_the_table_of_the_api_page():
    table = re.findall(r"^\| (\d{3}) \| ([^|]*) \|", (ROOT / "doc/api.md").read_text(), re.M)
    told = {
        (int(status), reason) for status, cell in table for reason in re.findall("`(.*?)`", cell)
    }
    assert told == {pair for pair in _reasons(errors.Error) if pair[1] != "base"}


def test_the_api_page_knows_the_versions():
    text = (ROOT / "doc/api.md").read_text()
    _, newest, without = re.search(
        r"versions ([\d.]+) to ([\d.]+) are announced, without ([\d., and]+),", text
    ).groups()
    minors = range(int(newest.partition(".")[2]) + 1)
    left_out = re.findall(r"[\d.]+", without)
    assert {f"2.{minor}" for minor in minors}.difference(left_out) == set(info.VERSIONS)


def test_every_check_is_on_the_page_about_formats():
    text = (ROOT / "doc/formats.md").read_text()
    assert {name for name in CHECKS if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
