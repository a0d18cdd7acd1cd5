"""Back up, restore and upgrade: the commands of doc/operators.md, in their order, with SQLite."""

import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from imsgate.registry.sql import migrations
from tests.functional import programs
from tests.functional.conftest import needs_program
from tests.functional.gateway import IMSGATE, ROOT, Gateway, clean_env, serving

#: What needs systemd, an account, or another release.
LEFT_OUT = re.compile(r"^(systemctl|chown|/opt/imsgate/bin/pip) .*\n", re.M)


def commands(title: str) -> str:
    """The example of the page that begins with this comment."""
    page = (ROOT / "doc/operators.md").read_text()
    (found,) = re.findall(rf"^```\n(# {title}\n.*?)^```", page, re.M | re.S)
    return str(found)


def run(title: str, root: pathlib.Path) -> list[str]:
    """Run an example with the paths below ``root``; return the lines that it prints."""
    text = LEFT_OUT.sub("", commands(title)).replace("sudo -u imsgate ", "")
    text = text.replace("/opt/imsgate/bin/imsgate", IMSGATE)
    for path in ("/var/lib/imsgate", "/etc/imsgate", "/backup"):
        text = re.sub(rf"(?<![\w.]){path}", f"{root}{path}", text)
    said = []
    for step in re.split(rf"^({re.escape(IMSGATE)} .*)\n", text, flags=re.M):
        if step.startswith(IMSGATE):  # in a process that has loaded it
            done = programs.run(shlex.split(step), clean_env(root), root)
        else:
            command = ["bash", "-euc", step]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said += done.stdout.splitlines()
    return said


@pytest.fixture
def host(tmp_path: pathlib.Path) -> pathlib.Path:
    """A host's root, whose imsgate.conf every command finds."""
    needs_program("sqlite3")
    for path in ("var/lib/imsgate", "etc/imsgate"):
        (tmp_path / path).mkdir(parents=True)
    conf = tmp_path / "etc/imsgate/imsgate.conf"
    conf.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/var/lib/imsgate\n")
    # Without --config-file, oslo.config looks below the user's home.
    (tmp_path / ".imsgate").symlink_to(conf.parent)
    return tmp_path


class HostGateway(Gateway):
    """A gateway with the state and the configuration of the host."""

    def __init__(self, host: pathlib.Path) -> None:
        super().__init__(host, workers=1)
        self.state = host / "var/lib/imsgate"


def test_a_restored_host_has_what_was_backed_up(host: pathlib.Path) -> None:
    with serving(HostGateway(host)) as gateway:
        kept = gateway.stored(b"data of an image")
        run("Back up", host)
        later = gateway.stored(b"data after the backup")
        token = gateway.token()
    shutil.rmtree(host / "var/lib/imsgate")
    (host / "var/lib/imsgate").mkdir()
    said = run("Restore", host)
    assert said == [
        f"The database is up to date: revision {migrations.revisions()[-1]}.",
        "The server would start with this configuration.",
    ]
    with serving(HostGateway(host)) as gateway:
        gateway._tokens[("demo", "member,reader")] = token
        assert gateway.call("GET", f"/v2/images/{kept}/file").body == b"data of an image"
        assert gateway.call("GET", f"/v2/images/{later}").status == 404
    upgraded = run("Upgrade", host)
    assert upgraded[1].startswith("database: 00")
    assert upgraded[-1] == "The server would start with this configuration."
