"""``imsgate adopt``: take over the images of another service, whose data stays where it is."""

import argparse
import collections
import contextlib
import dataclasses
import json
import sys
from typing import Any

from oslo_config import cfg

from imsgate.adoption.adoption import INCOMPLETE, Adopted, Adoption, AdoptionOutcome
from imsgate.adoption.glance_database import GlanceDatabase
from imsgate.cmd import arguments
from imsgate.errors import BadConfig, Unavailable
from imsgate.registry.loader import load_registry
from imsgate.stores import loader

#: How each outcome is counted, before and after ``--apply``.
_COUNTED = {
    AdoptionOutcome.TAKEN: ("can be taken", "were taken"),
    AdoptionOutcome.RESERVED: ("are deleted and can be reserved", "are deleted and were reserved"),
    AdoptionOutcome.PRESENT: ("are here already", "were here already"),
    AdoptionOutcome.DIFFERENT: ("are here already but differ", "were here already but differ"),
    AdoptionOutcome.LEFT: ("cannot be taken", "were not taken"),
}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("adopt", help="take over the images of another service")
    services = parser.add_subparsers(title="services", required=True, metavar="SERVICE")
    glance = services.add_parser(
        "glance",
        help="take over a Glance's database and stores",
        description="Record the images of a Glance here: attributes, properties, tags, members "
        "and locations. The data stays where Glance has put it, in stores that must be enabled "
        "here too. Without --apply, nothing is recorded: the command only lists what it would do. "
        "Glance's database is never changed. The command may be repeated: it takes what is not "
        "here yet. Exits with 0 if nothing had to be left, 1 otherwise, 2 for an invalid "
        "configuration.",
    )
    source = glance.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--connection",
        metavar="URL",
        help="SQLAlchemy URL of Glance's database. Other users of this host can read it in the "
        "list of processes",
    )
    source.add_argument(
        "--glance-config",
        metavar="FILE",
        help="a glance-api.conf, whose [database] connection is used",
    )
    glance.add_argument("--apply", action="store_true", help="record the images")
    glance.add_argument("--json", action="store_true", help="print one JSON object per image")
    arguments.add_config(glance)
    glance.set_defaults(run=adopt_glance)


def adopt_glance(args: argparse.Namespace) -> int:
    """Returns exit status 1 if an image had to be left, or the database here fails."""
    conf = arguments.load(args)
    counts = collections.Counter[AdoptionOutcome]()
    with (
        contextlib.closing(
            GlanceDatabase(args.connection or _connection(args.glance_config))
        ) as source,
        contextlib.closing(load_registry(conf)) as registry,
    ):
        adoption = Adoption(registry, loader.load(conf), apply=args.apply)
        try:
            for adopted in adoption.run(source.pages()):
                counts[adopted.outcome] += 1
                _print(adopted, as_json=args.json)
        except Unavailable as error:
            print(f"imsgate: {error}", file=sys.stderr)
            return 1
        finally:
            if not args.json:
                _print_summary(counts, applied=args.apply)
    return int(any(counts[outcome] for outcome in INCOMPLETE))


def _connection(path: str) -> str:
    """``[database] connection`` of a glance-api.conf. Raises BadConfig."""
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("connection"), group="database")
    try:
        conf([], default_config_files=[path], default_config_dirs=[])
    except cfg.Error as error:
        raise BadConfig("--glance-config", str(error)) from None
    if not conf.database.connection:
        raise BadConfig("--glance-config", f"{path} has no [database] connection")
    return str(conf.database.connection)


def _print(adopted: Adopted, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(adopted)))
    elif adopted.outcome not in (AdoptionOutcome.RESERVED, AdoptionOutcome.PRESENT):
        copies = f" in {', '.join(adopted.stores)}" if adopted.stores else ""
        what = f"{adopted.image_id}  {adopted.status}{copies}  {adopted.name or ''}"
        print(f"{adopted.outcome:8}{what}".rstrip())
        for problem in adopted.problems:
            print(f"        {problem}")


def _print_summary(counts: collections.Counter[AdoptionOutcome], *, applied: bool) -> None:
    for outcome, phrases in _COUNTED.items():
        if counts[outcome]:
            print(f"{counts[outcome]} {phrases[applied]}")
    if not counts:
        print("Glance has no images.")
    elif not applied and counts[AdoptionOutcome.TAKEN] + counts[AdoptionOutcome.RESERVED]:
        print("Nothing was recorded. Repeat this with --apply.")
