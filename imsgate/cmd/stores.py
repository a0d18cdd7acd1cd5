"""``imsgate stores``: list stores and drivers, check stores, and remove orphaned data from them."""

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from imsgate import errors
from imsgate.buckets import base as buckets
from imsgate.cmd import arguments
from imsgate.cmd.new_store import package
from imsgate.doctor import store_trial
from imsgate.errors import BadConfig
from imsgate.registry.loader import load_registry
from imsgate.stores import loader
from imsgate.stores.base import Room, Store
from imsgate.stores.enabled import Backend
from imsgate.transfer import media, orphans


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("stores", help="manage the stores")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    drivers = actions.add_parser("drivers", help="list the installed drivers")
    drivers.set_defaults(run=list_drivers)
    package.add_parser(actions)
    _add_list(actions)
    _add_check(actions)
    _add_sweep(actions)
    _add_adopt(actions)


def _add_list(actions: Any) -> None:
    listing = actions.add_parser(
        "list",
        help="list the configured stores: driver, health, room",
        description="List the configured stores. RESERVED are the bytes that uploads in progress "
        "have announced and not yet sent. Exits with 1 if a store cannot be used.",
    )
    arguments.add_config(listing)
    listing.add_argument("--json", action="store_true", help="print one JSON list")
    listing.set_defaults(run=list_stores)


def _add_check(actions: Any) -> None:
    check = _with_stores(
        actions.add_parser(
            "check",
            help="write, read and delete an object in configured stores",
            description="Write, read and delete an object in configured stores. Exits with 0 if "
            "all work, 1 if any does not, 2 for an invalid configuration.",
        )
    )
    check.add_argument(
        "--size",
        type=arguments.positive,
        default=8,
        metavar="MIB",
        help="size of the object (default: %(default)s)",
    )
    check.set_defaults(run=check_stores)


def _add_sweep(actions: Any) -> None:
    sweep = _with_stores(
        actions.add_parser(
            "sweep",
            help="remove data of uploads that belongs to no image record",
            description="Remove data that uploads left behind and that belongs to no image record, "
            "from stores that can find it. That includes complete objects of known images. The "
            "data of uploads in progress stays.",
        )
    )
    sweep.add_argument(
        "--age",
        type=arguments.seconds,
        default=orphans.AGE,
        metavar="SECONDS",
        help="minimum time since the start of an upload for an unknown image, which may belong to "
        "another installation (default: %(default)s)",
    )
    sweep.set_defaults(run=sweep_stores)


def _add_adopt(actions: Any) -> None:
    adopt = actions.add_parser(
        "adopt",
        help="use a place without the images of its store from now on",
        description="Mark the directory of a store as its own, although the images that records "
        "refer to are not in it. The server refuses to start with such a directory, because "
        "usually its volume is not mounted.",
    )
    adopt.add_argument("store", metavar="ID", help="the store")
    arguments.add_config(adopt)
    adopt.set_defaults(run=adopt_place)


