"""``imsgate status upgrade check``: whether this release can run on the existing database."""

import argparse
import contextlib
import os
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_upgradecheck.upgradecheck import Code, Result

from imsgate.cmd import arguments
from imsgate.errors import Unavailable
from imsgate.model import UNFINISHED, Status
from imsgate.registry.sql import database, migrations, schema
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.migrations import State
from imsgate.registry.sql.tables import IMAGES, JOBS

_SCHEMA = {
    State.CURRENT: Result(Code.SUCCESS),
    State.UNMADE: Result(Code.WARNING, f"The database {State.UNMADE.value}"),
    State.BEHIND: Result(Code.WARNING, f"The database {State.BEHIND.value}"),
    State.FOREIGN: Result(Code.FAILURE, f"The database {State.FOREIGN.value}"),
}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("status", help="check what an upgrade needs")
    subjects = parser.add_subparsers(title="subjects", required=True, metavar="SUBJECT")
    upgrade = subjects.add_parser("upgrade", help="the upgrade to this release")
    actions = upgrade.add_subparsers(title="actions", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="check the database before the upgrade; the exit status is 0 if nothing is to be "
        "done, 1 after a warning and 2 after a failure",
    )
    check.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments.add_config(check)
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the results in the form of all OpenStack services."""
    settings = arguments.load(args).read(DatabaseSettings)
    words = ["upgrade", "check", *(["--json"] if args.json else [])]
    with contextlib.closing(Database(settings)) as opened:
        checks = _Checks(opened, settings)
        # A configuration of its own: the library reads its arguments from one.
        return int(upgradecheck.main(cfg.ConfigOpts(), "imsgate", checks, words, []))


class _Checks(upgradecheck.UpgradeCommands):
    """They use tables and columns that every revision has, since the database is an older one."""

    def __init__(self, opened: Database, settings: DatabaseSettings) -> None:
        self._database = opened
        self._settings = settings

    def _schema(self) -> Result:
        if self._is_missing():
            return _SCHEMA[State.UNMADE]
        try:
            with self._database.reading() as connection:
                return _SCHEMA[migrations.state(connection)]
        except Unavailable as error:
            problem = f"The database cannot be used: {self._database.explain(error)}"
            return Result(Code.FAILURE, problem)

    def _jobs(self) -> Result:
        count = sa.select(sa.func.count()).select_from(JOBS.join(IMAGES))
        unfinished = (JOBS.c.state.in_(UNFINISHED), IMAGES.c.status == Status.ACTIVE)
        try:
            if self._is_missing():
                return Result(Code.SUCCESS)
            with self._database.reading() as connection:
                if not sa.inspect(connection).has_table(JOBS.name):
                    return Result(Code.SUCCESS)
                number = connection.scalar(count.where(*unfinished))
        except Unavailable:
            return Result(Code.FAILURE, "The database cannot be used")
        if not number:
            return Result(Code.SUCCESS)
        problem = f"{number} jobs of active images have not ended. Let them end before the upgrade."
        return Result(Code.WARNING, problem)

    def _is_missing(self) -> bool:
        """Whether it is a file that does not exist yet, which connecting would create."""
        file = database.parse(self._settings).database or ""
        return schema.is_embedded(self._settings) and not os.path.exists(file)

    _upgrade_checks = (("Database schema", _schema), ("Unfinished jobs", _jobs))
