"""``imsgate token add``: give a user access to a gateway without Keystone."""

import argparse
from typing import Any

from imsgate.auth import token_file
from imsgate.cmd import arguments
from imsgate.filters.tokens import TokensSettings


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("token", help="manage the token file")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="create a token, and print it")
    arguments.add_config(add)
    add.add_argument(
        "--user", type=arguments.name, required=True, help="the user that it belongs to"
    )
    add.add_argument(
        "--project", type=arguments.name, required=True, help="the project that will own the images"
    )
    arguments.add_grant(add)
    add.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    settings = arguments.load(args).read(TokensSettings)
    token = token_file.add(
        settings.token_file,
        user=args.user,
        project=args.project,
        **arguments.granted(args),
    )
    print(token)
    return 0
