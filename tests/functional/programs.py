"""Processes of tests: servers, and the commands ``openstack``, ``glance`` and ``imsgate``.

The commands take seconds to load and a tenth of a second to do what tests ask for. Therefore
each of them is forked from a process that has loaded them. Commands whose start is what a test is
about start the way users start them, and so do all other servers.
"""

import multiprocessing
import multiprocessing.reduction
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import pytest

#: Servers that ``spawn`` forks.
_FORKED_SERVERS = ("imsgate", "cheroot", "keystone", "wsgiref")

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.functional.loaded"])


class Server(Protocol):
    """What tests do with the process of a server, as with ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float, /) -> int: ...

    def send_signal(self, number: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class _Descriptor:
    """A file descriptor that is duplicated into the process to fork; there, it is an int."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (multiprocessing.reduction.DupFd(self._number),)


def _detach(duplicate: Any) -> int:
    return int(duplicate.detach())


class _Forked:
    """A process that was forked."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        process.start()
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        status = self.poll()
        assert status is not None, f"process {self.pid} is still running"
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def spawn(command: Sequence[str], log: pathlib.Path, env: Mapping[str, str]) -> Server:
    """Start a server in a session of its own, in the directory of its log."""
    if pathlib.Path(command[0]).name in _FORKED_SERVERS:
        arguments = list(command), dict(env), log
        return _Forked(_FORKS.Process(target=_serve, args=arguments, daemon=True))
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
    command: Sequence[str | pathlib.Path],
    env: Mapping[str, str],
    cwd: pathlib.Path,
    stdin: int | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Like ``subprocess.run`` with captured output. Without ``stdin``, the input is empty."""
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = begin(words, env, cwd, (stdin, out.fileno(), err.fileno()))
        try:
            status = process.wait(300)
        except AssertionError:
            process.kill()
            pytest.fail(f"{words} does not end: {os.pread(err.fileno(), 1 << 16, 0)!r}")
        for file in (out, err):
            file.seek(0)
        said = (file.read().decode() for file in (out, err))
        return subprocess.CompletedProcess(words, status, *said)


def begin(
    words: Sequence[str],
    env: Mapping[str, str],
    cwd: pathlib.Path,
    descriptors: Sequence[int | None],
) -> Server:
    """Start a command with these file descriptors as input, output and error output."""
    files = [None if number is None else _Descriptor(number) for number in descriptors]
    return _Forked(_FORKS.Process(target=_run, args=(list(words), dict(env), cwd, files)))


def _run(words: list[str], env: dict[str, str], cwd: pathlib.Path, files: list[int | None]) -> None:
    for number, file in enumerate(files):
        if file is not None:
            os.dup2(file, number)
            os.close(file)
    if files[0] is not None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - it stays open
    # It is ignored where the tests run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    _become(words, env, cwd)


def _serve(words: list[str], env: dict[str, str], log: pathlib.Path) -> None:
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", ResourceWarning)
    try:
        _become(words, env, log.parent)
    finally:  # what is open when a process ends is closed by that
        warnings.simplefilter("ignore")


def _become(words: list[str], env: dict[str, str], cwd: pathlib.Path) -> None:
    from tests.functional import loaded  # noqa: PLC0415 - loaded already, but not in the process of the tests

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    sys.exit(loaded.PROGRAMS[pathlib.Path(words[0]).name]())
