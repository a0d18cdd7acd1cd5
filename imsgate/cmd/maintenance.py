"""``imsgate maintenance read-only``: make all hosts read-only, and end that again."""

import argparse
import contextlib
import json
from typing import Any

from imsgate import model
from imsgate.cmd import arguments
from imsgate.errors import BadConfig, Unavailable
from imsgate.maintenance.read_only import MaintenanceSettings, is_host_read_only
from imsgate.registry.loader import load_registry
from imsgate.registry.sql import database


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("maintenance", help="make the service read-only")
    subjects = parser.add_subparsers(title="subjects", required=True, metavar="SUBJECT")
    read_only = subjects.add_parser(
        "read-only",
        help="refuse changes, begin no jobs and no cleanup",
        description="Make all hosts read-only, which the database records, or end that. Changes "
        "are then answered with 503; reads and downloads continue, and so does what is running. "
        "For one host only, create the file [maintenance] read_only_file instead.",
    )
    actions = read_only.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        arguments.add_config(action)
        action.set_defaults(run=run, action=name)
    action.add_argument("--json", action="store_true", help="print one JSON object")


#: In the order of the help. Only the last one has ``--json``.
_ACTIONS = {
    "on": "refuse changes on all hosts, from the next request on",
    "off": "accept changes again, except on hosts that have the file",
    "show": "show whether all hosts, or this one, are read-only; the exit status is 0 if neither "
    "is, and 1 otherwise",
}


def run(args: argparse.Namespace) -> int:
    """Raises BadConfig."""
    conf = arguments.load(args)
    settings = conf.read(MaintenanceSettings)
    with contextlib.closing(load_registry(conf)) as registry:
        try:
            if args.action == "on":
                registry.begin_read_only(model.now())
            elif args.action == "off":
                registry.end_read_only()
            since = registry.read_only_since()
        except Unavailable as error:
            raise BadConfig(database.KEY, str(error)) from error
    moment = since and model.isotime(since)
    by_file = is_host_read_only(settings)
    if args.action == "show" and args.json:
        print(json.dumps({"all_hosts_since": moment, "this_host": by_file}))
    else:
        print(f"All hosts: {f'read-only since {moment}' if moment else 'changes are accepted'}")
        if by_file:
            print(f"This host: read-only, because {settings.read_only_file} exists")
    return int(args.action == "show" and (by_file or since is not None))
