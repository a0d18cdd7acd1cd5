"""Every configuration that cannot work refuses to start, and names the key."""

import dataclasses
import pathlib
import socket
import sqlite3
import subprocess
from collections.abc import Mapping

import pytest

from tests.functional import programs
from tests.functional.gateway import (
    BIN,
    HOST,
    IMSGATE,
    INI,
    clean_env,
    free_port,
    make_database,
)


@dataclasses.dataclass
class Site:
    """What an operator has written, before the server is started."""

    directory: pathlib.Path

    @property
    def state(self) -> pathlib.Path:
        return self.directory / "state"

    @property
    def config(self) -> pathlib.Path:
        return self.directory / "imsgate.conf"

    @property
    def paste(self) -> pathlib.Path:
        return self.directory / "paste.ini"

    def write(self, config: str = "", paste: Mapping[str, str] | None = None) -> None:
        """``paste`` replaces pieces of the shipped ini."""
        self.config.write_text(config.replace("{state}", str(self.state)))
        text = INI.read_text()
        for old, new in (paste or {}).items():
            assert old in text
            text = text.replace(old, new)
        self.paste.write_text(text)

    def serve(self, *more: str) -> str:
        """What ``imsgate serve`` says when it refuses."""
        args = [str(self.paste), "--bind", f"{HOST}:{free_port()}", *more]
        if "--workers" not in more:
            args += ["--workers", "1"]
        if "--state" not in more:
            args += ["--state", str(self.state)]
        if "--config-file" not in more:
            args += ["--config-file", str(self.config)]
        return self._refusal(programs.run([IMSGATE, "serve", *args], self._env(), self.directory))

    def load(self) -> str:
        """What ``imsgate.wsgi_app`` says under gunicorn when it refuses."""
        args = ["--bind", f"{HOST}:{free_port()}", "--worker-class", "gthread"]
        command = [str(BIN / "gunicorn"), *args, "imsgate.wsgi_app:application"]
        return self._refusal(programs.run(command, self._env(), self.directory))

    def _env(self) -> dict[str, str]:
        return clean_env(
            self.directory,
            IMSGATE_PASTE=str(self.paste),
            IMSGATE_CONFIG_FILE=str(self.config),
            IMSGATE_STATE=str(self.state),
        )

    def _refusal(self, done: "subprocess.CompletedProcess[str]") -> str:
        said = done.stdout + done.stderr
        assert done.returncode > 0, said
        assert "Traceback" not in said
        assert "To try it" not in said
        return said


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Site:
    made = Site(tmp_path)
    made.write()
    return made


def assert_named(said: str, *words: str) -> None:
    for word in words:
        assert word in said, said


