"""A host in FIPS mode whose OpenSSL has no MD5."""

import hashlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

from tests.functional import without_md5
from tests.functional.gateway import Gateway

DATA = b"data of an image" * 10_000

#: No provider of OpenSSL with digests. Python has the SHA family itself.
OPENSSL = """
openssl_conf = init
[init]
providers = providers
[providers]
base = base
[base]
activate = 1
"""


class Host(Gateway):
    """A gateway without MD5."""

    def _command(self) -> list[str]:
        _, *arguments = super()._command()
        return [sys.executable, without_md5.__file__, *arguments]

    def _env(self) -> dict[str, str]:
        return {**super()._env(), "OPENSSL_CONF": str(self.directory / "openssl.cnf")}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[Host]:
    (tmp_path / "openssl.cnf").write_text(OPENSSL)
    made = Host(tmp_path, config="[upload]\nchecksum = none\n", workers=1)
    yield made
    made.kill()


def test_uploads_and_downloads(host: Host) -> None:
    host.start()
    image = host.create()
    assert host.upload(image, DATA).status == 204
    record = host.show(image)
    assert record["checksum"] is None
    assert record["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    got = host.download(image)
    assert (got.status, got.body) == (200, DATA)
    assert got.headers["Content-MD5"] is None
