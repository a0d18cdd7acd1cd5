"""Files with secrets and directories that others can read or write, and their repair."""

import os

import pytest

from imsgate import opts
from imsgate.doctor import permissions
from tests.doctor.conftest import wrong

STORE = "[DEFAULT]\nenabled_backends = fast:http\n[fast]\nhttp_store_url = http://127.0.0.1:1/\n"
SECRET = "[keystone_authtoken]\npassword = hush\n"


def file_of(finding):
    return os.path.relpath(finding.message.partition(" can be ")[0], "/tmp").partition("/")[2]


@pytest.mark.parametrize(
    ("text", "file", "mode", "severity"),
    [
        pytest.param("", "state/tokens", 0o644, "error", id="tokens"),
        pytest.param("", "state/admin-token", 0o604, "error", id="admin-token"),
        pytest.param("", "state/keys.seal", 0o620, "warning", id="group-writes"),
        pytest.param("[tokens]\ntoken_file = {place}/t\n", "t", 0o644, "error", id="option"),
        pytest.param("", "state/imsgate.sqlite", 0o644, "error", id="database"),
        pytest.param(
            "[keystone_authtoken]\nkeyfile = {place}/k\n", "k", 0o644, "error", id="library"
        ),
        pytest.param(
            f"{STORE}http_store_key_file = {{place}}/k\n", "k", 0o644, "error", id="store"
        ),
        pytest.param(SECRET, "0.conf", 0o644, "error", id="configuration"),
        pytest.param(
            "[jobs]\nbroker_url = redis://:hush@127.0.0.1/\n", "0.conf", 0o644, "error", id="url"
        ),
        pytest.param("", "0.conf", 0o646, "error", id="written"),
        pytest.param("", "policy.yaml", 0o666, "error", id="policy"),
        pytest.param("", "paste.ini", 0o664, "warning", id="paste"),
        pytest.param("", "state", 0o777, "error", id="state"),
        pytest.param("", "state/images", 0o770, "warning", id="images"),
    ],
)
def test_what_others_can_do_is_found_and_ended(install, place, text, file, mode, severity):
    installation = install(text)
    (place / "state").chmod(0o755)
    path = place / file
    if file == "state/images":
        path.mkdir()
    elif not path.exists():
        path.write_text("secret")
    path.chmod(mode)
    if not file.endswith(".conf"):
        (place / "0.conf").chmod(0o600)
    (finding,) = permissions.check(installation)
    assert (file_of(finding), finding.severity) == (file, severity)
    assert finding.fix is not None
    assert str(path) in finding.fix()
    assert wrong(permissions.check(installation)) == []


@pytest.mark.parametrize(
    ("text", "file", "mode"),
    [
        pytest.param("", "0.conf", 0o644, id="no-secrets"),
        pytest.param(SECRET, "0.conf", 0o640, id="group-reads"),
        pytest.param("[forward]\ncert_file = {place}/c\n", "c", 0o644, id="certificate"),
        pytest.param("", "state", 0o755, id="read-only"),
    ],
)
def test_what_others_may_do(install, place, text, file, mode):
    installation = install(text)
    path = place / file
    if not path.exists():
        path.write_text("-----BEGIN CERTIFICATE-----")
    path.chmod(mode)
    assert wrong(permissions.check(installation)) == []


def test_a_certificate_with_its_key(install, place):
    installation = install("[forward]\ncert_file = {place}/c\n")
    (place / "c").write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n")
    (place / "c").chmod(0o644)
    assert wrong(permissions.check(installation)) == [("permissions.secret", "error")]


def test_a_file_of_somebody_else_is_left_to_its_owner(install, place, monkeypatch):
    installation = install(SECRET)
    (place / "0.conf").chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    (finding,) = permissions.check(installation)
    assert finding.fix is None
    assert "make the service's group its group" in finding.advice


@pytest.mark.parametrize("path", ["state", "state/images", "state/imsgate.sqlite"])
def test_what_the_service_cannot_write(install, place, monkeypatch, path):
    """Root may write everything, and tests may run as root."""
    monkeypatch.setattr(os, "access", lambda name, mode: name != str(place / path))
    installation = install()
    (place / "state" / "images").mkdir()
    (finding,) = permissions.check(installation)
    assert finding.severity == "error"
    assert f"{place / path} cannot be written" in finding.message


def test_a_file_in_a_closed_directory(install, place):
    installation = install(SECRET)
    (place / "0.conf").chmod(0o644)
    place.chmod(0o750)
    assert wrong(permissions.check(installation)) == []


@pytest.mark.parametrize(
    ("group", "option"),
    [
        pytest.param(group, option, id=f"{group}.{option.dest}")
        for group, options in opts.list_opts()
        for option in options
        if option.secret and not option.dest.endswith(("_url", "connection", "access_key"))
    ],
)
def test_every_secret_option_is_known(group, option):
    """URLs are secret if they have a password, and access keys come with a secret."""
    assert permissions.SECRET_OPTION.search(option.dest)