CONFIGS = {
    "unknown driver": ("[DEFAULT]\nenabled_backends = a:nosuch", "enabled_backends", "nosuch"),
    "no store": ("[DEFAULT]\nenabled_backends =", "enabled_backends"),
    "reserved store id": ("[DEFAULT]\nenabled_backends = glance_store:file", "enabled_backends"),
    "store id with a slash": ("[DEFAULT]\nenabled_backends = a/b:file", "enabled_backends"),
    "unknown default": (
        "[DEFAULT]\nenabled_backends = a:file\n[glance_store]\ndefault_backend = b",
        "default_backend",
        "'b'",
    ),
    "no default among two": (
        "[DEFAULT]\nenabled_backends = a:file, b:file\n"
        "[a]\nfilesystem_store_datadir = {state}/a\n[b]\nfilesystem_store_datadir = {state}/b",
        "default_backend",
    ),
    "two stores in one place": (
        "[DEFAULT]\nenabled_backends = a:file, b:file\n[glance_store]\ndefault_backend = a",
        "[b]",
    ),
    "directory that cannot be made": (
        "[file]\nfilesystem_store_datadir = /proc/none",
        "[file] filesystem_store_datadir",
    ),
    "directory that is a file": (
        "[file]\nfilesystem_store_datadir = /etc/passwd",
        "[file] filesystem_store_datadir",
    ),
    "several directories": (
        "[file]\nfilesystem_store_datadirs = /a:1",
        "filesystem_store_datadirs",
    ),
    "permissions that are none": (
        "[file]\nfilesystem_store_file_perm = 888",
        "[file] filesystem_store_file_perm",
    ),
    "number that is none": ("[sizelimit]\nimage_size_cap = big", "[sizelimit] image_size_cap"),
    "number too small": ("[upload]\nlease = 0", "[upload] lease"),
    "unknown algorithm": ("[upload]\nhashing_algorithm = rot13", "[upload] hashing_algorithm"),
    "unknown registry": ("[registry]\ndriver = nosuch", "[registry] driver", "nosuch"),
    "no database URL": ("[database]\nconnection = nonsense", "[database] connection"),
    "database directory missing": (
        "[database]\nconnection = sqlite:////nowhere/db.sqlite",
        "[database] connection",
    ),
    "unknown database driver": (
        "[database]\nconnection = nosuch://u:secret@h/d",
        "[database] connection",
    ),
    "not an ini file": ("this is no configuration", "config_file"),
    "no access keys": ("[paste_deploy]\nflavor = aksk", "[aksk] seal_file"),
    "unknown flavor": ("[paste_deploy]\nflavor = keyston", "[paste_deploy] flavor", "'keyston'"),
    "endpoint that is no URL": (
        "[DEFAULT]\npublic_endpoint = images",
        "[DEFAULT] public_endpoint",
        "'images'",
    ),
    "log that cannot be written": ("[DEFAULT]\nlog_file = /proc/none", "[DEFAULT] log_file"),
    "log configuration missing": (
        "[DEFAULT]\nlog_config_append = /nowhere",
        "[DEFAULT] log_config_append",
        "/nowhere",
    ),
    "unknown syslog facility": (
        "[DEFAULT]\nuse_syslog = true\nsyslog_log_facility = LOG_NONE",
        "[DEFAULT] syslog_log_facility",
    ),
    "unknown log level": (
        "[DEFAULT]\ndefault_log_levels = imsgate=LOUD",
        "[DEFAULT] default_log_levels",
        "LOUD",
    ),
    "unknown rotation": (
        "[DEFAULT]\nlog_file = {state}.log\nlog_rotation_type = rarely",
        "log_rotation_type",
    ),
    "log option that is parsed early": (
        "[DEFAULT]\ndebug = maybe",
        "--debug",
        "imsgate: [DEFAULT]",
    ),
    "bad api limit": ("[api]\napi_limit_max = none", "[api] api_limit_max"),
}


@pytest.mark.parametrize(("config", "words"), [(c, w) for c, *w in CONFIGS.values()], ids=CONFIGS)
def test_configuration(site: Site, config: str, words: list[str]) -> None:
    site.write(config)
    said = site.serve()
    assert_named(said, *words)
    assert "secret" not in said


def test_workers_that_fail_at_once(site: Site) -> None:
    site.write("[upload]\nlease = 0")
    assert_named(site.serve("--workers", "4"), "[upload] lease")


PASTE = {
    "unknown key": ("egg:imsgate#sizelimit", "\nnosuch = 1", "sizelimit.nosuch"),
    "bad value": (
        "egg:imsgate#sizelimit",
        "\nimage_size_cap = big",
        "sizelimit.image_size_cap",
    ),
    "value out of range": (
        "egg:imsgate#sizelimit",
        "\nimage_size_cap = 0",
        "sizelimit.image_size_cap",
    ),
    "unknown key of the application": ("egg:imsgate#gate", "\nnosuch = 1", "nosuch"),
    "store option in paste": (
        "egg:imsgate#gate",
        "\nfilesystem_store_datadir = /tmp",
        "filesystem_store_datadir",
    ),
    "unknown key of faults": ("egg:imsgate#faults", "\nlimit = 1", "faults.limit"),
    "unknown key of tokens": ("egg:imsgate#tokens", "\ntoken_fiel = x", "tokens.token_fiel"),
}


@pytest.mark.parametrize(("place", "more", "word"), PASTE.values(), ids=PASTE)
def test_paste_key(site: Site, place: str, more: str, word: str) -> None:
    site.write(paste={place: place + more})
    assert_named(site.serve(), word)


