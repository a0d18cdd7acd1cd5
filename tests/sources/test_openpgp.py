"""Signatures of files of digests: real keys, made by gpg, and the real gpgv."""

import pathlib
import shutil
import subprocess
import tempfile

import pytest

from imsgate import errors
from imsgate.sources import openpgp
from imsgate.sources.download_request import DownloadRequest
from imsgate.sources.downloads import Downloads
from imsgate.sources.openpgp import Keyring
from tests.functional.conftest import needs_program
from tests.sources.checksum_files import HEX
from tests.sources.test_downloads import downloads, fetch  # noqa: F401
from tests.sources.web_server import DATA, serving, whole

SUMS = f"{HEX['sha256']}  image\n".encode()
OPTION = "[web_download] keyring"


class Keys:
    """The keys of a publisher and of others, and the keyring that has the publisher's."""

    def __init__(self, directory):
        self.directory = directory
        # Sockets of gpg-agent have short names only.
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="gpg"))
        for name in ("publisher", "second", "stranger", "revoked"):
            self.gpg("--quick-gen-key", "--passphrase", "", f"{name}@example", "ed25519", "sign")
        faked = ("--faked-system-time", "20200101T000000")
        self.gpg(
            *faked, "--quick-gen-key", "--passphrase", "", "old@example", "ed25519", "sign", "1d"
        )
        self.old = self.sign("old@example", *faked)
        self.revoked = self.sign("revoked@example")
        self._revoke("revoked@example")
        trusted = ("publisher@example", "second@example", "old@example", "revoked@example")
        self.ring = directory / "keyring.gpg"
        self.ring.write_bytes(self.gpg("--export", *trusted))

    def gpg(self, *arguments, text=b""):
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--yes", "--no-tty", *arguments],
            input=text,
            capture_output=True,
            check=True,
        ).stdout

    def sign(self, user, *more, how="--detach-sign", text=SUMS):
        return self.gpg("--local-user", user, *more, how, text=text)

    def _revoke(self, user):
        listed = self.gpg("--with-colons", "--list-keys", user).decode()
        fingerprint = next(line for line in listed.splitlines() if line.startswith("fpr:"))
        name = f"{fingerprint.split(':')[9]}.rev"
        text = (self.home / "openpgp-revocs.d" / name).read_text()
        self.gpg("--import", text=text.replace(":-----BEGIN", "-----BEGIN").encode())

    def close(self):
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)
        shutil.rmtree(self.home)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    for program in ("gpg", "gpgv", "gpgconf"):
        needs_program(program)
    made = Keys(tmp_path_factory.mktemp("keys"))
    yield made
    made.close()


@pytest.fixture
def keyring(keys):
    return Keyring.load(OPTION, str(keys.ring))


ACCEPTED = {
    "binary": lambda keys: keys.sign("publisher@example"),
    "armored": lambda keys: keys.sign("publisher@example", "--armor"),
    "text": lambda keys: keys.sign("publisher@example", "--textmode"),
    "by two": lambda keys: keys.sign("publisher@example", "--local-user", "second@example"),
    "by a stranger as well": lambda keys: keys.sign(
        "stranger@example", "--local-user", "publisher@example"
    ),
}


@pytest.mark.parametrize("signature", ACCEPTED.values(), ids=ACCEPTED)
def test_a_signature_by_a_key_of_the_keyring(keys, keyring, signature):
    keyring.verify(SUMS, signature(keys))


REFUSED = {
    "wrong": (
        lambda keys: keys.sign("publisher@example", text=b"other"),
        "not a signature of this",
    ),
    "one of two is wrong": (
        lambda keys: keys.sign("publisher@example") + keys.sign("second@example", text=b"other"),
        "not a signature of this file",
    ),
    "stranger": (lambda keys: keys.sign("stranger@example"), "not in this service's keyring"),
    "expired": (lambda keys: keys.old, "has expired"),
    "revoked": (lambda keys: keys.revoked, "has been revoked"),
    "weak": (lambda keys: keys.sign("publisher@example", "--digest-algo", "SHA1"), "too weak"),
    "clear text": (
        lambda keys: keys.sign("publisher@example", how="--clearsign"),
        "not a detached OpenPGP signature",
    ),
    "with its own data": (
        lambda keys: keys.sign("publisher@example", how="--sign"),
        "not a detached OpenPGP signature",
    ),
    "a key": (lambda keys: keys.gpg("--export", "publisher@example"), "not a detached"),
    "nothing": (lambda keys: b"", "not a detached"),
    "text": (lambda keys: b"[GNUPG:] GOODSIG 0 x\n", "not a detached"),
}


