"""``imsgate inspect``: what the gate would say about files, without uploading them."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from imsgate import errors, inspection
from imsgate.cmd import arguments
from imsgate.formats.facts import Facts
from imsgate.formats.inspector import Inspector
from imsgate.formats.names import is_known

_CHUNK = 1 << 20


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "inspect",
        help="judge image files as an upload would",
        description="Judge image files as an upload would. Exits with 0 when all are accepted, "
        "1 when any is refused, 2 on misuse or when a file cannot be read.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a directory of files")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--disk-format", type=_known_format, help="judge against this format")
    arguments.add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Inspect every file; returns the exit status."""
    gate = inspection.shared(arguments.load(args).read(inspection.InspectionSettings))
    show = _print_json if args.json else _print_text
    problems: list[OSError] = []
    refused = False

    def report(error: OSError) -> None:
        problems.append(error)
        print(f"imsgate: {error.filename}: {error.strerror}", file=sys.stderr)

    for path in _files(args.paths, report):
        try:
            facts, accept = _inspect(path, gate, args.disk_format)
        except OSError as error:
            report(error)
            continue
        refused = refused or not accept
        show(path, facts, "accept" if accept else "refuse")
    return 2 if problems else int(refused)


def _known_format(name: str) -> str:
    if not is_known(name):
        raise argparse.ArgumentTypeError(f"{name!r} is not a disk format")
    return name


def _files(paths: list[str], report: Callable[[OSError], None]) -> Iterator[str]:
    """The files named, and those in directories named, at any depth, by name.

    Pipes, sockets and devices are read only when they are named themselves.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=report):
            folders.sort()
            inside = (os.path.join(folder, name) for name in sorted(names))
            yield from (file for file in inside if os.path.isfile(file) or not os.path.exists(file))


def _inspect(path: str, gate: Inspector, declared: str | None) -> tuple[Facts, bool]:
    """The facts of one file and whether it would be accepted. Raises OSError."""
    inspection = gate.begin(declared, patient=True)
    with open(path, "rb", buffering=0) as file:
        try:
            while chunk := file.read(_CHUNK):
                inspection.feed(chunk)
        except OSError as error:
            error.filename = path
            raise
    try:
        inspection.finish()
    except errors.BadImage:
        return inspection.report(), False
    return inspection.report(), True


def _print_json(path: str, facts: Facts, verdict: str) -> None:
    findings = [
        {name: getattr(finding, name) for name in ("check", "offset", "reason", "hint")}
        for finding in facts.findings
    ]
    line = {
        "file": path,
        "format": facts.format,
        "virtual_size": facts.virtual_size,
        "verdict": verdict,
        "findings": findings,
    }
    print(json.dumps(line))


def _shown(path: str) -> str:
    """Names need not be text; what is none could not be printed."""
    return os.fsencode(path).decode(errors="replace")


def _print_text(path: str, facts: Facts, verdict: str) -> None:
    kind = " ".join(filter(None, (facts.format or "unknown", facts.variant)))
    size = "" if facts.virtual_size is None else f", {facts.virtual_size} bytes of disk"
    print(f"{_shown(path)}: {verdict}: {kind}{size}")
    for finding in facts.findings:
        print(f"    {finding.check} at byte {finding.offset}: {finding.reason}")
        print(f"        {finding.hint}")
