"""The commands of the client: ``imsgate upload``, ``uploads`` and ``download``."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.functional import programs
from tests.functional.gateway import IMSGATE, PATIENCE, ROOT, Gateway, clean_env


class Commands:
    """Runs them with a home directory, a token, and a service of their own."""

    def __init__(self, directory: pathlib.Path, url: str, token: str | None) -> None:
        self.directory = directory
        self.url = url
        self._token = token

    @classmethod
    def of(cls, directory: pathlib.Path, gateway: Gateway) -> "Commands":
        return cls(directory, gateway.url, gateway.token())

    def at(self, url: str) -> "Commands":
        """The same at another address, such as a proxy's."""
        return Commands(self.directory, url, self._token)

    def env(self, **more: str) -> dict[str, str]:
        state = {"XDG_STATE_HOME": str(self.directory / "xdg"), "PYTHONPATH": str(ROOT)}
        if self._token is not None:
            state |= {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": self._token}
            state |= {"OS_ENDPOINT": f"{self.url}/v2"}
        return clean_env(self.directory, **{**state, **more})

    def run(self, *words: Any, **env: str) -> "subprocess.CompletedProcess[str]":
        return programs.run([IMSGATE, *words], self.env(**env), self.directory)

    def json(self, *words: Any, **env: str) -> Any:
        """What a command that succeeds prints with ``--json``."""
        done = self.run(*words, "--json", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *words: Any, **options: Any) -> "subprocess.Popen[bytes]":
        """A command that a test can kill."""
        return subprocess.Popen(
            # Where the tests run in the background, SIGINT is ignored.
            [
                "env",
                "--default-signal=INT",
                sys.executable,
                "-m",
                "imsgate.cmd.main",
                *map(str, words),
            ],
            env=self.env(),
            cwd=self.directory,
            stderr=subprocess.PIPE,
            **options,
        )


def finished(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """The exit status of a command that ends by itself, and what it said."""
    said = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, said.decode()


def progress(said: str) -> list[Mapping[str, Any]]:
    """The lines of ``--progress json``."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]
