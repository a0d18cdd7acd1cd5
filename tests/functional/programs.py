"""Commands, unchanged, each in a process of its own: ``openstack``, ``glance`` and ``imsgate``.

They take seconds to load and a tenth of one for what tests ask of them, so each process is
forked from one that has loaded them. What is about a program itself, or a server that goes
on, is started as users start it.
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


def run(
    command: Sequence[str | pathlib.Path], env: Mapping[str, str], cwd: pathlib.Path
) -> "subprocess.CompletedProcess[str]":
    """What ``subprocess.run`` would say of the command; it has nothing to read from."""
    words = [str(word) for word in command]
    with tempfile.TemporaryDirectory() as directory:
        said = pathlib.Path(directory, "out"), pathlib.Path(directory, "err")
        process = _FORKS.Process(target=_run, args=(words, dict(env), cwd, said))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            pytest.fail(f"{words} takes for ever: {said[1].read_text()}")
        out, err = (path.read_text() for path in said)
        return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _run(
    words: list[str], env: dict[str, str], cwd: pathlib.Path, said: tuple[pathlib.Path, ...]
) -> None:
    from tests.functional import loaded  # noqa: PLC0415 - it is, and not where tests run

    for descriptor, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    warnings.simplefilter("ignore")
    sys.argv = words
    sys.exit(loaded.PROGRAMS[pathlib.Path(words[0]).name]())
