"""``imsgate``: the command line, with a module per command.

Only the module of the command that runs is imported. To import all of them takes most of a
second, many times as long as ``imsgate token`` or ``imsgate inspect`` need.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from imsgate.errors import BadConfig

#: The module of each command. A module named ``config`` would be confused with imsgate.config.
_MODULES = {
    "serve": "serve",
    "worker": "worker",
    "db": "db",
    "token": "token",
    "key": "key",
    "stores": "stores",
    "inspect": "inspect",
    "upload": "upload",
    "uploads": "uploads",
    "download": "download",
    "config": "configs",
}


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser for this command only, or for all commands if there is no such command."""
    top = argparse.ArgumentParser(
        prog="imsgate", description="An image-upload gateway: OpenStack Image API v2 and more."
    )
    subparsers = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in [command] if command in _MODULES else _MODULES:
        importlib.import_module(f"imsgate.cmd.{_MODULES[name]}").add_parser(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status, which is 2 for an invalid configuration."""
    words = sys.argv[1:] if argv is None else argv
    args = parser(words[0] if words else None).parse_args(words)
    try:
        status: int = args.run(args)
    except BadConfig as problem:
        print(f"imsgate: {problem}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
