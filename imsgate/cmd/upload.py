"""``imsgate upload``: brings an image into an image service, whatever happens on the way."""

import argparse
import contextlib
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from imsgate.cmd import client_arguments

if TYPE_CHECKING:
    from imsgate.client.delivery import Delivery, UploadRequest

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,9})([KMG]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_MIN_PART_BYTES = 128 << 10
_VISIBILITIES = ("public", "private", "shared", "community")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "upload",
        help="upload an image, and continue after any interruption",
        description="Upload an image. It is inspected first, and refused before a byte is sent if "
        "the server would refuse it. An upload that was interrupted continues: by itself, or by "
        "the same command after Ctrl-C, a crash or a reboot.",
        epilog=client_arguments.EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="the image; - is standard input")
    record = parser.add_argument_group("image")
    record.add_argument("--name", help="default: the name of the file")
    record.add_argument(
        "--disk-format", default="detected", help="qcow2, raw, … (default: the detected one)"
    )
    record.add_argument("--container-format", default="bare", help="default: bare")
    for name in _VISIBILITIES:
        record.add_argument(
            f"--{name}", dest="visibility", action="store_const", const=name, help=argparse.SUPPRESS
        )
    record.add_argument("--visibility", choices=_VISIBILITIES, help="or --public, --private, …")
    record.add_argument("--protected", action="store_true", help="protect it from being deleted")
    record.add_argument("--min-disk", type=_count, metavar="GB")
    record.add_argument("--min-ram", type=_count, metavar="MB")
    record.add_argument("--tag", action="append", default=[], help="may be repeated")
    record.add_argument(
        "--property",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=VALUE",
        help="may be repeated",
    )
    record.add_argument("--image", metavar="ID", help="upload to this image, which is queued")
    record.add_argument("--store", metavar="NAME", help="the store that is to keep the data")
    parser.add_argument(
        "--part-size",
        type=_size,
        default=64 << 20,
        metavar="SIZE",
        help="the largest body of a request, for example 8M (default: 64M)",
    )
    parser.add_argument("--no-compression", action="store_true", help="do not send zstd")
    parser.add_argument(
        "--no-inspection",
        action="store_true",
        help="leave the inspection to the server, whose rules may differ from the default",
    )
    parser.add_argument("--json", action="store_true", help="print the image as JSON")
    client_arguments.add_progress(parser)
    client_arguments.add_connection(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    number = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if number < _MIN_PART_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size of 128K or more")
    return number


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def run(args: argparse.Namespace) -> int:
    if args.no_inspection and args.disk_format == "detected" and not args.image:
        print("imsgate: --no-inspection also needs --disk-format", file=sys.stderr)
        return 2
    running: list[Delivery] = []

    def advice() -> str | None:
        image_id = running[0].image_id if running else None
        if image_id is None or args.file == "-":
            return None
        return (
            "run the same command again to continue, or discard the upload with: "
            f"imsgate uploads cancel {image_id}"
        )

    return client_arguments.ended(lambda: _run(args, running), advice)


def _run(args: argparse.Namespace, running: "list[Delivery]") -> int:
    from imsgate.client import progress, state  # noqa: PLC0415 - other commands do not need it
    from imsgate.client.connecting import connect  # noqa: PLC0415
    from imsgate.client.delivery import Delivery  # noqa: PLC0415
    from imsgate.client.source import FileSource, StreamSource  # noqa: PLC0415

    shown = progress.make(args.progress, lambda: running[0].image_id if running else None)
    with contextlib.ExitStack() as opened:
        opened.callback(shown.close)
        file = None
        if args.file != "-":
            file = opened.enter_context(contextlib.closing(FileSource(args.file)))
        connection = opened.enter_context(contextlib.closing(connect(args, shown)))
        delivery = Delivery(connection, state.Journal(state.directory()), shown, _request(args))
        running.append(delivery)
        if file is None:
            record = delivery.send_stream(StreamSource(sys.stdin.buffer, args.part_size))
        else:
            record = delivery.send_file(file)
    print(json.dumps(record, indent=2) if args.json else _table(record))
    return 0


def _request(args: argparse.Namespace) -> "UploadRequest":
    from imsgate.client.delivery import UploadRequest  # noqa: PLC0415

    name = args.name or (None if args.file == "-" else os.path.basename(args.file))
    record = {
        **dict(args.property),
        "name": name,
        "disk_format": None if args.disk_format == "detected" else args.disk_format,
        "container_format": args.container_format,
    }
    optional = {
        "visibility": args.visibility,
        "protected": args.protected or None,
        "min_disk": args.min_disk,
        "min_ram": args.min_ram,
        "tags": args.tag or None,
    }
    return UploadRequest(
        record={**record, **{key: value for key, value in optional.items() if value is not None}},
        image_id=args.image,
        store=args.store,
        inspect=not args.no_inspection,
        part_bytes=args.part_size,
        compress=not args.no_compression,
    )


def _table(record: Any) -> str:
    """The attributes of an image, one per line."""
    shown = {key: record[key] for key in sorted(record) if key not in ("self", "file", "schema")}
    width = max(map(len, shown))
    lines = []
    for key, value in shown.items():
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"{key:<{width}}  {text}")
    return "\n".join(lines)
