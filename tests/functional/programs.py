"""Processes of tests: servers, and the commands ``openstack``, ``glance`` and ``imsgate``.

The commands take seconds to load and a tenth of a second to do what tests ask for. Therefore
``run`` forks each of them from a process that has loaded them. Servers, and commands whose start
is what a test is about, start the way users start them.
"""

import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence

import pytest

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.functional.loaded"])


def spawn(
    command: Sequence[str], log: pathlib.Path, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a server in a session of its own, in the directory of its log."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=env,
            start_new_session=True,
        )


def run(
    command: Sequence[str | pathlib.Path], env: Mapping[str, str], cwd: pathlib.Path
) -> "subprocess.CompletedProcess[str]":
    """Like ``subprocess.run`` with captured output; the command has no input."""
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as directory:
        said = pathlib.Path(directory, "out"), pathlib.Path(directory, "err")
        process = _FORKS.Process(target=_run, args=(words, dict(env), cwd, said))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            pytest.fail(f"{words} does not end: {said[1].read_text()}")
        out, err = (path.read_text() for path in said)
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _run(
    words: list[str], env: dict[str, str], cwd: pathlib.Path, said: tuple[pathlib.Path, ...]
) -> None:
    from tests.functional import loaded  # noqa: PLC0415 - loaded already, but not in the process of the tests

    for descriptor, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    warnings.simplefilter("ignore")
    sys.argv = words
    sys.exit(loaded.PROGRAMS[pathlib.Path(words[0]).name]())
