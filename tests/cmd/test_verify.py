"""``imsgate verify``: what it prints, its exit status, and what it repairs."""

import contextlib
import json

import pytest

from imsgate.cmd import main
from imsgate.model import now
from imsgate.registry import sql
from imsgate.registry.sql import schema
from tests import databases
from tests.verification.site import DATA, STORES, Site

CONFIG = """
[DEFAULT]
enabled_backends = one:file, two:file, three:file
[glance_store]
default_backend = one
"""
STORE = """
[{name}]
filesystem_store_datadir = $state_path/{name}
optional = true
"""


@pytest.fixture
def site(tmp_path):
    settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    schema.upgrade(settings)
    with contextlib.closing(sql.SqlRegistry(settings)) as registry:
        yield Site.new(tmp_path, registry)


@pytest.fixture
def verify(site, tmp_path, capsys):
    """Run the command; return its status and its lines on standard output."""
    file = tmp_path / "verify.conf"
    file.write_text(CONFIG + "".join(STORE.format(name=name) for name in STORES))

    def run(*words):
        status = main.main(["verify", "--config-file", str(file), "--state", str(tmp_path), *words])
        return status, capsys.readouterr().out.splitlines()

    return run


def test_all_is_good(site, verify):
    site.image("one", "two")
    assert verify() == (0, ["Copies: 2 good, 0 damaged, 0 not checked"])


def test_a_damaged_copy_and_its_repair(site, verify):
    image = site.image("one", "two")
    site.file(image, "one").write_bytes(DATA[:10])
    problem = f"{image.id} in one: damaged: it has 10 bytes instead of {len(DATA)}"
    summary = "Copies: 1 good, 1 damaged, 0 not checked"
    assert verify() == (1, [problem, summary])
    assert verify("--repair") == (0, [f"{problem}; repaired", f"{summary}, 1 repaired"])
    assert site.file(image, "one").read_bytes() == DATA
    assert verify() == (0, ["Copies: 2 good, 0 damaged, 0 not checked"])


def test_the_only_copy(site, verify):
    image = site.image("one")
    site.file(image, "one").unlink()
    status, lines = verify("--repair")
    assert (status, lines[0]) == (
        1,
        f"{image.id} in one: damaged: the store has no such object; "
        "impossible: there is no good copy, or the store is read-only",
    )


def test_for_programs(site, verify):
    image = site.image("one", "two")
    site.spoil(image, "two")
    status, lines = verify("--json")
    good, bad = json.loads("\n".join(lines))
    assert status == 1
    assert good == {
        "image": image.id,
        "store": "one",
        "state": "good",
        "damage": None,
        "problem": None,
        "compared": ["size", "sha512", "md5"],
        "bytes": len(DATA),
        "repair": None,
    }
    assert (bad["state"], bad["damage"], bad["bytes"]) == ("damaged", "content", 2 * len(DATA))
    assert "sha512 digest" in bad["problem"]
    status, lines = verify("--json", "--store", "three")
    assert (status, json.loads("\n".join(lines))) == (0, [])


def test_a_choice_of_copies(site, verify):
    first, second = (site.image("one", "two") for _ in range(2))
    for words, count in (
        ((first.id.upper(),), 2),
        ((first.id, second.id, "--store", "two"), 2),
        (("--store", "one", "--store", "two"), 4),
        (("--sample", "3", "--rate", "1000"), 3),
    ):
        status, (summary,) = verify(*words)
        assert (status, summary.partition(" good")[0]) == (0, f"Copies: {count}"), words


def test_an_unknown_image(site, verify, capsys):
    image = site.image("one")
    status, (summary,) = verify("nonsense", image.id)
    assert (status, summary.partition(",")[0]) == (1, "Copies: 1 good")


def test_a_store_that_is_away(site, verify):
    image = site.image("one", "two")
    site.take_away("two")
    status, (line, summary) = verify()
    assert status == 1
    assert line.startswith(f"{image.id} in two: not checked: Store 'two' is not available now")
    assert summary == "Copies: 1 good, 0 damaged, 1 not checked"


@pytest.mark.parametrize(
    "words", [("--store", "four"), ("image", "--sample", "1"), ("--repair",)], ids=str
)
def test_misuse(site, verify, capsys, words):
    site.registry.begin_read_only(now())
    assert verify(*words)[0] == 2


@pytest.mark.parametrize("words", [("--rate", "0"), ("--rate", "nan"), ("--sample", "0")], ids=str)
def test_invalid_numbers(verify, words):
    with pytest.raises(SystemExit):
        verify(*words)


def test_read_only_mode(site, verify):
    """It reads, since an operator asked for it."""
    image = site.image("one", "two")
    site.spoil(image, "one")
    site.registry.begin_read_only(now())
    assert verify()[0] == 1
    assert site.damage(image) == {"one": "content", "two": None}
