"""``imsgate token add``: let somebody in where there is no Keystone."""

import argparse
import sys
from typing import Any

from imsgate.auth import token_file
from imsgate.cmd import arguments
from imsgate.filters.tokens import Tokens

_READERS = "a server with the same --state or --config-file accepts it"


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("token", help="look after the token file")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a token and print it, once")
    arguments.add_config(add)
    add.add_argument("--user", type=arguments.name, required=True, help="the user it stands for")
    add.add_argument(
        "--project", type=arguments.name, required=True, help="the project that will own the images"
    )
    arguments.add_grant(add)
    add.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = arguments.load(args).section(Tokens.NAME, Tokens.OPTS)
    token = token_file.add(
        settings.token_file,
        user=args.user,
        project=args.project,
        **arguments.granted(args),
    )
    print(token)
    # On standard error, so that the token alone can be assigned to a variable.
    print(f"imsgate: the token is in {settings.token_file}; {_READERS}", file=sys.stderr)
    return 0
