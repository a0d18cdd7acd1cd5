"""``imsgate``: one command, a module per subcommand."""

import argparse
import sys
from collections.abc import Sequence

from imsgate.cmd import configs, db, inspect, key, serve, stores, token, worker
from imsgate.errors import BadConfig

_COMMANDS = (serve, worker, db, token, key, stores, inspect, configs)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="imsgate", description="An image-upload gateway: OpenStack Image API v2 and more."
    )
    subparsers = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, 2 for a configuration that cannot work."""
    args = parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except BadConfig as problem:
        print(f"imsgate: {problem}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
