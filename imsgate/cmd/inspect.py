"""``imsgate inspect``: inspects image files as an upload would, without uploading them."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from imsgate import errors, inspection
from imsgate.cmd import arguments
from imsgate.formats.files import describe, inspect_file
from imsgate.formats.inspector import Inspector
from imsgate.formats.names import CONTAINERS, Declaration, is_disk_format
from imsgate.formats.report import ImageInfo


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "inspect",
        help="inspect image files as an upload would",
        description="Inspect image files as an upload would, with the options of [sniff]. The exit "
        "status is 0 if all files would be accepted, 1 if any would be refused, and 2 for wrong "
        "usage or an unreadable file.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a directory of files")
    parser.add_argument("--json", action="store_true", help="print one JSON object per file")
    parser.add_argument(
        "--disk-format",
        type=_disk_format,
        help="the disk_format that the files are declared with (default: none declared)",
    )
    parser.add_argument(
        "--container-format",
        choices=CONTAINERS,
        help="the container_format that the files are declared with (default: none declared)",
    )
    arguments.add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inspect all files; return the exit status."""
    inspector = inspection.shared(arguments.load(args).read(inspection.InspectionSettings))
    show = _print_json if args.json else _print_text
    unreadable: list[OSError] = []
    any_refused = False
    declared = inspection.declaration(args.disk_format, args.container_format)

    def print_error(error: OSError) -> None:
        unreadable.append(error)
        print(f"imsgate: {error.filename}: {error.strerror}", file=sys.stderr)

    for path in _files(args.paths, print_error):
        try:
            image_info, accepted = _inspect(path, inspector, declared)
        except OSError as error:
            print_error(error)
            continue
        any_refused = any_refused or not accepted
        show(path, image_info, "accept" if accepted else "refuse")
    return 2 if unreadable else int(any_refused)


def _disk_format(name: str) -> str:
    if not is_disk_format(name):
        raise argparse.ArgumentTypeError(f"{name!r} is not a disk format")
    return name


def _files(paths: list[str], print_error: Callable[[OSError], None]) -> Iterator[str]:
    """The given files, and all files below the given directories, sorted by name.

    Pipes, sockets and devices are only read if they are given themselves.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for directory, subdirectories, names in os.walk(path, onerror=print_error):
            subdirectories.sort()
            files = (os.path.join(directory, name) for name in sorted(names))
            yield from (file for file in files if os.path.isfile(file) or not os.path.exists(file))


def _inspect(
    path: str, inspector: Inspector, declared: Declaration | None
) -> tuple[ImageInfo, bool]:
    """Inspect a file; return its properties and whether it is accepted. Raises OSError."""
    inspection = inspector.begin(declared, keep_going=True)
    with open(path, "rb", buffering=0) as file:
        try:
            inspect_file(file, inspection)
        except OSError as error:
            error.filename = path
            raise
        except errors.BadImage:
            return inspection.partial_info(), False
    return inspection.partial_info(), True


def _print_json(path: str, image_info: ImageInfo, verdict: str) -> None:
    findings = [
        {name: getattr(finding, name) for name in ("check", "offset", "reason", "hint")}
        for finding in image_info.findings
    ]
    line = {
        "file": path,
        "format": image_info.format,
        "virtual_size": image_info.virtual_size,
        "verdict": verdict,
        "findings": findings,
    }
    print(json.dumps(line))


def _print_text(path: str, image_info: ImageInfo, verdict: str) -> None:
    print(describe(path, image_info, verdict))
