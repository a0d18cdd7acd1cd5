"""Configuration: files, overrides, and everything that refuses to start by its key."""

import dataclasses
import logging
import os
import sys
from collections.abc import Mapping

import pytest
from oslo_config import cfg
from oslo_log import formatters

from imsgate import config
from imsgate.config import Config, Section
from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.telemetry import logs

OPTS = (
    cfg.IntOpt("count", default=5, min=1, max=10),
    cfg.BoolOpt("flag", default=False),
    cfg.ListOpt("words", default=["a"]),
    cfg.DictOpt("pairs", default={}),
    cfg.FloatOpt("ratio", default=0.5),
    cfg.StrOpt("kind", default="x", choices=["x", "y"]),
    cfg.StrOpt("path", default="$state_path/here"),
    cfg.StrOpt("maybe"),
    cfg.IntOpt("perhaps"),
)


@pytest.fixture
def written(tmp_path):
    """A configuration of this text."""

    def write(text="", **more):
        path = tmp_path / "imsgate.conf"
        path.write_text(text)
        return Config([str(path)], **more)

    return write


def test_defaults(written):
    section = written().section("part", OPTS)
    assert (section.count, section.flag, section.words) == (5, False, ["a"])
    assert (section.maybe, section.perhaps) == (None, None)


def test_files_go_before_defaults_and_overrides_before_files(written):
    conf = written("[part]\ncount = 7\nkind = y\n")
    section = conf.section("part", OPTS, {"count": "9"})
    assert (section.count, section.kind) == (9, "y")


def test_overrides_are_one_instances_own(written):
    conf = written()
    assert conf.section("part", OPTS, {"count": "9"}).count == 9
    assert conf.section("part", OPTS).count == 5


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("count", "7", 7),
        ("flag", "true", True),
        ("flag", "off", False),
        ("words", "a, b", ["a", "b"]),
        ("words", "", []),
        ("pairs", "a:b,c:d", {"a": "b", "c": "d"}),
        ("ratio", "0.25", 0.25),
        ("kind", "y", "y"),
        ("maybe", "", ""),
        ("perhaps", "", None),
    ],
)
def test_an_override_has_the_options_own_type(written, key, text, value):
    assert getattr(written().section("part", OPTS, {key: text}), key) == value
    filed = written(f"[part]\n{key} = {text}\n").section("part", OPTS)
    assert getattr(filed, key) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("count", "many"),
        ("count", "0"),
        ("count", "11"),
        ("count", ""),
        ("flag", "perhaps"),
        ("ratio", "half"),
        ("ratio", ""),
        ("ratio", "nan"),
        ("ratio", "-inf"),
        ("path", "a\0b"),
        ("kind", "z"),
        ("pairs", "a"),
    ],
)
def test_a_bad_value_names_its_key(written, key, text):
    with pytest.raises(BadConfig) as caught:
        written().section("part", OPTS, {key: text})
    assert caught.value.key == f"part.{key}"
    with pytest.raises(BadConfig) as caught:
        written(f"[part]\n{key} = {text}\n").section("part", OPTS)
    assert caught.value.key == f"[part] {key}"


def test_a_bad_default_group_value_names_its_key(written):
    with pytest.raises(BadConfig) as caught:
        written("[DEFAULT]\ncount = many\n").section("DEFAULT", OPTS)
    assert caught.value.key == "[DEFAULT] count"


@pytest.mark.parametrize("key", ["unknown", "Count", "part.count", ""])
def test_an_unknown_override_names_its_key(written, key):
    with pytest.raises(BadConfig) as caught:
        written().section("part", OPTS, {key: "1"})
    assert caught.value.key == f"part.{key}"


@pytest.mark.parametrize("key", ["path", "count", "flag"])
@pytest.mark.parametrize("text", ["x$secret/y", "x${secret}y", "x${se.cret}y"])
def test_a_reference_to_nothing_names_its_key_and_not_the_value(written, key, text):
    """It may be a password that has a dollar sign."""
    with pytest.raises(BadConfig, match=r"\$\$") as caught:
        written(f"[part]\n{key} = {text}\n").section("part", OPTS)
    assert caught.value.key == f"[part] {key}"
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["no section = 1\n[", "[part\n", "[part]\njust words\n"], ids=["open", "cut", "words"]
)
def test_an_invalid_file_is_refused(written, text):
    with pytest.raises(BadConfig) as caught:
        written(text)
    assert caught.value.key == "config_file"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadConfig) as caught:
        Config([str(tmp_path / "none.conf")])
    assert caught.value.key == "config_file"


