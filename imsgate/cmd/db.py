"""``imsgate db``: create or migrate the tables of the database, and show their revision."""

import argparse
import json
from typing import Any

from imsgate.cmd import arguments
from imsgate.registry import schema
from imsgate.registry.database import DatabaseSettings
from imsgate.registry.migrations import State
from imsgate.server import state


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("db", help="manage the database")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    upgrade = actions.add_parser("upgrade", help="create or migrate the tables")
    arguments.add_config(upgrade)
    upgrade.set_defaults(run=run_upgrade)
    version = actions.add_parser(
        "version",
        help="show the revision of the tables",
        description="Show the revision of the tables and the one that this release needs. Exits "
        "with 0 if they are the same, with 1 if not.",
    )
    arguments.add_config(version)
    version.add_argument("--json", action="store_true", help="print one JSON object")
    version.set_defaults(run=run_version)


def run_upgrade(args: argparse.Namespace) -> int:
    conf = arguments.load(args)
    settings = conf.read(DatabaseSettings)
    if schema.is_embedded(settings):
        state.create_directory(conf)
    before, after = schema.upgrade(settings)
    if before is None:
        print(f"The tables were created: revision {after}.")
    elif before == after:
        print(f"The database is up to date: revision {after}.")
    else:
        print(f"The database was upgraded from revision {before} to {after}.")
    return 0


def run_version(args: argparse.Namespace) -> int:
    """Returns exit status 1 if the database has another revision than this release."""
    version = schema.version(arguments.load(args).read(DatabaseSettings))
    if args.json:
        print(json.dumps({"revision": version.revision, "needed": version.newest}))
    else:
        print(f"database: {version.revision or 'no tables'}, needed: {version.newest}")
        if version.state is not State.CURRENT:
            print(f"The database {version.state.value}.")
    return int(version.state is not State.CURRENT)
