"""``imsgate token``: the tokens of a gateway without Keystone."""

import argparse
import sys
from typing import Any

from imsgate.auth import aksk, token_file
from imsgate.cmd import arguments
from imsgate.filters.tokens import TokensSettings

_READERS = "a server with the same --state or --config-file accepts it"


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
    add.set_defaults(run=run_add)
    show = actions.add_parser(
        "list", help="show all tokens by their ids, not the tokens themselves"
    )
    arguments.add_config(show)
    show.set_defaults(run=run_list)
    remove = actions.add_parser("remove", help="take a token out")
    arguments.add_config(remove)
    remove.add_argument("token_id", metavar="ID", help="its id, as `imsgate token list` shows it")
    remove.set_defaults(run=run_remove)


def _token_file(args: argparse.Namespace) -> str:
    return arguments.load(args).read(TokensSettings).token_file


def run_add(args: argparse.Namespace) -> int:
    token = token_file.add(
        _token_file(args),
        user=args.user,
        project=args.project,
        **arguments.granted(args),
    )
    print(token, flush=True)
    # On standard error, so that the token alone can be assigned to a variable.
    print(f"imsgate: the token is in {_token_file(args)}; {_READERS}", file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    for token in token_file.load(_token_file(args)):
        print(
            token.id,
            token.user,
            token.project,
            ",".join(token.roles),
            f"until {aksk.format_date(token.expires)}" if token.expires is not None else "for ever",
        )
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Exit status 1 when there is no such token."""
    if token_file.remove(_token_file(args), args.token_id):
        return 0
    print(f"imsgate: there is no token with the id {args.token_id}", file=sys.stderr)
    return 1