def test_later_files_go_before_earlier_ones(tmp_path):
    files = []
    for name, count in (("a", 6), ("b", 7)):
        path = tmp_path / f"{name}.conf"
        path.write_text(f"[part]\ncount = {count}\n")
        files.append(str(path))
    assert Config(files).section("part", OPTS).count == 7
    loaded = config.load({"config_file": ", ".join(files)})
    assert loaded.section("part", OPTS).count == 7


# What nobody reads


def test_what_nothing_asks_for_is_found(written):
    conf = written(
        "[DEFAULT]\nstate_path = /s\nlogdir = /l\npublish_errors = maybe\ndebugg = 1\n"
        "[Part]\ncount = 5\ncuont = 6\n[prat]\ncount = 7\n[library]\nits = 1\nown = 2\n"
        "[shared]\nours = 1\nits = 2\nnobodys = 3\n"
    )
    conf.section("part", OPTS)
    conf.section("shared", [cfg.StrOpt("ours")])
    for group in ("library", "shared"):
        conf.native.register_opt(cfg.StrOpt("its"), group=group)
    [file] = conf.native.config_file
    places = ["[DEFAULT] debugg", "[Part] cuont", "[prat]", "[shared] nobodys"]
    assert [str(place) for place in conf.unread()] == [f"{file}: {place}" for place in places]


def test_what_nothing_asks_for_is_found_in_every_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    more = tmp_path / ".imsgate" / "imsgate.conf.d" / "more.conf"
    more.parent.mkdir(parents=True)
    more.write_text("[more]\n")
    more.parent.with_name("imsgate.conf").write_text("[first]\n")
    names = [str(place).rpartition("/")[2] for place in Config().unread()]
    assert names == ["imsgate.conf: [first]", "more.conf: [more]"]


# The state directory


def test_the_state_path_can_be_overridden(written, tmp_path):
    conf = written("[DEFAULT]\nstate_path = /elsewhere\n", state_path=str(tmp_path))
    assert conf.state_path == str(tmp_path)
    assert conf.section("part", OPTS).path == f"{tmp_path}/here"
    assert conf.section("DEFAULT", config.OPTS).state_path == str(tmp_path)


def test_the_state_path_of_a_file_holds(written):
    conf = written("[DEFAULT]\nstate_path = /elsewhere\n")
    assert conf.section("part", OPTS).path == "/elsewhere/here"


def test_a_relative_state_path_is_made_absolute(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    conf = written(state_path="state")
    assert conf.state_path == os.path.join(tmp_path, "state")
    assert conf.section("part", OPTS).path == f"{tmp_path}/state/here"


def test_one_process_parses_once(tmp_path):
    names = {"state_path": str(tmp_path)}
    assert config.load(names) is config.load(dict(names))
    assert config.load(names) is not config.load({"state_path": str(tmp_path / "b")})


# Records


def test_a_record_is_read_only(written):
    section = written().section("part", OPTS)
    with pytest.raises(AttributeError, match="count"):
        section.count = 6
    with pytest.raises(AttributeError):
        del section.count
    with pytest.raises(AttributeError):
        _ = section.unknown
    assert section.count == 5


def test_records_are_made_of_names():
    assert Section(a=1).a == 1


TYPED_OPTS = (
    cfg.IntOpt("lease", default=60),
    cfg.StrOpt("store"),
    cfg.ListOpt("methods", default=["a"]),
    cfg.StrOpt("password", secret=True, default="x"),
)


class Typed(Settings, group="typed", opts=TYPED_OPTS):
    lease: int
    store: str | None
    methods: list[str]
    password: str


def test_a_typed_record_has_the_values_of_its_group(written):
    settings = written("[typed]\nlease = 5\npassword = hush\n").read(Typed, {"store": "fast"})
    assert settings == Typed(lease=5, store="fast", methods=["a"], password="hush")
    assert "hush" not in repr(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.lease = 6


def test_defaults_of_options_are_those_of_fields():
    assert (Typed().lease, Typed().store, Typed().methods) == (60, None, ["a"])
    assert Typed().methods is not Typed().methods


def test_a_typed_record_takes_its_own_values_out_of_a_section(written):
    section = written().section("typed", [*TYPED_OPTS, cfg.IntOpt("other", default=1)])
    assert Typed.of(section) == Typed()


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        ({"lease": int}, "store"),
        ({"lease": int, "store": str | None, "more": int}, "more"),
        ({"lease": float, "store": str | None}, "lease"),
        ({"lease": int | None, "store": str | None}, "lease"),
        ({"lease": int, "store": str}, "store"),
        ({"store": str | None, "le": int}, "le"),
    ],
    ids=str,
)
def test_fields_and_options_cannot_drift_apart(annotations, problem):
    members = {"__annotations__": annotations}
    with pytest.raises(TypeError, match=problem):
        type(Settings)("Drifted", (Settings,), members, group="drifted", opts=TYPED_OPTS[:2])