def test_unknown_filter_in_the_pipeline(site: Site) -> None:
    site.write(paste={"sizelimit sniff gate": "sizelimit sniffer gate"})
    assert_named(site.serve(), str(site.paste), "sniffer")


def test_unknown_entry_point(site: Site) -> None:
    site.write(paste={"egg:imsgate#sniff": "egg:imsgate#sniffer"})
    assert_named(site.serve(), "sniffer")


def test_unknown_package(site: Site) -> None:
    site.write(paste={"egg:imsgate#sniff": "egg:nosuch#sniff"})
    assert_named(site.serve(), str(site.paste), "nosuch")


def test_no_application_at_the_root(site: Site) -> None:
    site.write(paste={"\n/ = api": ""})
    assert_named(site.serve(), "[composite] /")


def test_missing_paste_file(site: Site) -> None:
    site.paste.unlink()
    assert_named(site.serve(), str(site.paste))


def test_invalid_paste_file(site: Site) -> None:
    site.paste.write_text("no ini\n")
    assert_named(site.serve(), str(site.paste))


def test_missing_configuration_file(site: Site) -> None:
    assert_named(site.serve("--config-file", "/nowhere/imsgate.conf"), "/nowhere/imsgate.conf")


def test_state_that_cannot_be_made(site: Site) -> None:
    assert_named(site.serve("--state", "/proc/none"), "state_path", "/proc/none")


def test_state_that_is_a_file(site: Site) -> None:
    site.state.touch()
    assert_named(site.serve(), "state_path")


BROKEN_TOKENS = {
    "not JSON": "nonsense",
    "no digest": '{"user": "u", "project": "p", "roles": []}',
    "short digest": '{"sha256": "00", "user": "u", "project": "p", "roles": []}',
    "unknown member": '{"sha256": "'
    + "0" * 64
    + '", "user": "u", "project": "p", "roles": [], "x": 1}',
    "array": "[]",
}


@pytest.mark.parametrize("line", BROKEN_TOKENS.values(), ids=BROKEN_TOKENS)
def test_broken_token_file(site: Site, line: str) -> None:
    site.state.mkdir()
    (site.state / "tokens").write_text(line + "\n")
    assert_named(site.serve(), "[tokens] token_file", "line 1")


def test_token_file_elsewhere(site: Site) -> None:
    """Where it can neither be found nor made."""
    site.write("[tokens]\ntoken_file = /proc/none/tokens")
    assert_named(site.serve(), "[tokens] token_file")


def test_port_that_is_taken(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_named(site.serve("--bind", f"{HOST}:{port}"), str(port))


@pytest.mark.parametrize("bind", ["nonsense", "127.0.0.1:port", "127.0.0.1:99999"])
def test_invalid_address(site: Site, bind: str) -> None:
    assert_named(site.serve("--bind", bind), "--bind", bind)


@pytest.mark.parametrize("words", [("--workers", "0"), ("--threads", "0"), ("--grace", "-1")])
def test_numbers_that_serve_nobody(site: Site, words: tuple[str, str]) -> None:
    assert_named(site.serve(*words), words[0])


# Under another server


def test_database_that_was_not_made(site: Site) -> None:
    site.state.mkdir()
    (site.state / "tokens").touch()
    assert_named(site.load(), "[database] connection")


def test_database_of_something_else(site: Site) -> None:
    site.state.mkdir()
    connection = sqlite3.connect(site.state / "imsgate.sqlite")
    connection.execute("CREATE TABLE images (id INTEGER)")
    connection.commit()
    connection.close()
    assert_named(site.serve(), "[database] connection")


def test_unknown_flavor_under_another_server(site: Site) -> None:
    site.write("[paste_deploy]\nflavor = keyston")
    assert_named(site.load(), "[paste_deploy] flavor", "'keyston'")


def test_no_token_file_under_another_server(site: Site) -> None:
    site.state.mkdir()
    make_database(site.state, site.config)
    assert_named(site.load(), "[tokens] token_file")