@pytest.mark.parametrize(("signature", "problem"), REFUSED.values(), ids=REFUSED)
def test_another_signature_is_refused(keys, keyring, signature, problem):
    with pytest.raises(errors.ChecksumUntrusted, match=problem):
        keyring.verify(SUMS, signature(keys))


def test_a_signature_of_another_class_says_nothing_about_the_data():
    """gpg makes none without data. The lines are those of doc/DETAILS."""
    good = [["NEWSIG"], ["GOODSIG", "1", "a"]]
    valid = ["VALIDSIG", "F", "2026-01-01", "1", "0", "4", "0", "22", "8"]
    assert openpgp._problem([*good, [*valid, "01", "F"]]) is None
    assert openpgp._problem([*good, [*valid, "02", "F"]]) is not None
    assert openpgp._problem([*good, ["NEWSIG"], [*valid, "00", "F"]]) is not None


def test_a_keyring_that_is_gone_verifies_nothing(keys, tmp_path):
    copied = tmp_path / "keyring.gpg"
    copied.write_bytes(keys.ring.read_bytes())
    keyring = Keyring.load(OPTION, str(copied))
    copied.unlink()
    with pytest.raises(errors.ChecksumUntrusted):
        keyring.verify(SUMS, keys.sign("publisher@example"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"", "is empty"), (b"-----BEGIN PGP", "gpg --dearmor")],
)
def test_a_keyring_that_cannot_work(tmp_path, content, problem):
    needs_program("gpgv")
    path = tmp_path / "keyring.gpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.BadConfig, match=problem) as caught:
        Keyring.load(OPTION, str(path))
    assert caught.value.key == OPTION


def test_without_gpgv_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.BadConfig, match="needs the program gpgv"):
        Keyring.load(OPTION, str(tmp_path))


# Downloads


@pytest.fixture
def server():
    with serving() as one:
        one.routes["/image"] = whole()
        one.routes["/SUMS"] = whole(SUMS)
        yield one


@pytest.mark.parametrize("signed", [SUMS, SUMS.replace(b"image", b"other")], ids=["right", "wrong"])
def test_a_signed_file_of_digests(server, keys, keyring, downloads, signed):  # noqa: F811
    server.routes["/SUMS.sign"] = whole(keys.sign("publisher@example", "--armor", text=signed))
    trusting = Downloads(web=downloads.web, keyring=keyring)
    members = {
        "uri": f"{server.url}/image",
        "checksum_url": f"{server.url}/SUMS",
        "checksum_signature_url": f"{server.url}/SUMS.sign",
    }
    trusting.check(DownloadRequest.of(members))
    if signed == SUMS:
        assert fetch(trusting, **members) == DATA
        return
    with pytest.raises(errors.ChecksumUntrusted):
        fetch(trusting, **members)
    assert "/image" not in {path for path, _ in server.seen}


def test_a_job_of_a_service_without_its_keyring_fails(server, downloads):  # noqa: F811
    """The configuration changed after the request."""
    server.routes["/SUMS.sign"] = whole(b"x")
    url = f"{server.url}/SUMS"
    members = {"checksum_url": url, "checksum_signature_url": f"{url}.sign"}
    with pytest.raises(errors.ChecksumUntrusted):
        fetch(downloads, uri=f"{server.url}/image", **members)


def test_the_rules_hold_for_the_signature(downloads):  # noqa: F811
    trusting = Downloads(web=downloads.web, keyring=Keyring("gpgv", pathlib.Path("keyring")))
    url = "http://mirror.example/image"
    members = {"uri": url, "checksum_url": url}
    trusting.check(DownloadRequest.of({**members, "checksum_signature_url": url}))
    with pytest.raises(errors.UriRefused):
        trusting.check(DownloadRequest.of({**members, "checksum_signature_url": "http://[::1]/"}))
