"""The commands of the client: ``imsgate upload``, ``uploads`` and ``download``."""

import json
import pathlib
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

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

    def start(
        self, *words: Any, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> "Running":
        """A command that a test can kill."""
        return Running([IMSGATE, *map(str, words)], self.env(), self.directory, stdin, stdout)


class Running:
    """A command that runs while the test goes on."""

    def __init__(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        directory: pathlib.Path,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
    ) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until it has finished
        files = [file.fileno() if file else None for file in (stdin, stdout, self._said)]
        self._process = programs.begin(words, env, directory, files)
        self.send_signal = self._process.send_signal
        self.kill = self._process.kill

    def finished(self, seconds: float) -> tuple[int, str]:
        """Its exit status, and what it said."""
        status = self._process.wait(seconds)
        with self._said as file:
            file.seek(0)
            return status, file.read().decode()


def finished(command: Running, seconds: float = PATIENCE) -> tuple[int, str]:
    """The exit status of a command that ends by itself, and what it said."""
    return command.finished(seconds)


def progress(said: str) -> list[Mapping[str, Any]]:
    """The lines of ``--progress json``."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]
