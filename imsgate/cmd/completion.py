"""``imsgate completion``: print a script that lets a shell complete the commands."""

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

#: What completes an argument, by its name in the help.
_BY_METAVAR = {
    "FILE": shtab.FILE,
    "PATH": shtab.FILE,
    "PASTE_INI": shtab.FILE,
    "DIR": shtab.DIRECTORY,
}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a completion script. For bash, save it as "
        "~/.local/share/bash-completion/completions/imsgate; for zsh, as _imsgate in a directory "
        "of $fpath.",
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from imsgate.cmd import main  # noqa: PLC0415 - main imports the module of the command

    parser = main.parser()
    for action in _actions(parser):
        if action.metavar in _BY_METAVAR:
            action.complete = _BY_METAVAR[action.metavar]  # type: ignore[attr-defined] # for shtab
    print(shtab.complete(parser, args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
