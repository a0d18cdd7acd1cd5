"""Commands whose packages are not installed."""

import configparser
import re
import subprocess
import sys

import pytest

from tests.functional.gateway import ROOT, clean_env

_WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv.pop().split()))
from imsgate.cmd import main
sys.exit(main.main())
"""

#: The modules of the packages of an extra, where their names differ.
_MODULES = {
    "keystoneauth1": "keystoneauth1",
    "openstacksdk": "openstack",
    "oslo.middleware": "oslo_middleware",
    "oslo.policy": "oslo_policy",
    "oslo.upgradecheck": "oslo_upgradecheck",
    "sqlalchemy": "sqlalchemy",
    "backports.zstd": "backports.zstd",
}
#: Packages that the client brings, too.
_SHARED = {"cryptography", "urllib3"}


def packages(extra):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.extras_require"][extra].splitlines()
    names = [re.split(r"[>;\[]", line)[0].lower() for line in lines if line]
    return [_MODULES.get(name, name) for name in names if name not in _SHARED]


def run(tmp_path, extra, *words):
    """Run a command where an extra is not installed."""
    missing = " ".join(packages(extra))
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, *words, missing],
        env=clean_env(tmp_path, PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("server", ("serve",)),
        ("server", ("worker", "--threads", "1")),
        ("server", ("db", "upgrade")),
        ("server", ("config", "generate")),
        ("client", ("upload", "image")),
        ("client", ("download", "x", "y")),
        ("client", ("uploads", "cancel", "x")),
    ],
)
def test_one_line_says_what_to_install(tmp_path, extra, words):
    (tmp_path / "image").write_bytes(bytes(512))
    done = run(tmp_path, extra, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"imsgate: {words[0]} needs a package that is not installed \([\w.]+\): "
        rf"pip install 'imsgate\[{extra}\]'\n",
        done.stderr,
    )


@pytest.mark.parametrize("extra", ["server", "client"])
def test_what_needs_no_extra(tmp_path, extra):
    (tmp_path / "image").write_bytes(bytes(512))
    done = run(tmp_path, extra, "inspect", "image")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, extra, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    missing = re.search(r"^ +serve +needs: pip install 'imsgate\[server\]'$", done.stdout, re.M)
    assert (missing is not None) is (extra == "server")


def test_stores_without_records(tmp_path):
    done = run(tmp_path, "server", "stores", "check", "--size", "1")
    assert done.returncode == 0
    assert "whether images are missing in a store is not checked" in done.stderr
    done = run(tmp_path, "server", "stores", "sweep")
    assert done.returncode == 2
    assert "[registry] driver: driver 'sql' cannot be imported" in done.stderr
    assert "sqlalchemy" in done.stderr


def test_the_client_needs_nothing_of_the_server(tmp_path):
    done = run(tmp_path, "server", "uploads")
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "image").write_bytes(bytes(512))
    done = run(tmp_path, "server", "upload", "image")
    assert done.returncode == 5
    assert "no usable credentials" in done.stderr
