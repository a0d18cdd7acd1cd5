"""``imsgate uploads``: lists the uploads that were interrupted, and cancels one."""

import argparse
import contextlib
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from imsgate.cmd import client_arguments

if TYPE_CHECKING:
    from imsgate.client.unfinished import UploadView


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "uploads",
        help="list or cancel interrupted uploads",
        description="List the uploads of `imsgate upload` that are not complete.",
        epilog=client_arguments.EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    client_arguments.add_connection(parser, patience=0.0)
    parser.set_defaults(run=run_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    cancel = actions.add_parser(
        "cancel",
        help="discard an upload, and the image that was created for it",
        argument_default=argparse.SUPPRESS,
    )
    cancel.add_argument("image_id", metavar="ID", help="the image")
    client_arguments.add_connection(cancel, patience=0.0, inherited=True)
    cancel.set_defaults(run=run_cancel)


def run_list(args: argparse.Namespace) -> int:
    return client_arguments.ended(lambda: _list(args))


def run_cancel(args: argparse.Namespace) -> int:
    return client_arguments.ended(lambda: _cancel(args))


def _list(args: argparse.Namespace) -> int:
    from imsgate.client import connecting, progress, state, unfinished  # noqa: PLC0415

    entries = state.Journal(state.directory()).entries()
    found = []
    if entries:
        quiet = progress.Quiet(sys.stderr)
        with contextlib.closing(connecting.connect(args, quiet)) as connection:
            found = [unfinished.look(entry, connection) for entry in entries]
    if args.json:
        print(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
    elif found:
        print(_table(found))
    return 0


def _table(found: "list[UploadView]") -> str:
    rows = [("IMAGE", "FILE", "STORED", "STATE", "KEPT UNTIL")]
    for each in found:
        stored = "?" if each.received is None else str(each.received)
        rows.append(
            (
                each.image_id,
                each.path,
                f"{stored} of {each.size}",
                each.state,
                each.expires_at or "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cancel(args: argparse.Namespace) -> int:
    from imsgate.client import connecting, progress, state, unfinished  # noqa: PLC0415

    quiet = progress.Quiet(sys.stderr)
    with contextlib.closing(connecting.connect(args, quiet)) as connection:
        unfinished.cancel(args.image_id, state.Journal(state.directory()), connection)
    return 0
