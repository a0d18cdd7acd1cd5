"""``imsgate``: the command line, with a module per command.

Only the module of the command that runs is imported. To import all of them takes most of a
second, many times as long as ``imsgate token`` or ``imsgate inspect`` need.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from imsgate.errors import BadConfig

#: The module of each command. A module named ``config`` would be confused with imsgate.config.
_MODULES = {
    "serve": "serve",
    "worker": "worker",
    "db": "db",
    "status": "status",
    "token": "token",
    "key": "key",
    "stores": "stores",
    "inspect": "inspect",
    "upload": "upload",
    "uploads": "uploads",
    "download": "download",
    "config": "configs",
}

#: The exit status that shells report for a program that wrote to a closed pipe.
_ENDED_BY_SIGPIPE = 128 + signal.SIGPIPE

#: The extra whose packages a command needs; for every other one, it is ``server``.
_EXTRAS = {"upload": "client", "uploads": "client", "download": "client"}


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser for this command only, or for all commands if there is no such command.

    Of all commands, it has those whose packages are installed. Raises ModuleNotFoundError if those
    of ``command`` are not.
    """
    top = argparse.ArgumentParser(
        prog="imsgate", description="An image-upload gateway: OpenStack Image API v2 and more."
    )
    subparsers = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    if command in _MODULES:
        _add(command, subparsers)
        return top
    for name in _MODULES:
        try:
            _add(name, subparsers)
        except ModuleNotFoundError:
            subparsers.add_parser(name, help=f"needs: {_install(name)}")
    return top


def _add(name: str, subparsers: Any) -> None:
    importlib.import_module(f"imsgate.cmd.{_MODULES[name]}").add_parser(subparsers)


def _install(name: str) -> str:
    return f"pip install 'imsgate[{_EXTRAS.get(name, 'server')}]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status, which is 2 for an invalid configuration and 1 if
    packages are missing."""
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            _flush()
    except BrokenPipeError:
        # The program that reads the output, such as head, has ended. What is still buffered must
        # not fail again at exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return _ENDED_BY_SIGPIPE


def _run(words: Sequence[str]) -> int:
    command = words[0] if words else None
    try:
        args = parser(command).parse_args(words)
        status: int = args.run(args)
    except ModuleNotFoundError as problem:
        if command is None or str(problem.name).partition(".")[0] == "imsgate":
            raise
        print(
            f"imsgate: {command} needs a package that is not installed ({problem.name}): "
            f"{_install(command)}",
            file=sys.stderr,
        )
        return 1
    except BadConfig as problem:
        print(f"imsgate: {problem}", file=sys.stderr)
        return 2
    return status


def _flush() -> None:
    """Raises BrokenPipeError now instead of when the interpreter exits."""
    if sys.stdout is not None:  # it was closed by the caller
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
