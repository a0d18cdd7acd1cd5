"""``imsgate token add``: let somebody in where there is no Keystone."""

import argparse
from typing import Any

from imsgate import tokenfile
from imsgate.cmd import common
from imsgate.filters.tokens import Tokens


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("token", help="look after the token file")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="make a token and print it, once")
    common.add_config_arguments(add)
    add.add_argument("--user", type=common.name, required=True, help="the user it stands for")
    add.add_argument(
        "--project", type=common.name, required=True, help="the project that will own the images"
    )
    common.add_grant_arguments(add)
    add.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = common.load(args).section(Tokens.NAME, Tokens.OPTS)
    token = tokenfile.add(
        settings.token_file,
        user=args.user,
        project=args.project,
        **common.granted(args),
    )
    print(token)
    return 0
