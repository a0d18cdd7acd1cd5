"""Clients that resume uploads, as their authors ship them, each driven by a script of a few lines.

Every script takes the same arguments: URL, image id, file, token, and how often it may try.
"""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

HAS_TUSPY = importlib.util.find_spec("tusclient") is not None
TUS_JS = "tus-js-client@4.3.1"
_NPM = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier")
_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Client:
    """A program that uploads an image. ``arguments`` follow those that all of them take."""

    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def upload(
        self, url: str, image_id: str, file: pathlib.Path, token: str, attempts: int
    ) -> None:
        """Returns when the client says that all is uploaded; fails with its output if it is not."""
        done = subprocess.run(
            [*self.command, url, image_id, str(file), token, str(attempts), *self.arguments],
            env={**os.environ, "NO_PROXY": "*", **self.env},
            cwd=file.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]


CURL = Client(("sh", str(_HERE / "curl.sh")))
TUSPY = Client((sys.executable, str(_HERE / "tuspy.py")))


def tus_js(modules: pathlib.Path, protocol: str) -> Client:
    """tus-js-client, which ``install_tus_js`` has brought, speaking one of its protocols."""
    return Client(("node", str(_HERE / "tus.js")), (protocol,), {"NODE_PATH": str(modules)})


def install_tus_js(directory: pathlib.Path) -> "subprocess.CompletedProcess[str]":
    """Install it into ``directory``; without the scripts that packages may bring."""
    return subprocess.run(
        ["npm", "install", "--prefix", str(directory), *_NPM, TUS_JS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