SWITCHES = (
    cfg.IntOpt("limit", default=3),
    cfg.BoolOpt("refuse_dirty", default=False),
    cfg.BoolOpt("refuse_parent", default=True),
    cfg.StrOpt("refuse_reason", default="none"),
)


class Switches(Settings, group="typed", opts=SWITCHES):
    limit: int
    refuse: Mapping[str, bool]
    refuse_reason: str


def test_a_mapping_has_the_options_that_begin_with_its_name(written):
    settings = written("[typed]\nrefuse_dirty = true\n").read(Switches)
    assert settings.refuse == {"dirty": True, "parent": True}
    assert settings.refuse_reason == "none"
    assert Switches().refuse == {"dirty": False, "parent": True}
    with pytest.raises(TypeError):
        settings.refuse["dirty"] = False


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        ({"limit": int}, "refuse_dirty"),
        ({"limit": int, "refuse": Mapping[str, bool]}, "refuse_reason"),
        ({"limit": int, "refuse": Mapping[str, int], "refuse_reason": str}, "refuse_dirty"),
    ],
    ids=str,
)
def test_mappings_and_options_cannot_drift_apart(annotations, problem):
    members = {"__annotations__": annotations}
    with pytest.raises(TypeError, match=problem):
        type(Settings)("Drifted", (Settings,), members, group="drifted", opts=SWITCHES)


class More(Switches, group="more", opts=(*SWITCHES, cfg.BoolOpt("extra", default=True))):
    extra: bool


def test_a_record_may_extend_another(written):
    settings = written("[more]\nlimit = 4\nextra = false\n").read(More)
    assert (settings.limit, settings.extra, settings.refuse_reason) == (4, False, "none")
    assert isinstance(settings, Switches)
    assert Switches.OPTS == SWITCHES


def test_a_line_says_its_text_once(written):
    """oslo.log appends the exception being handled, with what it may contain. The function that
    imsgate replaces is private: see imsgate/telemetry/logs.py."""
    native = written("").native
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(formatters, "_get_error_summary", logs.error_summary)
        for formatter in (formatters.ContextFormatter(config=native), formatters.JSONFormatter()):
            try:
                raise OSError("http://user:hush@host")
            except OSError:
                exc_info = sys.exc_info()
                record = logging.LogRecord("x", logging.ERROR, "", 0, "It failed", (), None)
                assert "hush" not in formatter.format(record)
                record = logging.LogRecord("x", logging.ERROR, "", 0, "A bug", (), exc_info)
                assert "hush" in formatter.format(record)


@pytest.mark.parametrize(
    ("text", "variable", "expected"),
    [
        ("", "OTHER", False),
        ("[library]\n", "OTHER", True),
        ("[LIBRARY]\nx = y\n", "OTHER", True),
        ("[other]\nlibrary = x\n", "OTHER", False),
        ("", "OS_LIBRARY__DRIVER", True),
    ],
)
def test_a_section_of_a_library_is_mentioned(written, monkeypatch, text, variable, expected):
    monkeypatch.setenv(variable, "x")
    assert written(text).mentions("library") is expected
