"""``imsgate db upgrade``: create or migrate the tables of the database."""

import argparse
from typing import Any

from imsgate.cmd import arguments
from imsgate.registry import schema
from imsgate.registry.database import DatabaseSettings
from imsgate.server import state


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("db", help="manage the database")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    upgrade = actions.add_parser("upgrade", help="create or migrate the tables")
    arguments.add_config(upgrade)
    upgrade.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    conf = arguments.load(args)
    settings = conf.read(DatabaseSettings)
    if schema.is_embedded(settings):
        state.create_directory(conf)
    schema.upgrade(settings)
    print("The database is up to date.")
    return 0
