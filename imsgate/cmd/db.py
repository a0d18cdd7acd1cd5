"""``imsgate db``: create or migrate the tables, show their revision, and remove old rows."""

import argparse
import collections
import contextlib
import datetime
import json
import sys
from typing import Any

from imsgate import model
from imsgate.cmd import arguments
from imsgate.errors import Unavailable
from imsgate.registry.sql import purge, schema
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.migrations import State
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
    _add_purge(actions)


def _add_purge(actions: Any) -> None:
    purging = actions.add_parser(
        "purge",
        help="remove old rows that nobody needs any more",
        description="Remove properties, tags and members of images that were deleted, jobs that "
        "ended, and resumable uploads that expired, some time ago. The service may run meanwhile.",
    )
    arguments.add_config(purging)
    purging.add_argument(
        "--age",
        type=arguments.days,
        required=True,
        metavar="DAYS",
        help="how many days ago, at least",
    )
    purging.add_argument(
        "--max-rows",
        type=arguments.positive,
        metavar="N",
        help="remove at most this number of rows (default: all)",
    )
    purging.add_argument(
        "--images",
        action="store_true",
        help="also remove the records of the deleted images. Their ids may then be used again: "
        "an administrator's script or another service that still has such an id may get another "
        "image",
    )
    purging.add_argument(
        "--dry-run", action="store_true", help="only count the rows; --max-rows has no effect"
    )
    purging.set_defaults(run=run_purge)


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


def run_purge(args: argparse.Namespace) -> int:
    """Returns exit status 1 if the database fails; what was removed by then is printed."""
    settings = arguments.load(args).read(DatabaseSettings)
    before = model.now() - datetime.timedelta(days=args.age)
    removed = collections.Counter[str]()
    with contextlib.closing(Database(settings)) as opened:
        schema.check(opened, settings)
        try:
            if args.dry_run:
                removed.update(purge.count(opened, before, images=args.images))
            else:
                batches = purge.purge(opened, before, images=args.images, limit=args.max_rows)
                for name, number in batches:
                    removed[name] += number
        except Unavailable as error:
            print(f"imsgate: {error}: {opened.explain(error)}", file=sys.stderr)
            status = 1
        else:
            status = 0
    kinds = ", ".join(f"{name} {number}" for name, number in removed.items() if number)
    total = f"{removed.total()} rows {'would be' if args.dry_run else 'were'} removed"
    print(f"{total}: {kinds}" if kinds else total)
    return status
