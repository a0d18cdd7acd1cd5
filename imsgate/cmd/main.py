"""``imsgate``: one command, a module per subcommand.

Only the module of the command that is run is imported: all of them together take most
of a second, which is many times what ``imsgate token`` or ``imsgate inspect`` need.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from imsgate.errors import BadConfig

#: The module of each command; ``config`` would read as ``imsgate.config``.
_MODULES = {
    "serve": "serve",
    "worker": "worker",
    "db": "db",
    "token": "token",
    "key": "key",
    "stores": "stores",
    "inspect": "inspect",
    "config": "configs",
}


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line of one command, or the whole of it."""
    top = argparse.ArgumentParser(
        prog="imsgate", description="An image-upload gateway: OpenStack Image API v2 and more."
    )
    subparsers = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in [command] if command in _MODULES else _MODULES:
        importlib.import_module(f"imsgate.cmd.{_MODULES[name]}").add_parser(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, 2 for a configuration that cannot work."""
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
