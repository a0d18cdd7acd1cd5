"""``imsgate download``: saves the data of an image, and continues after any interruption."""

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from imsgate.cmd import client_arguments

if TYPE_CHECKING:
    from imsgate.client.progress import ProgressDisplay


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "download",
        help="download an image, and continue after any interruption",
        description="Download an image and verify its digest. The file appears when it is "
        "complete. The same command continues a download that was interrupted.",
        epilog=client_arguments.EPILOG,
    )
    parser.add_argument("image", metavar="IMAGE", help="its id, or its name if that is unique")
    parser.add_argument("file", metavar="FILE", help="where to save it; - is standard output")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    client_arguments.add_progress(parser)
    client_arguments.add_connection(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.file != "-" and not args.force and os.path.lexists(args.file):
        print(f"imsgate: {args.file} exists; --force replaces it", file=sys.stderr)
        return 2

    def advice() -> str | None:
        return None if args.file == "-" else "run the same command again to continue"

    return client_arguments.ended(lambda: _run(args), advice)


def _run(args: argparse.Namespace) -> int:
    from imsgate.client import progress  # noqa: PLC0415 - other commands do not need it

    shown = progress.make(args.progress, lambda: args.image)
    try:
        return _download(args, shown)
    finally:
        shown.close()


def _download(args: argparse.Namespace, shown: "ProgressDisplay") -> int:
    from imsgate.client.connecting import connect  # noqa: PLC0415
    from imsgate.client.downloading import Downloader  # noqa: PLC0415
    from imsgate.client.failures import Failure  # noqa: PLC0415
    from imsgate.client.image import ImageRecords  # noqa: PLC0415

    with contextlib.closing(connect(args, shown)) as connection:
        record = ImageRecords(connection).find(args.image)
        if record["status"] != "active":
            raise Failure(f"image {record['id']} is {record['status']}, but must be active")
        download = Downloader(connection, record, shown)
        if args.file == "-":
            problem = download.to_stream(sys.stdout.buffer)
        else:
            problem = download.to_file(args.file)
    if problem:
        shown.note(problem)
    return 0
