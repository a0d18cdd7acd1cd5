"""``imsgate key``: manage the access keys of clients that sign their requests."""

import argparse
import sys
from typing import Any

from imsgate.auth import aksk, key_file
from imsgate.cmd import arguments
from imsgate.filters.aksk import AkskSettings

_READERS = "a server with the same --state or --config-file accepts it"


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("key", help="manage access keys (AK/SK)")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="create an access key, and print it and its secret")
    arguments.add_config(add)
    add.add_argument(
        "--user", type=arguments.name, required=True, help="the user that it belongs to"
    )
    add.add_argument(
        "--project",
        type=arguments.name,
        required=True,
        action="append",
        help="a project that it gives access to; may be repeated. The first is the default for "
        "requests that name none",
    )
    arguments.add_grant(add)
    add.add_argument(
        "--temporary",
        action="store_true",
        help="also create and print a security token, which requests must contain",
    )
    add.set_defaults(run=run_add)
    show = actions.add_parser("list", help="list all access keys, without their secrets")
    arguments.add_config(show)
    show.set_defaults(run=run_list)
    remove = actions.add_parser("remove", help="remove an access key")
    arguments.add_config(remove)
    remove.add_argument("access", metavar="ACCESS_KEY")
    remove.set_defaults(run=run_remove)


def _settings(args: argparse.Namespace) -> AkskSettings:
    return arguments.load(args).read(AkskSettings)


def run_add(args: argparse.Namespace) -> int:
    """Print the environment variables that the vendor's SDKs and Terraform read."""
    settings = _settings(args)
    issued = key_file.add(
        settings.key_file,
        settings.seal_file,
        user=args.user,
        projects=args.project,
        **arguments.granted(args),
        temporary=args.temporary,
    )
    # On standard error, so that standard output can become a file of variables.
    print(f"HUAWEICLOUD_SDK_AK={issued.access}")
    print(f"HUAWEICLOUD_SDK_SK={issued.secret}")
    if issued.token:
        print(f"HUAWEICLOUD_SDK_SECURITY_TOKEN={issued.token}")
    print(f"HUAWEICLOUD_SDK_PROJECT_ID={args.project[0]}", flush=True)
    print(f"imsgate: the key is in {settings.key_file}; {_READERS}", file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    for entry in key_file.entries(_settings(args).key_file):
        expires = entry.get("expires")
        print(
            entry["access"],
            entry["user"],
            ",".join(entry["projects"]),
            ",".join(entry["roles"]),
            "temporary" if entry.get("token_sha256") else "permanent",
            f"until {aksk.format_date(expires)}" if expires is not None else "for ever",
        )
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Returns exit status 1 if there is no such key."""
    if key_file.remove(_settings(args).key_file, args.access):
        return 0
    print(f"imsgate: there is no access key {args.access}", file=sys.stderr)
    return 1