def _with_stores(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("store", nargs="?", metavar="ID", help="only this store (default: all)")
    arguments.add_config(parser)
    return parser


def list_drivers(args: argparse.Namespace) -> int:
    rows = [
        (name, f"{kind.__module__}:{kind.__qualname__}", _summary(kind))
        for name, kind in loader.installed().items()
    ]
    _print_table([("DRIVER", "CLASS", "WHAT IT IS"), *rows])
    return 0


def list_stores(args: argparse.Namespace) -> int:
    """Returns exit status 1 if any store cannot be used."""
    conf = arguments.load(args)
    default = loader.default_id(conf)
    entries = [
        {"store": store_id, "driver": driver, "default": store_id == default, **_condition(found)}
        for store_id, driver, found in loader.survey(conf)
    ]
    if args.json:
        print(json.dumps(entries))
    else:
        head = ("STORE", "DRIVER", "HEALTH", "TOTAL", "FREE", "RESERVED", "DEFAULT", "READ-ONLY")
        rows = [
            [_cell(entry[name.lower().replace("-", "_")]) for name in head] for entry in entries
        ]
        _print_table([head, *rows])
    return int(any(entry["health"] != "ok" for entry in entries))


def _condition(found: Backend | BadConfig) -> dict[str, Any]:
    """Health, room and whether it is read-only, of a store or of one that cannot be built."""
    nothing = dataclasses.asdict(Room())
    if isinstance(found, BadConfig):
        return {"health": str(found), **nothing, "read_only": None}
    try:
        store = found.store
        store.check()
    except errors.Error as error:
        return {"health": str(error), **nothing, "read_only": found.read_only}
    return {"health": "ok", **dataclasses.asdict(store.room()), "read_only": store.read_only}


def _cell(value: Any) -> str:
    """A value of the table; sizes in GiB."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return f"{value / (1 << 30):.1f} GiB"
    return "-" if value is None else str(value)


def check_stores(args: argparse.Namespace) -> int:
    """Returns exit status 1 if any step fails in any store."""
    failed = False
    rows = [("STORE", "STEP", "RESULT", "MS", "MIB/S")]
    chosen = _chosen(args)
    check_place = _place_check(args, chosen)
    for backend in chosen:
        for step in store_trial.run(backend, args.size << 20, check_place):
            failed = failed or bool(step.problem)
            rate = f"{step.rate / (1 << 20):.0f}" if step.rate else ""
            result = step.problem or "ok"
            rows.append((backend.id, step.name, result, f"{step.seconds * 1000:.0f}", rate))
    accounts = None if args.store else buckets.load(arguments.load(args))
    for section, problem in accounts.check() if accounts else ():
        failed = failed or bool(problem)
        rows.append((section, "keys", problem or "ok", "", ""))
    _print_table(rows)
    return int(failed)


def _place_check(args: argparse.Namespace, backends: Iterable[Backend]) -> Callable[[Store], None]:
    """A check of whether the server would start with a store's place; see transfer.media.

    Only a place without a mark needs the records: the database may be on another host, and before
    the first start there is none.
    """
    if not any(backend.started and backend.started.unmarked() for backend in backends):
        return lambda store: None
    try:
        registry = load_registry(arguments.load(args))
    except BadConfig as problem:
        print(
            f"imsgate: whether images are missing in a store is not checked: {problem}",
            file=sys.stderr,
        )
        return lambda store: None
    return functools.partial(media.require_right_place, registry)


def sweep_stores(args: argparse.Namespace) -> int:
    """Returns exit status 1 if the cleanup of any store fails."""
    registry = load_registry(arguments.load(args))
    failed = False
    for store_id, outcome in orphans.sweep(registry, _chosen(args), args.age, full=True):
        if isinstance(outcome, errors.Error):
            failed = True
            print(f"imsgate: {store_id}: {outcome}", file=sys.stderr)
        else:
            print(f"{store_id}: {outcome.attempts} uploads, {outcome.bytes} bytes removed")
    registry.close()
    return int(failed)


def adopt_place(args: argparse.Namespace) -> int:
    """Exit status 1 when the place could not be marked."""
    (backend,) = _chosen(args)
    try:
        was = backend.store.unmarked()
        backend.store.mark()
    except errors.Error as error:
        print(f"imsgate: {backend.id}: {error}", file=sys.stderr)
        return 1
    print(f"{backend.id}: {'marked' if was else 'nothing to do'}")
    return 0


def _chosen(args: argparse.Namespace) -> list[Backend]:
    """The configured stores, or only the one that the arguments name. Raises BadConfig."""
    backends = list(loader.load(arguments.load(args)))
    chosen = [backend for backend in backends if args.store in (None, backend.id)]
    if not chosen:
        known = ", ".join(backend.id for backend in backends)
        raise BadConfig(
            "ID", f"there is no store {args.store!r}; the configured stores are: {known}"
        )
    return chosen


def _summary(kind: type[Store]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
