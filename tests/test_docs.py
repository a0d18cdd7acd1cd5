"""The documentation speaks of what is there."""

import configparser
import io
import pathlib
import re

import pytest
import yaml
from keystoneauth1 import loading
from oslo_config import generator

from imsgate import config, errors, opts
from imsgate.api import info
from imsgate.doctor import checks as doctor
from imsgate.formats.checks import CHECKS
from imsgate.notifications import bus
from imsgate.stores import enabled, loader
from imsgate.telemetry import logs

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "doc").glob("*.md"))]


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


def test_every_check_of_the_doctor_is_on_the_page_for_operators():
    page = (ROOT / "doc/operators.md").read_text()
    table = page.partition("## Examine an installation")[2].partition("| Option |")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.M) == [*doctor.CHECKS, "way-in"]


def test_the_page_for_operators_lists_what_sighup_changes():
    text = (ROOT / "doc/operators.md").read_text()
    table = text.partition("| Section | Options that SIGHUP changes |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.M)
    documented = {
        (section.strip("`"), name) for section, cell in rows for name in re.findall("`(.*?)`", cell)
    }
    stores = loader.installed()
    listed = [*opts.list_opts(), ("DEFAULT", logs.opts())]
    assert documented == {
        ("each store" if section in stores else section, option.dest)
        for section, options in listed
        for option in options
        if option.mutable
    }


def test_every_check_is_on_the_page_about_formats():
    text = (ROOT / "doc/formats.md").read_text()
    assert {name for name in CHECKS if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


#: The first sections of examples that are no imsgate.conf.
OTHER_FILES = {
    *("build-system", "metadata", "pipeline:main", "filter:clients", "Unit", "Service", "uwsgi"),
    *("pipeline:api", "filter:osprofiler"),
}


def _examples(*, configuration=False):
    """Every example of a file with sections, or of an imsgate.conf alone, named by its place."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^```\w*\n((?:#.*\n)*\[([\w:-]+)\].*?)^```", text, re.M | re.S):
            if not (configuration and found[2] in OTHER_FILES):
                line = text.count("\n", 0, found.start(1)) + 1
                yield pytest.param(found[1], id=f"{page.name}:{line}")


def _of_kubernetes():
    """The configuration of the example's pods, of its two files."""
    merged = configparser.RawConfigParser(default_section="")
    for each in yaml.safe_load_all((ROOT / "examples/kubernetes/imsgate.yaml").read_text()):
        for text in {**each.get("data", {}), **each.get("stringData", {})}.values():
            merged.read_string(text)
    text = io.StringIO()
    merged.write(text)
    return text.getvalue()


@pytest.mark.parametrize("text", list(_examples()))
def test_comments_in_examples_have_lines_of_their_own(text):
    """Behind a value they would be taken for a part of it, and a section would not be one."""
    assert re.findall(r"^(?:\[|[\w.-]+ *=).* [#;].*", text, re.M) == []


@pytest.fixture(scope="module")
def options():
    """Options of imsgate and of the libraries that read its configuration, by their groups."""
    namespaces = ["imsgate", "keystonemiddleware.auth_token", "oslo.limit", "castellan.config"]
    # Its whole list needs further packages.
    found = {bus.GROUP: list(bus.notifier._notifier_opts)}
    for _, sections in generator._list_opts(namespaces):
        for group, listed in sections:
            found.setdefault(str(group or "DEFAULT"), []).extend(listed)
    access = loading.get_auth_common_conf_options()
    access += loading.get_auth_plugin_conf_options("password")
    for group in ("keystone_authtoken", "oslo_limit"):
        listed = {option.dest for option in found[group]}
        found[group] += [option for option in access if option.dest not in listed]
    return found


def _of_store(conf, store_id, driver):
    kind = loader.installed()[driver]
    listed = [*enabled.STORE_OPTS, *kind.OPTS]
    return [*listed, *kind.further_opts(store_id, conf.section(store_id, listed))]


@pytest.mark.parametrize("text", [*_examples(configuration=True), _of_kubernetes()])
def test_options_in_examples_exist_and_take_their_values(text, options, tmp_path):
    path = tmp_path / "imsgate.conf"
    path.write_text(text)
    conf = config.Config([str(path)])
    stores = conf.section("DEFAULT", loader.OPTS).enabled_backends
    parsed = configparser.RawConfigParser(default_section="")
    parsed.read_string(text)
    for group in parsed.sections():
        if stores.get(group) == "tape":  # the driver that a page makes
            continue
        known = options[group] if group in options else _of_store(conf, group, stores[group])
        conf.section(group, known)
        names = {name for option in known for name in (option.dest, option.name)}
        assert {name for name in parsed[group] if name not in names} == set()
