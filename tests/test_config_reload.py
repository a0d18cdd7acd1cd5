"""``Config.reload``: what changes at run time, what waits for a restart, and invalid files."""

import logging
import shutil

import pytest
from oslo_config import cfg

from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.settings import Settings

OPTS = (
    cfg.IntOpt("count", default=5, min=1, max=10, mutable=True),
    cfg.ListOpt("words", default=["a"], mutable=True),
    cfg.StrOpt("maybe", mutable=True),
    cfg.StrOpt("fixed", default="x"),
    cfg.StrOpt("secret", default="x", secret=True),
)


class Part(Settings, group="part", opts=OPTS):
    count: int
    words: list[str]
    maybe: str | None
    fixed: str
    secret: str


FIRST = "[part]\ncount = 7\n"


class Site:
    """A configuration file and the process that has read it."""

    def __init__(self, path):
        self.path = path
        self.write(FIRST)
        self.conf = Config([str(path)], state_path=str(path.parent))
        self.part = self.conf.read(Part)

    def write(self, text):
        self.path.write_text(text)

    def reload(self, text):
        self.write(text)
        self.conf.reload()


@pytest.fixture
def site(tmp_path):
    """Afterwards, all loggers have their former levels."""
    levels = {logger.name: logger.level for logger in _loggers()}
    yield Site(tmp_path / "imsgate.conf")
    for logger in _loggers():
        logger.setLevel(levels.get(logger.name, logging.NOTSET))


def _loggers():
    names = list(logging.root.manager.loggerDict)
    return [logging.root, *map(logging.getLogger, names)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[part]\ncount = 9\n", (9, ["a"], None)),
        ("[part]\ncount = 7\nwords = b, c\n", (7, ["b", "c"], None)),
        ("[part]\nmaybe = y\n", (5, ["a"], "y")),
        ("", (5, ["a"], None)),
        ("[part]\ncount = 7\nunknown = 1\n[other]\nx = y\n", (7, ["a"], None)),
    ],
)
def test_records_and_sections_have_the_new_values(site, text, values):
    section = site.conf.section("part", OPTS)
    site.reload(text)
    for record in (site.part, section, site.conf.read(Part)):
        assert (record.count, record.words, record.maybe) == values


def test_a_paste_key_still_goes_before_the_file(site):
    overridden = site.conf.read(Part, {"count": "3"})
    site.reload("[part]\ncount = 9\nwords = b\n")
    assert (overridden.count, overridden.words) == (3, ["b"])


def test_the_environment_still_goes_before_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OS_PART__COUNT", "2")
    site = Site(tmp_path / "imsgate.conf")
    site.reload("[part]\ncount = 9\n")
    assert site.part.count == 2


def test_what_needs_a_restart_is_one_warning(site, caplog):
    caplog.set_level("INFO")
    site.conf.read(Part)
    site.reload("[part]\ncount = 9\nfixed = y\nsecret = hush\n[DEFAULT]\nstate_path = /elsewhere\n")
    assert (site.part.count, site.part.fixed, site.part.secret) == (9, "x", "x")
    assert site.conf.state_path == str(site.path.parent)
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert sorted(warnings) == [
        f"Ignoring change to immutable option {name}"
        for name in ("DEFAULT.state_path", "part.fixed", "part.secret")
    ]
    assert "Option part.count changed from [7] to [9]" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[part]\ncount = 8\nwords = c\nmaybe = $none\n", "[part] maybe"),
        ("[part]\nwords = c\ncount = many\n", "[part] count"),
        ("[part]\nwords = c\ncount = 11\n", "[part] count"),
        ("[part]\nwords = c\ncount =\n", "[part] count"),
        ("[part]\nwords = c\njust words\n", "config_file"),
        ("[part]\nwords = c\n[DEFAULT]\ndebug = perhaps\n", "[DEFAULT] debug"),
        ("[DEFAULT]\ndefault_log_levels = part.a=LOUD\n", "[DEFAULT] default_log_levels"),
        ("[DEFAULT]\ndefault_log_levels = part.a\n", "[DEFAULT] default_log_levels"),
        ("[DEFAULT]\nrate_limit_burst = some\n", "[DEFAULT] rate_limit_burst"),
        (None, "config_file"),
        (..., "config_file"),
    ],
    ids=str,
)
def test_an_invalid_file_changes_nothing_and_names_the_option(site, text, key):
    root = logging.getLogger().level
    if text is None:
        site.path.unlink()
    elif text is ...:
        site.path.write_bytes(b"[part]\nmaybe = \xff\n")
    else:
        site.write(text)
    for _ in range(2):
        with pytest.raises(BadConfig) as caught:
            site.conf.reload()
        assert caught.value.key == key
    assert (site.part.count, site.part.words, site.part.maybe) == (7, ["a"], None)
    assert site.conf.read(Part) == site.part
    assert logging.getLogger().level == root
    if site.path.exists():
        site.reload("[part]\ncount = 2\n")
        assert site.part.count == 2


def test_a_check_sees_new_values_before_they_are_used(site):
    def check(conf):
        if conf.read(Part).count > 8:
            raise BadConfig("[part] count", "more than this service can do")

    site.conf.require(check)
    assert site.part.count == 7
    with pytest.raises(BadConfig, match="can do"):
        site.reload("[part]\ncount = 9\n")
    assert site.part.count == 7


def test_the_levels_of_logs(site):
    site.reload("[DEFAULT]\ndebug = true\ndefault_log_levels = part.a=ERROR, part.b=5\n")
    names = (None, "part.a", "part.b", "boto")
    assert [logging.getLogger(name).level for name in names] == [
        logging.DEBUG,
        logging.ERROR,
        5,
        logging.NOTSET,
    ]
    site.reload("[DEFAULT]\ndefault_log_levels = part.b=INFO\n")
    assert [logging.getLogger(name).level for name in names] == [
        logging.INFO,
        logging.NOTSET,
        logging.INFO,
        logging.NOTSET,
    ]
    site.reload("")
    assert logging.getLogger("boto").level == logging.WARNING


def test_a_broken_file_of_log_levels_is_an_error(site, caplog):
    site.reload(f"[part]\ncount = 9\n[DEFAULT]\nlog_config_append = {site.path.parent}/none\n")
    assert site.part.count == 9
    (line,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert line.getMessage().startswith("[DEFAULT] log_config_append: ")


def test_a_directory_of_files(tmp_path, monkeypatch):
    """As oslo.config finds them by itself."""
    home = tmp_path / ".imsgate"
    (home / "imsgate.conf.d").mkdir(parents=True)
    (home / "imsgate.conf").write_text(FIRST)
    monkeypatch.setenv("HOME", str(tmp_path))
    conf = Config()
    part = conf.read(Part)
    (home / "imsgate.conf.d" / "more.conf").write_text("[part]\ncount = 8\n")
    conf.reload()
    assert part.count == 8
    shutil.rmtree(home / "imsgate.conf.d")
    conf.reload()
    assert part.count == 7
