"""``imsgate``: the command line, with a module per command.

Only the module of the command that runs is imported. To import all of them takes most of a
second, many times as long as ``imsgate token`` or ``imsgate inspect`` need.
"""

import argparse
import gc
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

from imsgate.cmd import output
from imsgate.errors import BadConfig

#: The module of each command. A module named ``config`` would be confused with imsgate.config.
_MODULES = {
    "serve": "serve",
    "worker": "worker",
    "db": "db",
    "maintenance": "maintenance",
    "status": "status",
    "token": "token",
    "key": "key",
    "stores": "stores",
    "adopt": "adopt",
    "verify": "verify",
    "doctor": "doctor",
    "metrics": "metrics",
    "inspect": "inspect",
    "upload": "upload",
    "uploads": "uploads",
    "download": "download",
    "config": "configs",
    "completion": "completion",
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
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    if command == "--version":
        return top
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


class _Version(argparse.Action):
    """argparse's own needs the version at once, which takes time to find."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata  # noqa: PLC0415 - it takes time, too

        print(f"imsgate {metadata.version('imsgate')}")
        parser.exit()


def _add(name: str, subparsers: Any) -> None:
    importlib.import_module(f"imsgate.cmd.{_MODULES[name]}").add_parser(subparsers)


def _install(name: str) -> str:
    return f"pip install 'imsgate[{_EXTRAS.get(name, 'server')}]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status, which is 2 for an invalid configuration and 1 if
    packages are missing or its output cannot be written."""
    try:
        with output.checked():
            return _run(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:  # the program that reads the output, such as head, has ended
        return _ENDED_BY_SIGPIPE
    except output.OutputFailed as problem:
        print(f"imsgate: {problem}", file=sys.stderr)
        return 1


def _run(words: Sequence[str]) -> int:
    command = words[0] if words else None
    try:
        # Imports leave no garbage. Looking for it took a twentieth of the time.
        gc.disable()
        try:
            args = parser(command).parse_args(words)
        finally:
            gc.enable()
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


if __name__ == "__main__":
    sys.exit(main())
